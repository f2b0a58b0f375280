"""Smoothing of tracked parameters over time, without delay and without losing blinks and plosives.

A bilateral filter: a frame is averaged with its neighbours as far as they look alike. Landmark noise is small and goes;
a blink or a closing mouth is large and stays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from realhead.tracking.landmark_head import State, rotation_matrix, rotation_vector

RADIUS = 4
TIME = 1.7
"""Standard deviation in frames."""
ALIKE = {
    "rotation": 0.012,
    "translation": np.array([0.0008, 0.0008, 0.010]),
    "expression": 0.06,
    "jaw": 0.02,
    "gaze": 0.05,
}
"""Differences (radians, metres, coefficients) that still count as noise; depth (z) is the least certain."""


def smooth(states: dict[int, State]) -> dict[int, State]:
    """Smooths the states of a clip.

    Args:
        states: By frame number; gaps (lost faces) are allowed and not bridged.

    Returns:
        The same frames, smoothed.
    """
    return {index: _smoothed(index, states) for index in states}


def _smoothed(index: int, states: dict[int, State]) -> State:
    centre = states[index]
    near = [i for i in range(index - RADIUS, index + RADIUS + 1) if i in states]
    weights = np.exp(-0.5 * ((np.array(near) - index) / TIME) ** 2)
    turns = np.stack([rotation_vector(states[i].rotation @ centre.rotation.T) for i in near])
    averaged = {
        name: _bilateral(np.stack([getattr(states[i], name) for i in near]), getattr(centre, name), weights, name)
        for name in ("translation", "expression", "jaw", "gaze")
    }
    turn = _bilateral(turns, np.zeros(3), weights, "rotation", joint=True)
    return replace(centre, rotation=rotation_matrix(turn) @ centre.rotation, **averaged)


def _bilateral(
    values: np.ndarray, centre: np.ndarray, weights: np.ndarray, name: str, joint: bool = False
) -> np.ndarray:
    distance = (values - centre) / ALIKE[name]
    if joint:
        distance = np.linalg.norm(distance, axis=1, keepdims=True)
    full = weights[:, None] * np.exp(-0.5 * distance**2)
    return (full * values).sum(0) / full.sum(0)
