"""VHAP exports and INSTA folders: what was exported is read, to a part of a pixel; bad ones get a sentence."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from format_examples import (
    clip_person,
    edit_json,
    edit_npz,
    flash_folder,
    insta_folder,
    rig_person,
    union_of,
    vhap_export,
)
from PIL import Image

from realhead.capture import Camera, Capture, CaptureSet
from realhead.condition.store import conditioning, neutral_views
from realhead.condition.texture import SEAM, identity_texture
from realhead.errors import CaptureError
from realhead.head import load_head
from realhead.importing import insta, vhap
from realhead.importing.recognise import recognise, require_edition
from realhead.importing.rotations import matrix_from_6d, rotvec_from_6d, six_d_from_rotvec
from realhead.importing.run import import_captures
from realhead.importing.tracker_files import read_tracked_frame

HALF_A_PIXEL = 0.5


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture
def actor(tmp_path):
    return insta_folder(tmp_path)


def face_pixels(capture, view):
    """Where the face's vertices are in a picture, by the capture's own parameters and camera."""
    vertices = capture.head(**view.frame.parameters())[0]
    return view.camera.project(vertices[capture.head.regions["face"]])[0]


def reprojection_error(imported: Capture, truth: Capture) -> float:
    worst = 0.0
    for timestep, camera in truth.keys():
        gap = face_pixels(imported, imported.view(timestep, camera)) - face_pixels(truth, truth.view(timestep, camera))
        worst = max(worst, float(gap.norm(dim=1).max()))
    return worst


def test_vhap_export_comes_back_exactly(tmp_path):
    export = vhap_export(tmp_path)
    (folder,) = import_captures("vhap", export, tmp_path / "set", "open")
    imported, truth = Capture.open(folder), Capture.open(rig_person())
    assert (imported.person, imported.sequence) == ("123", "EMO-1") and not imported.broken
    assert reprojection_error(imported, truth) < 0.01
    assert {s: imported.keys(s) for s in ("train", "val", "test")} == {
        s: truth.keys(s) for s in ("train", "val", "test")
    }
    torch.testing.assert_close(imported.view(2, "08").image(), truth.view(2, "08").image())
    assert CaptureSet.open(tmp_path / "set").people() and imported.head.name == "open"


def test_union_reads_the_pictures_of_its_siblings(tmp_path):
    union = union_of(vhap_export(tmp_path))
    recording = vhap.read_vhap(union, load_head("open"))
    assert len(recording.shots) == 48 and recording.person == "123" and not recording.broken
    assert recording.picture(recording.shots[0])[0].shape == (240, 200, 3)
    assert vhap.exports(tmp_path) == [tmp_path / "123_EMO-1_v16_DS4_whiteBg_maskBelowLine"]  # never both


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("306_EMO-1_v16_DS4_whiteBg_staticOffset_maskBelowLine", ("306", "EMO-1")),
        ("UNION10_306_EMO1234EXP234589_v16_DS2-0.5x_lmkSTAR_teethV3", ("306", "EMO1234EXP234589")),
        ("074_EXP-3-cheeks+nose_v16_DS4_whiteBg", ("074", "EXP-3-cheeks+nose")),
        ("obama_whiteBg_staticOffset_maskBelowLine", ("obama", "video")),
        ("nf_01_whiteBg_staticOffset_maskBelowLine", ("nf_01", "video")),
    ],
)
def test_names_follow_from_vhaps_folders(tmp_path, name, wanted):
    assert vhap.names(tmp_path / name, {}) == wanted


def test_offsets_are_taken_into_the_shape(head):
    """An offset that identity can explain is explained; one that it cannot is reported."""

    class Flame:
        name, num_vertices, num_shape = "flame2023", 5143, 40
        shapedirs = head.shapedirs[:5143, :, :40]

    wanted = torch.linspace(-1, 1, 40)
    offset = (Flame.shapedirs @ wanted).numpy()
    change, before, after = vhap.fold(Flame, offset, "x.npz")
    torch.testing.assert_close(change, wanted, atol=0.02, rtol=0)
    assert after < 0.01 * before
    for rows in (5023, 5143):
        vhap.fold(Flame, offset[:rows], "x.npz")
    with pytest.raises(CaptureError, match="5022 rows"):
        vhap.fold(Flame, offset[:5022], "x.npz")


def test_one_broken_frame_is_listed_and_the_others_imported(tmp_path):
    export = vhap_export(tmp_path)
    picture, parameters = export / "images" / "00002_05.png", export / "flame_param" / "00004.npz"
    picture.write_bytes(picture.read_bytes()[:2000])
    edit_npz(parameters, lambda a: a | {"jaw_pose": np.full((1, 3), np.nan)})
    (folder,) = import_captures("vhap", export, tmp_path / "set", "open")
    imported, left_out = Capture.open(folder), json.loads((folder / "import.json").read_text())["left_out"]
    assert len(imported.keys()) == 48 - 1 - 8 and imported.timesteps == [0, 1, 2, 3, 5]
    assert len(left_out) == 2 and "00004.npz" in left_out[0] and "00002_05.png" in left_out[1]


def test_training_uses_the_good_frames_of_a_capture_with_broken_ones(tmp_path):
    """The neutral picture, another picture and a parameter file are broken: samples are drawn from what is left."""
    from realhead.config import train_config
    from realhead.dataset import HeadSamples

    folder = shutil.copytree(rig_person(), tmp_path / "anna" / "talk")
    for path in ("images/00000_08.png", "images/00002_05.png", "flame_param/00004.npz"):
        (folder / path).write_bytes((folder / path).read_bytes()[:100])
    config = train_config("tiny")
    captures = CaptureSet.open(tmp_path)
    samples = HeadSamples(captures, config, load_head("open").uv_map(32))
    drawn = [int(samples[k]["timestep"]) for k in range(12)]
    assert len(set(drawn)) > 2 and 4 not in drawn
    assert "00004.npz" in captures.people()["anna"][0].broken[0]


def test_export_of_nothing_but_broken_frames_is_refused(tmp_path):
    export = vhap_export(tmp_path)
    for path in (export / "images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(CaptureError, match="00000_00.png"):
        import_captures("vhap", export, tmp_path / "set", "open")


def test_finished_import_is_kept_and_a_half_one_made_again(tmp_path):
    export = vhap_export(tmp_path)
    (folder,) = import_captures("vhap", export, tmp_path / "set", "open")
    before = (folder / "realhead.json").stat().st_mtime_ns
    import_captures("vhap", export, tmp_path / "set", "open")
    assert (folder / "realhead.json").stat().st_mtime_ns == before
    (folder / "realhead.json").unlink()
    (folder / "images" / "leftover.png").touch()
    import_captures("vhap", export, tmp_path / "set", "open")
    assert not (folder / "images" / "leftover.png").exists()


def test_editions_are_never_mixed(head):
    class Flame:
        name, edition = "flame2023", "2023"

    require_edition(Flame, "vhap", None)
    require_edition(head, "insta", None)  # the free head's own exports
    with pytest.raises(CaptureError, match="FLAME 2020"):
        require_edition(Flame, "insta", None)
    Flame.edition = None
    with pytest.raises(CaptureError, match="--edition 2020"):
        require_edition(Flame, "insta", None)
    require_edition(Flame, "insta", "2020")


def test_wrong_folders_are_told_what_they_are(tmp_path):
    with pytest.raises(CaptureError, match="no VHAP export"):
        vhap.exports(tmp_path)
    (tmp_path / "tracked_flame_params_30.npz").touch()
    with pytest.raises(CaptureError, match="export_as_nerf_dataset"):
        recognise(tmp_path)
    (tmp_path / "b" / "018" / "calibration").mkdir(parents=True)
    (tmp_path / "b" / "018" / "calibration" / "camera_params.json").write_text("{}")
    assert recognise(tmp_path / "b") == "nersemble"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "00000.frame").touch()
    with pytest.raises(CaptureError, match="--tracker"):
        recognise(tmp_path / "c")
    with pytest.raises(CaptureError, match="no folder"):
        recognise(tmp_path / "absent")


def test_six_numbers_are_the_first_two_rows():
    """Against PyTorch3D's definition written out: rows, not columns; and back."""
    rotvec = torch.tensor([[0.3, -0.2, 0.5], [0.0, 0.0, 0.0]])
    six = six_d_from_rotvec(rotvec)
    torch.testing.assert_close(rotvec_from_6d(six), rotvec)
    a, b = torch.tensor([2.0, 0, 0]), torch.tensor([1.0, 1, 0])
    torch.testing.assert_close(matrix_from_6d(torch.cat([a, b])), torch.eye(3))
    turned = matrix_from_6d(torch.tensor([0.0, 1, 0, -1, 0, 0]))
    torch.testing.assert_close(turned @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, -1, 0]))


def test_insta_comes_back_to_a_part_of_a_pixel(tmp_path, actor):
    folder, _ = actor
    assert recognise(folder) == "insta"
    (made,) = import_captures("insta", folder, tmp_path / "set", "open", last=5)
    imported, truth = Capture.open(made), Capture.open(clip_person())
    assert len(imported.cameras) == 1 and imported.timesteps == truth.timesteps and not imported.broken
    assert reprojection_error(imported, truth) < HALF_A_PIXEL
    assert {t for t, _ in imported.keys("test")} == set(truth.timesteps[-5:])
    still = imported.cameras["00"].cam_from_world
    assert all(torch.equal(view.camera.cam_from_world, still) for view in imported.views())
    assert imported.info["source"]["format"] == "INSTA with metrical-tracker"


def test_insta_pictures_lose_their_clothes(tmp_path, actor):
    (made,) = import_captures("insta", actor[0], tmp_path / "set", "open", last=5)
    view, truth = Capture.open(made).view(3, "00"), Capture.open(clip_person()).view(3, "00")
    assert float(view.mask()[-20 - 3 :, : 40 + 3].max()) == 0 and float(view.image()[-20:, :40].min()) == 1
    assert float((view.mask() - truth.mask())[:200].abs().max()) < 0.01
    assert float((view.image() - truth.image())[:200].abs().max()) < 0.02
    segmentation = np.asarray(Image.open(actor[0] / "seg_mask" / "00003.png"))
    assert insta.mouth_of(segmentation, "INSTA").sum() == 10 * 20


def test_insta_mouths_are_kept_and_leave_the_identity_texture(tmp_path, actor, head):
    """Written beside the masks, read with the views, and cut out of the texture together with the mouth's texels."""
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(actor[0] / "seg_mask" / "00004.png")  # of another size
    (made,) = import_captures("insta", actor[0], tmp_path / "set", "open", last=5)
    capture, uv_map = Capture.open(made), head.uv_map(64)
    assert len(list((made / "mouth_masks").iterdir())) == 15 and 4 not in capture.timesteps
    view = capture.view(3, "00")
    wanted = torch.zeros(view.camera.height, view.camera.width)
    wanted[100:110, 100:120] = 1
    torch.testing.assert_close(view.mouth(), wanted)
    without, kept = (identity_texture(head, uv_map, [v]) for v in (replace(view, mouth_path=None), view))
    xy, _ = view.camera.project(uv_map.interpolate(head(**view.frame.parameters())[0]))
    away = torch.ones(len(uv_map), dtype=torch.bool)
    for k, (low, high) in enumerate(((100, 120), (100, 110))):
        away &= (xy[:, k] > low - 1) & (xy[:, k] < high + 1)
    changed = (uv_map.gather(without) != uv_map.gather(kept)).any(1)
    assert changed.any() and not (changed & ~_beside(uv_map, away)).any()
    assert Capture.open(clip_person()).view(3, "00").mouth() is None


def _beside(uv_map, texels, steps=2 * SEAM):
    """Covered texels at most so many steps from some of them: seams are filled from those."""
    grown = uv_map.scatter(texels[:, None].float())[None]
    return uv_map.gather(torch.nn.functional.max_pool2d(grown, 2 * steps + 1, 1, steps)[0])[:, 0] > 0


def test_a_changed_mouth_mask_makes_the_conditioning_again(tmp_path, actor, head):
    (made,) = import_captures("insta", actor[0], tmp_path / "set", "open", last=5)
    capture, uv_map = Capture.open(made), head.uv_map(32)
    conditioning(capture, uv_map)
    path = neutral_views(capture)[0].mouth_path
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    before = len(list((made / "conditioning").iterdir()))
    conditioning(capture, uv_map)
    assert len(list((made / "conditioning").iterdir())) == before + 1


def test_flashavatar_counts_from_one(tmp_path):
    folder, checkpoints = flash_folder(tmp_path)
    recording = insta.read_insta(folder, load_head("open"), checkpoints, 5)
    assert [shot.image.stem for shot in recording.shots[:2]] == ["00001", "00002"] and not recording.broken
    truth = Capture.open(clip_person())
    image, mask = recording.picture(recording.shots[4])
    assert np.abs(image / 255 - truth.view(4, "00").image().numpy()).mean() < 0.02
    assert np.abs(mask / 255 - truth.view(4, "00").mask().numpy()).mean() < 0.02
    assert recording.mouth(recording.shots[4]) is None
    Image.fromarray(np.full((*mask.shape, 3), 255, np.uint8)).save(folder / "parsing" / "00005_mouth.png")
    again = insta.read_insta(folder, load_head("open"), checkpoints, 5)
    assert again.mouth(again.shots[4]).all() and again.mouth(again.shots[3]) is None


def test_poses_that_are_out_of_step_are_noted(actor, head):
    """transforms.json one frame late: the .frame files are believed and the shift is told."""
    folder, checkpoints = actor

    def late(content):
        matrices = [frame["transform_matrix"] for frame in content["frames"]]
        for frame, matrix in zip(content["frames"], matrices[:1] + matrices[:-1], strict=True):
            frame["transform_matrix"] = matrix

    edit_json(folder / "transforms.json", late)
    recording = insta.read_insta(folder, head, checkpoints, 5)
    assert "+1 frames" in recording.notes[0] and len(recording.frames) == 16


def test_missing_and_broken_tracker_files_are_listed(actor, head):
    folder, checkpoints = actor
    (checkpoints / "00003.frame").unlink()
    (checkpoints / "00005.frame").write_bytes(b"PK\x03\x04 no zip")
    (folder / "images" / "00007.png").unlink()
    edit_json(folder / "transforms.json", lambda c: c["frames"].pop(8))
    recording = insta.read_insta(folder, head, checkpoints, 5)
    assert sorted(recording.frames) == [t for t in range(16) if t not in (3, 5, 8)]
    told = " ".join(recording.broken)
    assert "00003.frame" in told and "00005.frame" in told and "frame 8" in told
    with pytest.raises(CaptureError, match="00007.png"):
        recording.picture(next(s for s in recording.shots if s.timestep == 7))


def test_insta_without_tracker_files_asks_for_them(tmp_path, head):
    folder, checkpoints = insta_folder(tmp_path)
    shutil.rmtree(checkpoints)
    with pytest.raises(CaptureError, match="--tracker"):
        insta.read_insta(folder, head)


@pytest.mark.parametrize(
    ("group", "key", "value", "match"),
    [
        ("flame", "jaw", np.zeros((1, 3), np.float32), "flame.jaw.*3 values instead of 6: 6D"),
        ("flame", "exp", np.full((1, 100), np.nan, np.float32), "NaN.*flame.exp"),
        ("opencv", "R", np.zeros((1, 3, 3), np.float32), "opencv.R is no rotation"),
        ("opencv", "K", None, "lacks 'opencv.K'"),
        ("flame", "shape", np.array(["x"] * 300), "flame.shape"),
    ],
)
def test_bad_tracker_files_name_the_key(actor, group, key, value, match):
    path = actor[1] / "00000.frame"
    content = torch.load(path, weights_only=False)
    content[group].pop(key) if value is None else content[group].update({key: value})
    torch.save(content, path)
    with pytest.raises(CaptureError, match=f"00000.frame.*({match})"):
        read_tracked_frame(path)


def test_last_frames_test_and_short_clips_are_cut_in_thirds():
    split = insta.split_by_last(list(range(1000)), 600)
    assert {k: len(v) for k, v in split.items()} == {"train": 380, "val": 20, "test": 600}
    assert min(split["test"]) == (400, 0) and max(split["train"]) == (379, 0)
    assert len(insta.split_by_last(list(range(90)), 350)["test"]) == 30
    with pytest.raises(CaptureError, match="positive"):
        insta.split_by_last([0, 1], 0)


def test_moving_head_equals_moving_camera(head):
    """Whatever the tracker's camera does, the still camera sees the same."""
    generator = torch.Generator().manual_seed(3)
    capture = Capture.open(clip_person())
    frame = replace(capture.frame(3), pose=capture.frame(3).pose.clone(), translation=torch.zeros(3))
    frame.pose[:2] = 0
    cameras = [Camera.orbit(*(torch.randn(2, generator=generator) * 0.3).tolist()) for _ in range(2)]
    shape, expression = torch.zeros(300), torch.zeros(100)
    shape[: head.num_shape], expression[: head.num_expression] = frame.shape, frame.expression
    content = insta.TrackedFrame(0, shape, expression, frame.pose[2], frame.pose[3:], torch.zeros(2), cameras[1])
    moved = insta.moving_head(head, content, cameras[0])
    wanted = cameras[1].project(head(**frame.parameters())[0])[0]
    got = cameras[0].project(head(**moved.parameters())[0])[0]
    torch.testing.assert_close(got, wanted, atol=0.01, rtol=0)
