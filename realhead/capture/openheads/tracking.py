"""What a tracker would report: the true parameters without what it cannot see, and with its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from realhead.capture.capture import Frame
from realhead.head.model import Head

Tracking = Literal["exact", "studio", "wild"]


@dataclass(frozen=True)
class NoiseLevel:
    """Standard deviations: shape (per person), expression, jaw and neck and root (radians), eyes (radians),
    translation (metres); drift: share of the noise that wanders slowly instead of jumping from frame to frame.
    """

    shape: float
    expression: float
    rotation: float
    eyes: float
    translation: float
    drift: float


NOISE: dict[str, NoiseLevel] = {
    "exact": NoiseLevel(0, 0, 0, 0, 0, 0),
    "studio": NoiseLevel(0.05, 0.02, 0.003, 0.015, 0.0004, 0.3),
    "wild": NoiseLevel(0.20, 0.05, 0.010, 0.04, 0.0015, 0.7),
}
UNSEEN = ("tongueOut",)
"""Coefficients that trackers leave at zero."""


def track_frames(head: Head, frames: list[Frame], tracking: Tracking, seed: int) -> list[Frame]:
    """The frames as a tracker of a noise level reports them.

    Args:
        head: The head of the parameters.
        frames: True parameters of consecutive timesteps of one person.
        tracking: Noise level. Even "exact" leaves out what no tracker sees (tongue; quirks are never in parameters).
        seed: Seed of the errors.
    """
    level = NOISE[tracking]
    rng = np.random.default_rng(seed)
    # The shape is tracked once per person: its error is the same in all sequences of one seed.
    shape_error = torch.from_numpy(rng.normal(0, 1, frames[0].shape.shape).astype(np.float32)) * level.shape
    count = len(frames)
    expression = _errors(rng, count, len(frames[0].expression), level.drift) * level.expression
    pose = _errors(rng, count, 15, level.drift).reshape(count, 5, 3)
    pose *= np.array([level.rotation] * 3 + [level.eyes] * 2)[:, None]
    pose[:, 3:, 2] = 0  # eyes do not roll
    translation = _errors(rng, count, 3, level.drift) * level.translation
    unseen = torch.tensor([name in UNSEEN for name in head.expression_names])
    out = []
    for k, frame in enumerate(frames):
        tracked = frame.expression + torch.from_numpy(expression[k].astype(np.float32))
        tracked = torch.where(unseen, torch.zeros(()), tracked.clamp(min=0) if tracking != "exact" else tracked)
        out.append(Frame(
            frame.timestep, frame.shape + shape_error, tracked,
            frame.pose + torch.from_numpy(pose[k].astype(np.float32)),
            frame.translation + torch.from_numpy(translation[k].astype(np.float32)),
        ))  # fmt: skip
    return out


def _errors(rng: np.random.Generator, count: int, channels: int, drift: float) -> np.ndarray:
    """Unit errors over time, partly slow [count, channels]."""
    fast = rng.normal(0, 1, (count, channels))
    slow = gaussian_filter1d(rng.normal(0, 1, (count + 200, channels)), 20, axis=0)[100 : 100 + count]
    slow = slow / 0.118  # standard deviation of white noise after this filter
    return np.sqrt(1 - drift) * fast + np.sqrt(drift) * slow
