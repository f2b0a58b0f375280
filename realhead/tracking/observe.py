"""From a located face to what the fit reads, and the sentences for faces that cannot be used."""

from __future__ import annotations

import logging

import numpy as np
import torch

from realhead.errors import TrackingError
from realhead.head.actions import scores_to_parameters
from realhead.tracking.landmark_head import EYE_LEFT, EYE_RIGHT, JAW
from realhead.tracking.landmarker import Face
from realhead.tracking.observation import Observation

log = logging.getLogger(__name__)

SMALLEST_FACE, SMALL_FACE = 40, 100
"""Face heights in pixels: refused below the first, warned below the second."""
MOST_OUTSIDE = 0.05
STEEPEST = np.radians(60)
DARKEST = 30
WORST_FIT = 0.06


def observation_of(
    head, scores: np.ndarray, measured: tuple[np.ndarray, np.ndarray], size: tuple[int, int], **extra
) -> Observation:
    """What the fit reads of a face.

    Args:
        head: The full head, for the meaning of the scores.
        scores: The face's action scores, [52].
        measured: From `LandmarkHead.measure`.
        size: Width and height of its picture.
        **extra: `camera` and `focal` of the observation.
    """
    expression, pose = scores_to_parameters(head, torch.from_numpy(scores)[None])
    expression, pose = expression[0].double().numpy(), pose[0].double().numpy()
    points, trust = measured
    return Observation(
        points=points[:, :2] - np.array(size) / 2,
        depth=points[:, 2],
        trust=trust,
        expression=expression,
        jaw=pose[JAW, :2],
        gaze=np.concatenate([pose[EYE_LEFT, :2], pose[EYE_RIGHT, :2]]),
        extent=float(max(size)),
        **extra,
    )


def check_face(face: Face, image: np.ndarray, name: str) -> list[str]:
    """Refuses faces that cannot be fitted and returns what to warn of.

    Raises:
        TrackingError: The face is too small or cut by the border.
    """
    height, width = image.shape[:2]
    if face.size < SMALLEST_FACE:
        raise TrackingError(
            f"The face in {name} is only {face.size:.0f} pixels high: use a picture in which it has at least "
            f"{SMALL_FACE} pixels."
        )
    x, y = face.points[:, 0], face.points[:, 1]
    outside = float(((x < 0) | (y < 0) | (x > width) | (y > height)).mean())
    if outside > MOST_OUTSIDE:
        raise TrackingError(
            f"The face in {name} is cut by the border ({100 * outside:.0f} % lies outside): use a picture that shows "
            "the whole head."
        )
    warnings = []
    if face.size < SMALL_FACE:
        warnings.append(f"The face in {name} is only {face.size:.0f} pixels high: details will be missing.")
    rows, columns = np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)
    if image[rows, columns].mean() < DARKEST:
        warnings.append(f"The face in {name} is very dark: colours and landmarks will be unsure.")
    return warnings


def turn_of(rotation: np.ndarray) -> float:
    """Angle in radians by which a head looks past the camera's axis."""
    return float(np.arccos(np.clip(rotation[2, 2], -1, 1)))


def check_turn(rotation: np.ndarray, name: str) -> None:
    """Refuses profiles.

    Raises:
        TrackingError: The head is turned by more than 60 degrees.
    """
    turn = turn_of(rotation)
    if turn > STEEPEST:
        raise TrackingError(
            f"The head in {name} is turned by {np.degrees(turn):.0f} degrees: use a picture that shows both eyes."
        )


def check_fit(errors: np.ndarray, name: str) -> list[str]:
    """Warns of a fit that does not hold."""
    error = float(np.median(errors))
    if error > WORST_FIT:
        return [f"The head does not fit the face in {name} well ({100 * error:.0f} % of the inter-ocular distance)."]
    return []
