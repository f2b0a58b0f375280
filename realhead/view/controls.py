"""From slider positions to a `Frame`: what the viewer's and the notebooks' sliders mean.

Facial actions carry the ARKit names of `realhead.head.actions`; left and right share a slider in the short list. A head
for which the actions are not defined is moved by its own expression coefficients. Jaw, gaze and neck are angles, in the
radians of the axis-angle pose: x points to the person's left, y up, z out of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realhead.errors import RealheadError

if TYPE_CHECKING:
    from torch import Tensor

    from realhead.capture import Frame
    from realhead.head.model import Head

NECK, JAW, EYE_LEFT, EYE_RIGHT = 1, 2, 3, 4
MAX_COEFFICIENT_SLIDERS = 12

SHORT_LIST: dict[str, dict[str, tuple[str, ...]]] = {
    "Mouth": {
        "Smile": ("mouthSmileLeft", "mouthSmileRight"),
        "Frown": ("mouthFrownLeft", "mouthFrownRight"),
        "Pucker": ("mouthPucker",),
        "Funnel": ("mouthFunnel",),
        "Stretch": ("mouthStretchLeft", "mouthStretchRight"),
        "Upper lip up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
        "Lower lip down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
        "Cheek puff": ("cheekPuff",),
        "Tongue out": ("tongueOut",),
    },
    "Eyes and brows": {
        "Blink": ("eyeBlinkLeft", "eyeBlinkRight"),
        "Wide": ("eyeWideLeft", "eyeWideRight"),
        "Squint": ("eyeSquintLeft", "eyeSquintRight"),
        "Brows up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
        "Brows down": ("browDownLeft", "browDownRight"),
        "Nose wrinkle": ("noseSneerLeft", "noseSneerRight"),
    },
}


@dataclass(frozen=True)
class Angle:
    """One rotation slider: degrees on the slider, one axis of one or more joints."""

    label: str
    group: str
    joints: tuple[int, ...]
    axis: int
    sign: float
    low: float
    high: float


ANGLES = (
    Angle("Jaw open", "Mouth", (JAW,), 0, 1.0, 0.0, 30.0),
    Angle("Jaw to the left", "Mouth", (JAW,), 1, 1.0, -10.0, 10.0),
    Angle("Look to the left", "Gaze and neck", (EYE_LEFT, EYE_RIGHT), 1, 1.0, -30.0, 30.0),
    Angle("Look up", "Gaze and neck", (EYE_LEFT, EYE_RIGHT), 0, -1.0, -25.0, 25.0),
    Angle("Turn to the left", "Gaze and neck", (NECK,), 1, 1.0, -40.0, 40.0),
    Angle("Nod up", "Gaze and neck", (NECK,), 0, -1.0, -25.0, 25.0),
    Angle("Tilt to the left", "Gaze and neck", (NECK,), 2, -1.0, -25.0, 25.0),
)


@dataclass(frozen=True)
class ActionSlider:
    """One expression slider: a label and the actions (or coefficient names) that it sets together."""

    label: str
    group: str
    actions: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0


def action_sliders(head: Head) -> list[ActionSlider]:
    """The expression sliders that make sense for a head: ARKit actions, or its first coefficients."""
    if has_actions(head):
        own = set(head.expression_names)
        return [
            ActionSlider(label, group, actions)
            for group, rows in SHORT_LIST.items()
            for label, actions in rows.items()
            if own.issuperset(actions)
        ]
    names = head.expression_names[:MAX_COEFFICIENT_SLIDERS]
    return [ActionSlider(name, "Expression coefficients", (name,), -2.0, 2.0) for name in names]


def has_actions(head: Head) -> bool:
    """Whether the head's expression coefficients carry ARKit's names."""
    from realhead.head.actions import EXPRESSION_NAMES

    return bool(set(EXPRESSION_NAMES) & set(head.expression_names))


def edited_frame(
    head: Head, base: Frame, actions: Mapping[str, float] | None = None, angles: Mapping[str, float] | None = None
) -> Frame:
    """`base` with facial actions and joint angles added.

    Args:
        head: The head the frame belongs to.
        base: The frame to start from; it is not changed.
        actions: Score by ARKit name in [0, 1], or coefficient by the head's own expression name.
        angles: Degrees by the label of `ANGLES`.

    Raises:
        RealheadError: for a name that is neither an action, nor a coefficient, nor an angle.
    """
    expression, pose = base.expression.clone(), base.pose.clone()
    delta_expression, delta_pose = _from_actions(head, base, dict(actions or {}))
    expression, pose = expression + delta_expression, pose + delta_pose
    known = {angle.label: angle for angle in ANGLES}
    for label, degrees in (angles or {}).items():
        if label not in known:
            raise RealheadError(f"There is no angle '{label}': choose from {', '.join(known)}.")
        angle = known[label]
        for joint in angle.joints:
            pose[joint, angle.axis] += angle.sign * degrees * 0.017453292519943295
    return replace(base, expression=expression, pose=pose, smirk=None)


def _from_actions(head: Head, base: Frame, actions: dict[str, float]) -> tuple[Tensor, Tensor]:
    """Changes of expression [E] and pose [5, 3] that the actions ask for."""
    import torch

    from realhead.head.actions import ARKIT_NAMES, ROTATIONS, scores_to_parameters

    own = {name: i for i, name in enumerate(head.expression_names)}
    scores = torch.zeros(len(ARKIT_NAMES), dtype=base.expression.dtype)
    coefficients = torch.zeros_like(base.expression)
    for name, value in actions.items():
        if name in ROTATIONS or (name in ARKIT_NAMES and name in own):
            scores[ARKIT_NAMES.index(name)] = value
        elif name in own:
            coefficients[own[name]] = value
        else:
            raise RealheadError(f"The head '{head.name}' has no action or coefficient '{name}': see expression_names.")
    expression, pose = scores_to_parameters(head, scores)
    return expression.to(coefficients) + coefficients, pose.to(base.pose)
