"""SMIRK: the published checkpoint's keys and sizes, crop, ranges, and whose coefficients make the expression map."""

import os
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from format_examples import rig_person

from realhead.avatar import Avatar
from realhead.capture import Capture
from realhead.condition import expression
from realhead.condition.expression import expression_map, expression_source, smirk_expression_map
from realhead.condition.offsets import expression_maps
from realhead.condition.store import driving_view
from realhead.config import train_config
from realhead.errors import AssetError, RealheadError
from realhead.importing.run import import_smirk
from realhead.importing.smirk import add_smirk
from realhead.model.prior import Prior
from realhead.model.smirk import SIZE, SmirkEncoder, find_smirk, load_smirk, smirk_crop
from realhead.tracking.landmarker import Face
from realhead.tracking.region import Region


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmirkEncoder().eval()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    """A file with the keys of SMIRK_em1.pt: the encoder's, and some of the generator's."""
    path = tmp_path_factory.mktemp("smirk") / "SMIRK_em1.pt"
    weights = {f"smirk_encoder.{k}": v for k, v in network.state_dict().items()}
    torch.save(weights | {"smirk_generator.conv.weight": torch.zeros(3)}, path)
    return path


def test_sizes_and_names_are_the_published_ones(network):
    """Parameters of the two backbones, and a few keys as the checkpoint has them."""
    count = {name: sum(p.numel() for p in getattr(network, name).encoder.parameters()) for name in
             ("pose_encoder", "shape_encoder", "expression_encoder")}  # fmt: skip
    assert count["pose_encoder"] == pytest.approx(428_888, rel=0.01)
    assert count["shape_encoder"] == count["expression_encoder"] == pytest.approx(1_413_208, rel=0.01)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert shapes["pose_encoder.pose_cam_layers.0.weight"] == (6, 576)
    assert shapes["shape_encoder.shape_layers.0.weight"] == (300, 960)
    assert shapes["expression_encoder.expression_layers.0.weight"] == (55, 960)
    assert "pose_encoder.encoder.conv_stem.weight" in shapes and "shape_encoder.encoder.blocks.0.0.bn1.weight" in shapes


def test_checkpoint_loads_key_by_key(network, checkpoint):
    loaded = load_smirk(checkpoint)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value)
    assert not loaded.training


def test_ranges_are_those_of_flame(network):
    with torch.no_grad():
        network.expression_encoder.expression_layers[0].weight.mul_(50)
        face = network(torch.rand(2, 3, SIZE, SIZE))
        network.expression_encoder.expression_layers[0].weight.div_(50)
    assert face.eyelids.min() >= 0 and face.eyelids.max() <= 1
    assert (face.jaw[:, 0] >= 0).all() and face.jaw[:, 1:].abs().max() <= 0.2
    assert face.shape.shape == (2, 300) and face.expression.shape == (2, 50)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("smirk_encoder.pose_encoder.encoder.conv_stem.weight"),
        lambda w: w.update({"smirk_encoder.shape_encoder.shape_layers.0.bias": torch.zeros(100)}),
        lambda w: w.update({"smirk_encoder.more": torch.zeros(1)}),
        lambda w: w.clear(),
    ],
)
def test_other_checkpoints_are_refused(checkpoint, tmp_path, change):
    weights = torch.load(checkpoint, weights_only=True)
    change(weights)
    torch.save(weights, tmp_path / "SMIRK_em1.pt")
    with pytest.raises(AssetError, match="not SMIRK's"):
        load_smirk(tmp_path / "SMIRK_em1.pt")
    (tmp_path / "SMIRK_em1.pt").write_bytes(b"no file of weights")
    with pytest.raises(AssetError, match="cannot be read"):
        load_smirk(tmp_path / "SMIRK_em1.pt")


def test_weights_are_looked_for_among_the_users_files(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    assert find_smirk() is None
    with pytest.raises(AssetError, match="REALHEAD_ASSETS"):
        load_smirk(tmp_path / "absent.pt")
    monkeypatch.setenv("REALHEAD_ASSETS", str(checkpoint.parent))
    assert find_smirk() == checkpoint


def test_crop_is_the_published_warp():
    """Against skimage's similarity warp, with which SMIRK crops: square of 1.4 times the points' mean side."""
    from skimage.transform import estimate_transform, warp

    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (30, 40, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    points = rng.random((478, 2)) * [100, 140] + [150, 80]
    low, high = points.min(0), points.max(0)
    size, centre = int(((high - low).mean()) * 1.4), (low + high) / 2
    source = np.array([[centre[0] - size / 2, centre[1] - size / 2], [centre[0] - size / 2, centre[1] + size / 2],
                       [centre[0] + size / 2, centre[1] - size / 2]])  # fmt: skip
    transform = estimate_transform("similarity", source, np.array([[0, 0], [0, 223], [223, 0]]))
    wanted = warp(image, transform.inverse, output_shape=(224, 224))
    got = smirk_crop(image, points)
    assert got.shape == (224, 224, 3) and got.dtype == np.float32
    assert np.abs(got - wanted).mean() < 2e-3


class Finder:
    """A landmarker that finds the same face everywhere, but in one picture."""

    def __init__(self, blind=None):
        self.calls, self.blind = 0, blind

    def detect_one(self, image, name):
        self.calls += 1
        if self.blind is not None and self.calls == self.blind:
            raise RealheadError(f"No face was found in {name}.")
        points = np.array([[60.0, 60, 0], [140, 160, 0]] * 239, np.float32)
        return Face(points, np.zeros(52, np.float32), 1.0, 1, Region(100.0, 110.0, 100.0, 0.0))


@pytest.fixture
def capture(tmp_path):
    return Capture.open(shutil.copytree(rig_person(), tmp_path / "capture"))


def test_expressions_are_kept_beside_the_capture(capture, network):
    folder, failures = add_smirk(capture, network, Finder(blind=2))
    assert folder == capture.folder / "smirk" and len(failures) == 1
    assert [t for t in range(6) if capture.smirk_file(t).is_file()] == [0, 2, 3, 4, 5]
    finder = Finder()
    add_smirk(capture, network, finder)
    assert finder.calls == 1  # only what was missing
    picture = driving_view(capture, 3).image_path
    os.utime(picture, ns=(0, picture.stat().st_mtime_ns + 1))
    (folder / "00004.npz").write_bytes(b"PK")
    finder = Finder()
    add_smirk(capture, network, finder)
    assert finder.calls == 2  # the changed picture, and the damaged file


@pytest.fixture
def seen(capture, network):
    """The capture after SMIRK, as another FLAME's than SMIRK's: the free head's mesh called FLAME 2023."""
    add_smirk(capture, network, Finder())
    head = deepcopy(capture.head)
    head.edition = "2023"
    return Capture.open(capture.folder, head)


@pytest.fixture
def flame_2020(capture, monkeypatch):
    """A head with the same mesh and other expression directions stands in for FLAME 2020."""
    other = deepcopy(capture.head)
    other.edition = "2020"
    other.exprdirs = torch.cat([capture.head.exprdirs.flip(-1), capture.head.exprdirs[..., :10]], -1)
    monkeypatch.setattr(expression, "smirk_head", lambda: other)
    return other


def test_the_trackers_expression_serves_where_smirk_cannot(seen, capture, monkeypatch):
    monkeypatch.setattr(expression, "smirk_head", lambda: None)
    uv_map = capture.head.uv_map(32)
    assert seen.frame(3).smirk.shape == (53,)
    assert smirk_expression_map([seen.frame(3)], seen.head, uv_map) is None
    assert "FLAME 2020, which is absent" in expression_source([seen])
    assert "needs a FLAME head" in expression_source([Capture.open(capture.folder)])
    shutil.rmtree(seen.folder / "smirk")
    again = Capture.open(seen.folder, seen.head)
    assert again.frame(3).smirk is None and "SMIRK was not run" in expression_source([again])


def test_smirks_offsets_come_from_flame_2020_whatever_the_geometry(seen, flame_2020):
    uv_map = seen.head.uv_map(32)
    with np.load(seen.smirk_file(3)) as data:
        coefficients, pose = torch.from_numpy(data["expression"])[None], torch.zeros(1, 5, 3)
        pose[0, 2] = torch.from_numpy(data["jaw"])
    wanted = expression_map(flame_2020, uv_map, coefficients, pose)
    torch.testing.assert_close(smirk_expression_map([seen.frame(3)], seen.head, uv_map), wanted)
    assert expression_source([seen]) == "SMIRK's expression and jaw on FLAME 2020"
    flame_2020.edition = "2023 Open"
    with pytest.raises(RealheadError, match="need FLAME 2020"):
        smirk_expression_map([seen.frame(3)], seen.head, uv_map)


def test_smirks_map_drives_the_avatar_and_enters_training(seen, flame_2020):
    """The network gets SMIRK's offsets where there are any; the tracker's expression then changes nothing."""
    prior = Prior(seen.head, replace(train_config("tiny").prior, mouth="none"))
    frame = seen.frame(3)
    still = replace(frame, expression=frame.expression * 0)
    maps = {name: given_offsets(prior, seen, given) for name, given in (("smirk", frame), ("still", still))}
    torch.testing.assert_close(maps["still"], maps["smirk"])
    torch.testing.assert_close(maps["smirk"], smirk_expression_map([frame], seen.head, prior.uv_map))
    tracked = given_offsets(prior, seen, replace(frame, smirk=None))
    assert (tracked - maps["smirk"]).abs().max() > 0.1
    assert expression_source([seen]) == "SMIRK's expression and jaw on FLAME 2020"
    torch.testing.assert_close(expression_maps(seen, prior.uv_map).at(3)[None], maps["smirk"])
    seen.smirk_file(3).unlink()
    again = Capture.open(seen.folder, seen.head)
    torch.testing.assert_close(expression_maps(again, prior.uv_map).at(3)[None], tracked)
    assert expression_source([again]).endswith("in 5 of 6 frames, the tracker's own expression and jaw in the others")


def test_smirks_maps_are_made_again_when_their_inputs_change(seen, flame_2020, monkeypatch):
    """A result of SMIRK, and FLAME 2020, whose absence leaves the tracker's own."""
    uv_map = seen.head.uv_map(32)
    smirks = expression_maps(seen, uv_map).at(3)
    with np.load(seen.smirk_file(3)) as data:
        np.savez(seen.smirk_file(3), **(dict(data) | {"jaw": data["jaw"] + np.float32(0.2)}))
    again = Capture.open(seen.folder, seen.head)
    changed = expression_maps(again, uv_map).at(3)
    torch.testing.assert_close(changed, smirk_expression_map([again.frame(3)], seen.head, uv_map)[0])
    assert (changed - smirks).abs().max() > 0.1
    monkeypatch.setattr(expression, "smirk_head", lambda: None)
    frame = again.frame(3)
    wanted = expression_map(seen.head, uv_map, frame.expression[None], frame.pose[None])[0]
    torch.testing.assert_close(expression_maps(again, uv_map).at(3), wanted)


def given_offsets(prior, capture, frame) -> torch.Tensor:
    """What the expression encoder is given when an avatar is driven by a frame."""
    given = []
    with torch.no_grad():
        identity = prior.identity_encoder(torch.zeros(1, 3, prior.config.resolution, prior.config.resolution))
        avatar = Avatar(prior, frame.shape, identity)
        vars(avatar)["network"] = given.append
        avatar.primitives(frame)
    return given[0][:, :3]


def test_damaged_results_cost_nothing_but_themselves(seen):
    seen.smirk_file(2).write_bytes(b"PK")
    np.savez(seen.smirk_file(4), expression=np.zeros(3), jaw=np.zeros(3))
    again = Capture.open(seen.folder, seen.head)
    assert again.timesteps == [0, 1, 2, 3, 4, 5] and not again.broken
    assert [again.frame(t).smirk is None for t in (2, 3, 4)] == [True, False, True]


def test_command_wants_the_capture_itself_as_out(capture, tmp_path, monkeypatch):
    monkeypatch.delenv("REALHEAD_ASSETS", raising=False)
    with pytest.raises(RealheadError, match="--out"):
        import_smirk(capture.folder, tmp_path / "elsewhere", None)
    with pytest.raises(AssetError, match="SMIRK_em1.pt"):
        import_smirk(capture.folder, capture.folder, None)
