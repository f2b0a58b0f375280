"""What the fit reads and returns: observed landmarks with their groups and weights, options, results, projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realhead.head.actions import EYE_DOWN, EYE_IN, EYE_UP, JAW_OPEN, JAW_SIDE
from realhead.tracking.landmark_head import IRIS, JAW_INDEX, State

if TYPE_CHECKING:
    from realhead.tracking.fit import Fitter

GROUPS: dict[str, tuple[int, ...]] = {
    "eyes": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
    + (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "brows": (276, 283, 282, 295, 285, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107),
    "nose": (168, 6, 197, 195, 5, 4, 129, 98, 97, 2, 326, 327, 358),
    "outer lips": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    "inner lips": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
    "irises": IRIS,
    "jaw line": (JAW_INDEX,),
}
"""MediaPipe's points by the part of the face they lie on; the rest is "other"."""

WEIGHTS = {
    "eyes": 1.0,
    "brows": 1.0,
    "nose": 0.8,  # its tip has no fixed place on the skin, and a long lever on the head's pitch
    "outer lips": 1.0,
    "inner lips": 1.2,
    "irises": 1.0,
    "jaw line": 0.5,
    "other": 0.4,
}
MIN_JAW, MAX_JAW = (-0.06, -JAW_SIDE), (JAW_OPEN * 1.15, JAW_SIDE)
MIN_GAZE, MAX_GAZE = (-EYE_UP * 1.6, -EYE_IN * 1.3), (EYE_DOWN * 1.6, EYE_IN * 1.3)


@dataclass(frozen=True)
class Observation:
    """What the landmarker saw in one frame.

    Attributes:
        points: Pixels relative to the principal point, y down, [L, 2], in the order of `LandmarkHead.indices`.
        depth: The network's own depth of the points, in pixels, smaller is nearer, [L]; says how the head is turned.
        trust: Weight of each point in [0, 1], [L].
        expression: Expression coefficients that the scores stand for, [E].
        jaw: Jaw pitch and yaw that the scores stand for, radians, [2].
        gaze: Pitch and yaw of left and right eye that the scores stand for, radians, [4].
        extent: Longer side of the picture in pixels.
        camera: Frames with the same number share a focal length.
        focal: Focal length in pixels where the camera noted it; it is then hardly changed.
    """

    points: np.ndarray
    depth: np.ndarray
    trust: np.ndarray
    expression: np.ndarray
    jaw: np.ndarray
    gaze: np.ndarray
    extent: float
    camera: int = 0
    focal: float | None = None


@dataclass(frozen=True)
class FitOptions:
    """How strongly each unknown is held."""

    noise: float = 0.025
    """Standard deviation of a good landmark, in inter-ocular distances."""
    robust: float = 4.0
    """Errors beyond so many standard deviations lose their weight."""
    shape: float = 1.5
    """Standard deviation of identity coefficients."""
    expression: float = 0.12
    """Standard deviation of expression coefficients around the scores."""
    brows: float = 0.4
    """The same for the brows' coefficients, of which landmarks tell more than scores do. On real clips 0.2, with a
    weight of 0.6, missed the brows by up to 1.5 % of the inter-ocular distance, now by up to 1.1 %; on the synthetic
    clips of results/tracking browInnerUp followed the truth less well for it (0.57 instead of 0.65)."""
    jaw: float = 0.08
    """Standard deviation of jaw angles around the scores, radians."""
    gaze: float = 0.15
    """Standard deviation of eye angles around the scores, radians."""
    depth: float = float(np.radians(1.5))
    """Standard deviation of a known person's head rotation around the one by the points' depth, radians. On the
    synthetic clips of results/tracking it lowers the rotation's error from 3.0 to 2.9 degrees; chosen on other people.
    A smaller one gains little more there, and moves the jaw line of real clips away."""
    focal: float = 1.5
    """Expected focal length, in longer picture sides, when the camera did not note it."""
    focal_spread: float = 0.25
    """Standard deviation of the focal length's logarithm."""
    focal_known: float = 0.03
    """The same where the camera noted its focal length."""
    iterations: int = 30
    """Most Gauss-Newton steps."""


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Attributes:
        focals: Focal length in pixels of every frame, [frames].
        shape: Identity coefficients [S].
        states: One state per frame.
        errors: Landmark errors in inter-ocular distances, one array [L] per frame.
        lean: How the head seems turned by the points' depth alone, against the fit: mean over the frames, axis-angle
            in radians, [3].
    """

    focals: np.ndarray
    shape: np.ndarray
    states: tuple[State, ...]
    errors: tuple[np.ndarray, ...]
    lean: np.ndarray


def project(points: np.ndarray, focal: float) -> np.ndarray:
    """Pixels relative to the principal point, y down, [L, 2]."""
    return focal * points[:, :2] * np.array([1.0, -1.0]) / -points[:, 2:]


def projection_derivative(points: np.ndarray, focal: float) -> np.ndarray:
    """Derivative of `project` by the point, [L, 2, 3]."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    rows = [[-focal / z, zero, focal * x / z**2], [zero, focal / z, -focal * y / z**2]]
    return np.stack([np.stack(row, -1) for row in rows], 1)


def report(fitter: Fitter, errors: list[np.ndarray] | tuple[np.ndarray, ...]) -> dict[str, float]:
    """Median landmark error per group and over all, in per cent of the inter-ocular distance, and the lips' 90th
    percentile."""
    stacked = 100 * np.stack(errors)
    groups = [g for g in WEIGHTS if (fitter.group == g).any()]
    table = {g: float(np.median(stacked[:, fitter.group == g])) for g in groups}
    table["all"] = float(np.median(stacked))
    lips = np.isin(fitter.group, ("outer lips", "inner lips"))
    if lips.any():
        table["lips 90 %"] = float(np.quantile(stacked[:, lips], 0.9))
    return table


def group_of(index: int) -> str:
    return next((name for name, members in GROUPS.items() if index in members), "other")
