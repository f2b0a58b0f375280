"""ARKit's 52 face actions (as measured by MediaPipe) as parameters of the free head.

Forty actions are expression coefficients of the same name. Jaw and eyes exist once, as joints, so the other twelve
become rotations about the joints' axes (x to the person's left, y up, z forward; all angles in radians):

    jaw         pitch (x) =  JAW_OPEN * jawOpen + JAW_FORWARD * jawForward,   yaw (y) = JAW_SIDE * (jawLeft - jawRight)
    left eye    pitch (x) =  EYE_DOWN * eyeLookDownLeft  - EYE_UP * eyeLookUpLeft,
                yaw (y)   =  EYE_OUT  * eyeLookOutLeft   - EYE_IN * eyeLookInLeft
    right eye   pitch (x) =  EYE_DOWN * eyeLookDownRight - EYE_UP * eyeLookUpRight,
                yaw (y)   =  EYE_IN   * eyeLookInRight   - EYE_OUT * eyeLookOutRight

A rotation joint cannot slide: jawForward becomes the small closing rotation that comes nearest to anny's shift of the
lower teeth (its forward component; 6 of 8 mm stay unexpressed). Two opposite actions at once cancel, which is what the
jaw and the eyes do too.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""MediaPipe's order without its leading `_neutral`."""

JAW_OPEN = 0.34
JAW_SIDE = 0.09
JAW_FORWARD = -0.035
EYE_DOWN = 0.33
EYE_UP = 0.22
EYE_IN = 0.40
EYE_OUT = 0.40

NECK, JAW, EYE_LEFT, EYE_RIGHT = 1, 2, 3, 4

ROTATIONS: dict[str, tuple[int, int, float]] = {
    "jawOpen": (JAW, 0, JAW_OPEN),
    "jawForward": (JAW, 0, JAW_FORWARD),
    "jawLeft": (JAW, 1, JAW_SIDE),
    "jawRight": (JAW, 1, -JAW_SIDE),
    "eyeLookDownLeft": (EYE_LEFT, 0, EYE_DOWN),
    "eyeLookUpLeft": (EYE_LEFT, 0, -EYE_UP),
    "eyeLookOutLeft": (EYE_LEFT, 1, EYE_OUT),
    "eyeLookInLeft": (EYE_LEFT, 1, -EYE_IN),
    "eyeLookDownRight": (EYE_RIGHT, 0, EYE_DOWN),
    "eyeLookUpRight": (EYE_RIGHT, 0, -EYE_UP),
    "eyeLookOutRight": (EYE_RIGHT, 1, -EYE_OUT),
    "eyeLookInRight": (EYE_RIGHT, 1, EYE_IN),
}
"""Action -> joint, axis, angle at score one."""

EXPRESSION_NAMES: tuple[str, ...] = tuple(name for name in ARKIT_NAMES if name not in ROTATIONS)


def scores_to_parameters(head, scores: Float[Tensor, "*b 52"]) -> tuple[Float[Tensor, "*b e"], Float[Tensor, "*b 5 3"]]:
    """Turns action scores into the head's expression coefficients and joint rotations.

    Args:
        head: A head with named expressions; names that it lacks are ignored.
        scores: Action scores in [0, 1] in the order of `ARKIT_NAMES`.

    Returns:
        Expression coefficients [*b, E] and pose (axis-angle, radians) [*b, 5, 3]; root and neck stay zero. Jaw pitch
        and yaw form one axis-angle vector: they are components, not a sequence of two turns.
    """
    expression = torch.zeros(*scores.shape[:-1], head.num_expression, dtype=scores.dtype, device=scores.device)
    pose = torch.zeros(*scores.shape[:-1], 5, 3, dtype=scores.dtype, device=scores.device)
    position = {name: i for i, name in enumerate(head.expression_names)}
    for column, name in enumerate(ARKIT_NAMES):
        if name in ROTATIONS:
            joint, axis, angle = ROTATIONS[name]
            pose[..., joint, axis] = pose[..., joint, axis] + angle * scores[..., column]
        elif name in position:
            expression[..., position[name]] = scores[..., column]
    return expression, pose


def parameters_to_scores(
    head, expression: Float[Tensor, "*b e"], pose: Float[Tensor, "*b 5 3"]
) -> Float[Tensor, "*b 52"]:
    """Inverse of `scores_to_parameters` where it has one.

    Of two opposite actions the one with the fitting sign is reported, and jawForward is always zero (a closed jaw
    turned further shut reads as jawOpen = 0).

    Args:
        head: The head that the parameters belong to.
        expression: Expression coefficients.
        pose: Joint rotations, axis-angle.
    """
    scores = torch.zeros(*expression.shape[:-1], len(ARKIT_NAMES), dtype=expression.dtype, device=expression.device)
    position = {name: i for i, name in enumerate(head.expression_names)}
    for column, name in enumerate(ARKIT_NAMES):
        if name in position:
            scores[..., column] = expression[..., position[name]]
        elif name in ROTATIONS and name != "jawForward":
            joint, axis, angle = ROTATIONS[name]
            scores[..., column] = (pose[..., joint, axis] / angle).clamp_min(0)
    return scores
