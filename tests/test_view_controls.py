"""Sliders move what their label says, to the side it says."""

import math

import pytest
import torch
from view_fakes import FakeAvatar

from realhead.errors import RealheadError
from realhead.view.controls import ANGLES, EYE_LEFT, EYE_RIGHT, JAW, NECK, action_sliders, edited_frame, has_actions


@pytest.fixture(scope="module")
def avatar():
    return FakeAvatar()


def turned(frame, joint, point):
    import roma

    return roma.rotvec_to_rotmat(frame.pose[joint]) @ torch.tensor(point)


def test_no_edit_changes_nothing(avatar):
    frame = edited_frame(avatar.head, avatar.neutral)
    assert torch.equal(frame.expression, avatar.neutral.expression) and torch.equal(frame.pose, avatar.neutral.pose)


def test_action_sets_its_coefficient_only(avatar):
    frame = edited_frame(avatar.head, avatar.neutral, {"mouthSmileLeft": 0.7})
    assert frame.expression.tolist() == pytest.approx([0, 0.7, 0, 0])


def test_jaw_action_is_a_rotation(avatar):
    from realhead.head.actions import JAW_OPEN

    frame = edited_frame(avatar.head, avatar.neutral, {"jawOpen": 0.5})
    assert frame.pose[JAW, 0].item() == pytest.approx(0.5 * JAW_OPEN) and not frame.expression.any()


@pytest.mark.parametrize(
    "label, joint, point, axis, sign",
    [
        ("Jaw open", JAW, [0.0, 0.0, 1.0], 1, -1),  # the chin goes down
        ("Jaw to the left", JAW, [0.0, 0.0, 1.0], 0, 1),  # x is the person's left
        ("Look to the left", EYE_LEFT, [0.0, 0.0, 1.0], 0, 1),
        ("Look up", EYE_RIGHT, [0.0, 0.0, 1.0], 1, 1),
        ("Turn to the left", NECK, [0.0, 0.0, 1.0], 0, 1),
        ("Nod up", NECK, [0.0, 0.0, 1.0], 1, 1),
        ("Tilt to the left", NECK, [0.0, 1.0, 0.0], 0, 1),  # the crown goes to the person's left
    ],
)
def test_angles_turn_to_the_named_side(avatar, label, joint, point, axis, sign):
    moved = turned(edited_frame(avatar.head, avatar.neutral, angles={label: 10.0}), joint, point)
    assert moved[axis].item() == pytest.approx(sign * math.sin(math.radians(10)), abs=1e-5)


def test_every_angle_has_a_case_above():
    assert len(ANGLES) == 7


def test_edits_add_to_the_base(avatar):
    base = edited_frame(avatar.head, avatar.neutral, {"browInnerUp": 0.25}, {"Nod up": 5.0})
    frame = edited_frame(avatar.head, base, {"browInnerUp": 0.25}, {"Nod up": 5.0})
    assert frame.expression[3].item() == pytest.approx(0.5)
    assert frame.pose[NECK, 0].item() == pytest.approx(2 * base.pose[NECK, 0].item())


@pytest.mark.parametrize("edit", [{"actions": {"wiggle": 1.0}}, {"angles": {"Wiggle": 1.0}}])
def test_unknown_names_are_one_sentence(avatar, edit):
    with pytest.raises(RealheadError, match="(?i)wiggle"):
        edited_frame(avatar.head, avatar.neutral, **edit)


def test_slider_list_offers_what_the_head_can_do(avatar):
    labels = [slider.label for slider in action_sliders(avatar.head)]
    assert has_actions(avatar.head) and "Smile" in labels and "Blink" not in labels  # the fake cannot blink


def test_head_without_action_names_gets_its_coefficients(avatar):
    class Flame:
        name, expression_names = "flame", tuple(f"expression_{i:03d}" for i in range(100))

    sliders = action_sliders(Flame())
    assert len(sliders) == 12 and sliders[0].actions == ("expression_000",) and sliders[0].low < 0
