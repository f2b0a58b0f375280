"""Captures: what is written is read; conventions hold; bad folders get a sentence."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from realhead.capture import Camera, Capture, CaptureSet, CaptureWriter, Frame
from realhead.errors import CaptureError
from realhead.head import load_head

SIZE = 16


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture(scope="module")
def cameras():
    azimuths = [math.radians(a) for a in (-60, -40, -20, 0, 20, 40, 60, 80, 5)]
    made = [Camera.orbit(a, 0.1, size=SIZE) for a in azimuths]
    K = made[0].K.clone()
    K[0, 2], K[1, 2] = 7.1, 8.9  # off-centre, so that a flip shows
    return [replace(camera, name=f"{i:02d}", K=K) for i, camera in enumerate(made)]


def frame_at(head, timestep, generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator) * (0.1 + timestep)

    return Frame(
        timestep, draw(head.num_shape), draw(head.num_expression), draw(5, 3), draw(3), torch.tensor([0.1, 0.7])
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, head, cameras):
    path = tmp_path_factory.mktemp("data") / "anna" / "talk"
    writer = CaptureWriter(path, head, cameras, person="anna", sequence="talk", source={"seed": 3})
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    for timestep in range(4):
        frame = frame_at(head, timestep, generator)
        for camera in cameras:
            picture = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
            writer.add(frame, camera, picture, picture[..., 0])
    return writer.close()


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "anna" / "talk")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_round_trip_of_parameters_cameras_and_pictures(folder, head, cameras):
    capture = Capture.open(folder)
    generator = torch.Generator().manual_seed(0)
    for timestep in range(4):
        wanted, got = frame_at(head, timestep, generator), capture.frame(timestep)
        for name in ("shape", "expression", "pose", "translation", "eyelids"):
            torch.testing.assert_close(getattr(got, name), getattr(wanted, name))
    for wanted in cameras:
        got = capture.cameras[wanted.name]
        torch.testing.assert_close(got.cam_from_world, wanted.cam_from_world, atol=1e-6, rtol=0)
        torch.testing.assert_close(got.K, wanted.K)
    picture = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal((capture.view(0, "00").image() * 255).round().byte().numpy(), picture)
    assert (capture.person, capture.sequence, capture.head.hash) == ("anna", "talk", head.hash)


def test_files_follow_the_layout_of_vhap(folder):
    content = json.loads((folder / "transforms.json").read_text())
    frame = content["frames"][0]
    assert frame["cy"] == pytest.approx(SIZE - 8.9)  # stored flipped
    opengl = np.array(frame["transform_matrix"])
    looks = -opengl[:3, 2]  # OpenGL cameras look along -z
    assert looks @ -opengl[:3, 3] > 0  # towards the head at the origin
    with np.load(folder / "flame_param" / "00000.npz") as data:
        shapes = {k: data[k].shape for k in data.files}
    assert shapes["shape"] == (300,) and shapes["expr"] == (1, 100) and shapes["eyes_pose"] == (1, 6)
    with np.load(folder / "canonical_flame_param.npz") as data:
        np.testing.assert_allclose(data["jaw_pose"], [[0.3, 0, 0]])


def test_splits_are_vhaps(folder):
    capture = Capture.open(folder)
    assert {t for t, _ in capture.keys("train")} == {0, 1} and "08" not in {c for _, c in capture.keys("train")}
    assert {c for _, c in capture.keys("val")} == {"08"}
    assert {t for t, _ in capture.keys("test")} == {2, 3}
    assert len(capture.keys("all")) == 4 * 9 == sum(len(capture.keys(s)) for s in ("train", "val", "test"))


def test_neutral_and_cameras_are_found_from_geometry(folder):
    capture = Capture.open(folder)
    assert capture.neutral.timestep == 0
    straight = replace(capture.frame(0), pose=torch.zeros(5, 3), translation=torch.zeros(3))
    assert capture.frontal_camera(straight) == "03"
    left, right = capture.side_cameras(straight)
    assert (left, right) == ("05", "01")  # +x is the person's left
    turned = replace(straight, pose=torch.tensor([[0, math.radians(60), 0]] + [[0.0, 0, 0]] * 4))
    assert capture.frontal_camera(turned) == "06"


def test_background_is_exchanged_under_the_mask(copy):
    view = Capture.open(copy).view(0, "00")
    expected = view.image() - (1 - view.mask()[..., None])
    torch.testing.assert_close(view.image(background=0.0), expected)


def test_capture_set_finds_people_and_holds_out(copy):
    root = copy.parent.parent
    shutil.copytree(copy, root / "bert" / "talk")
    edit(root / "bert" / "talk" / "realhead.json", lambda c: c.update(person="bert"))
    (root / "split.json").write_text('{"test": ["bert"]}')
    captures = CaptureSet.open(root)
    assert len(captures) == 2
    assert list(captures.people("train")) == ["anna"] and list(captures.people("test")) == ["bert"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e.pop("fl_x"), "fl_x"),
        (lambda e: e.update(transform_matrix=[[1, 2], [3, 4]]), "4x4"),
        (lambda e: e.update(transform_matrix=np.zeros((4, 4)).tolist()), "rotation"),
        (lambda e: e.update(transform_matrix=np.diag([-1.0, 1, 1, 1]).tolist()), "rotation"),
        (lambda e: e.update(cx=float("nan")), "finite"),
        (lambda e: e.update(cx="1" * 400), "finite"),
        (lambda e: e.update(w=10**9), "size"),
    ],
)
def test_bad_cameras_are_left_out_and_listed(copy, change, sentence):
    edit(copy / "transforms.json", lambda c: change(c["frames"][2]))
    capture = Capture.open(copy)
    assert len(capture.keys()) == 35 and len(capture.broken) == 1
    assert "transforms.json, frame 2" in capture.broken[0] and sentence in capture.broken[0]
    edit(copy / "transforms.json", lambda c: [change(e) for e in c["frames"] if e is not c["frames"][2]])
    with pytest.raises(CaptureError, match=sentence):
        Capture.open(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["frames"][2].update(file_path="../../../../etc/passwd"), "outside"),
        (lambda c: c["frames"][2].update(file_path="/etc/passwd"), "outside"),
        (lambda c: c["frames"][2].update(flame_param_path="a\0b"), "outside"),
        (lambda c: c.update(frames={}), "frames"),
    ],
)
def test_hostile_lists_are_refused_altogether(copy, change, sentence):
    edit(copy / "transforms.json", change)
    with pytest.raises(CaptureError, match=sentence) as error:
        Capture.open(copy)
    assert "transforms.json" in str(error.value)


def test_one_broken_frame_leaves_the_others(copy):
    """Also where the broken one is the neutral frame: another takes its place."""
    path = copy / "flame_param" / "00002.npz"
    path.write_bytes(path.read_bytes()[:80])
    picture = copy / "images" / "00000_03.png"
    picture.write_bytes(picture.read_bytes()[:80])
    capture = Capture.open(copy)
    assert capture.timesteps == [0, 1, 3] == [frame.timestep for frame in capture.frames]
    assert len(capture.keys()) == 27 and {t for t, _ in capture.keys("test")} == {3}
    assert capture.neutral.timestep == 1
    assert len(capture.broken) == 1 and "00002.npz" in capture.broken[0]


def test_capture_without_a_usable_frame_says_why(copy):
    for path in (copy / "flame_param").iterdir():
        path.write_bytes(b"")
    with pytest.raises(CaptureError, match="No frame of .*00000.npz"):
        _ = Capture.open(copy).frames


def test_coefficients_beyond_the_heads_are_another_heads(copy, head):
    path = copy / "flame_param" / "00001.npz"
    with np.load(path) as data:
        arrays = dict(data)
    arrays["shape"][head.num_shape] = 0.1
    np.savez(path, **arrays)
    with pytest.raises(CaptureError, match="another head"):
        Capture.open(copy).frame(1)


def test_folder_without_transforms_gets_a_sentence(tmp_path):
    with pytest.raises(CaptureError, match="transforms.json"):
        Capture.open(tmp_path)
    with pytest.raises(CaptureError, match="realhead data"):
        CaptureSet.open(tmp_path)


def test_missing_realhead_json_asks_for_the_edition(copy, head):
    (copy / "realhead.json").unlink()
    with pytest.raises(CaptureError, match="edition"):
        Capture.open(copy).frame(0)
    assert Capture.open(copy, head=head).frame(0).shape.shape == (head.num_shape,)


def test_another_heads_parameters_are_refused(copy):
    edit(copy / "realhead.json", lambda c: c["head"].update(hash="0" * 16))
    with pytest.raises(CaptureError, match="made with head"):
        _ = Capture.open(copy).head


def test_symbolic_link_out_of_the_folder_is_refused(copy, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    secret.write_bytes(b"x")
    picture = copy / "images" / "00000_00.png"
    picture.unlink()
    picture.symlink_to(secret)
    with pytest.raises(CaptureError, match="outside"):
        Capture.open(copy)


def test_wrong_size_and_truncated_pictures_are_named(copy):
    edit(copy / "transforms.json", lambda c: c["frames"][0].update(w=SIZE + 1))
    with pytest.raises(CaptureError, match="16x16"):
        Capture.open(copy).view(0, "00").image()
    broken = copy / "images" / "00000_01.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(CaptureError, match="00000_01.png"):
        Capture.open(copy).view(0, "01").image()


def test_pickled_parameters_are_not_executed(copy, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    np.savez(copy / "flame_param" / "00000.npz", shape=np.array([Evil()], dtype=object))
    with pytest.raises(CaptureError, match="00000.npz"):
        Capture.open(copy).frame(0)
    assert not (tmp_path / "owned").exists()


def test_nan_parameters_are_named(copy, head):
    path = copy / "flame_param" / "00001.npz"
    with np.load(path) as data:
        arrays = dict(data)
    arrays["jaw_pose"][0, 0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(CaptureError, match="pose"):
        Capture.open(copy).frame(1)


def test_finished_capture_is_not_overwritten(folder, head, cameras):
    with pytest.raises(CaptureError, match="finished"):
        CaptureWriter(folder, head, cameras, person="x", sequence="y")
