"""The cameras: sixteen over the frontal hemisphere, or one."""

from __future__ import annotations

import numpy as np

from realhead.capture.camera import Camera

# Azimuth (to the person's left) and elevation in degrees; index 08 looks the head in the face, as in NeRSemble.
PLACES = ((-80, 4), (-68, -13), (-62, 16), (-50, 3), (-38, -15), (-32, 16), (-18, 4), (-12, -14), (0, 0), (10, 18),
          (20, 4), (34, -15), (40, 16), (52, 3), (66, -13), (80, 5))  # fmt: skip
TARGET = (0.0, 0.005, -0.02)
VISIBLE = 0.355
"""Metres of the picture's height at the target: a head with hair takes about three quarters of it."""


def studio_cameras(width: int, height: int, seed: int = 0) -> list[Camera]:
    """Sixteen cameras about one metre away, each with its own off-centre principal point (2 to 5 %, both signs).

    Args:
        width, height: Picture size.
        seed: Seed of the small differences between set-ups.
    """
    rng = np.random.default_rng([77, seed])
    cameras = []
    for index, (azimuth, elevation) in enumerate(PLACES):
        distance = rng.uniform(0.97, 1.05)
        jitter = rng.normal(0, 0.6, 2) * (index != 8)
        shift = rng.uniform(0.02, 0.05, 2) * np.array([(1, 1), (-1, 1), (1, -1), (-1, -1)][index % 4])
        cameras.append(_camera(azimuth + jitter[0], elevation + jitter[1], distance, width, height, index, shift))
    return cameras


def wild_camera(width: int, height: int, seed: int) -> Camera:
    """One camera in front, at some height and distance, principal point in the middle as trackers assume."""
    rng = np.random.default_rng([78, seed])
    return _camera(rng.uniform(-8, 8), rng.uniform(-6, 6), rng.uniform(0.7, 1.2), width, height, 0, (0.0, 0.0))


def _camera(azimuth, elevation, distance, width, height, index, shift) -> Camera:
    a, e = np.radians(azimuth), np.radians(elevation)
    offset = distance * np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    return Camera.look_at(
        [float(t + o) for t, o in zip(TARGET, offset, strict=True)], list(TARGET),
        focal=float(height / VISIBLE * distance), width=width, height=height, name=f"{index:02d}",
        principal=(float(width * (0.5 + shift[0])), float(height * (0.5 + shift[1]))),
    )  # fmt: skip
