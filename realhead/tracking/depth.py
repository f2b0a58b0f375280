"""How a head is turned by the depth that the network guesses for its points.

From person to person this differs from the truth by a constant; but from frame to frame it follows a nodding head
better than the points in the picture do. So it starts the fit, and once a person's constant is known, frames are pulled
to it (`FitOptions.depth`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from realhead.tracking.landmark_head import LandmarkHead, State, rotation_vector
from realhead.tracking.observation import Observation


def aligned(head: LandmarkHead, weight: np.ndarray, observation: Observation) -> tuple[np.ndarray, float]:
    """Rotation [3, 3] and scale (pixels per metre) that bring the mean head with the scores' expression to the points.

    Args:
        head: The reduced head.
        weight: Weights of the landmarks, [L].
        observation: The frame.
    """
    straight = State(np.eye(3), np.zeros(3), observation.expression, observation.jaw, observation.gaze)
    rest, seen = _mean_points(head, straight), _with_depth(observation)
    a, b = rest - rest.mean(0), seen - seen.mean(0)
    u, s, vt = np.linalg.svd(b.T @ (a * weight[:, None]))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (u * sign) @ vt, (s * sign).sum() / (weight[:, None] * a**2).sum()


def start_by_depth(head: LandmarkHead, weight: np.ndarray, observation: Observation, focal: float) -> State:
    """The mean head where the points and their depth put it, with the scores' expression, jaw and gaze."""
    rotation, scale = aligned(head, weight, observation)
    state = State(rotation, np.zeros(3), observation.expression, observation.jaw, observation.gaze)
    centre = np.append(_with_depth(observation).mean(0)[:2], -focal) / scale
    return replace(state, translation=centre - _mean_points(head, state).mean(0))


def mean_lean(
    head: LandmarkHead, weight: np.ndarray, observations: list[Observation], states: list[State]
) -> np.ndarray:
    """Mean turn, axis-angle in the head's axes, from fitted rotations to those that the points' depth gives, [3]."""
    turns = [s.rotation.T @ aligned(head, weight, ob)[0] for ob, s in zip(observations, states, strict=True)]
    return np.mean([rotation_vector(turn) for turn in turns], axis=0)


def _mean_points(head: LandmarkHead, state: State) -> np.ndarray:
    return head.points(np.zeros(head.num_shape), state)


def _with_depth(observation: Observation) -> np.ndarray:
    """The points in the fit's axes (y up, z towards the camera), pixels, [L, 3]."""
    return np.concatenate([observation.points, observation.depth[:, None]], 1) * np.array([1.0, -1.0, -1.0])
