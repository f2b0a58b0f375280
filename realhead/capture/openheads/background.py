"""What stands behind a person before a webcam: a wall, a few blurred things, perhaps a window or a lamp."""

from __future__ import annotations

import cv2
import numpy as np


def room(width: int, height: int, seed: int) -> np.ndarray:
    """A room out of focus, the same for every frame of a clip, uint8 [H, W, 3].

    Args:
        width, height: Picture size in pixels.
        seed: The clip's seed.
    """
    rng = np.random.default_rng([seed, 31])
    hue, saturation, value = rng.integers(0, 180), rng.integers(0, 70), rng.integers(90, 235)
    wall = _rgb(hue, saturation, value)
    light = np.linspace(*rng.uniform(0.7, 1.15, 2), width)[None, :, None]
    picture = (np.ones((height, width, 3)) * wall * light).clip(0, 255).astype(np.uint8)
    for _ in range(rng.integers(2, 7)):  # shelves, doors, pictures
        x, y = rng.integers(-width // 8, width), rng.integers(-height // 8, height)
        corner = x + rng.integers(width // 12, width // 2), y + rng.integers(height // 12, height)
        color = _rgb(rng.integers(0, 180), rng.integers(0, 170), rng.integers(20, 240))
        cv2.rectangle(picture, (int(x), int(y)), tuple(map(int, corner)), color.tolist(), -1)
    if rng.random() < 0.5:  # a lamp or a window
        centre = int(rng.integers(0, width)), int(rng.integers(0, height // 2))
        cv2.circle(picture, centre, int(rng.integers(height // 20, height // 6)), (255, 250, 235), -1)
    return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.004, 0.02) * height))


def _rgb(hue: int, saturation: int, value: int) -> np.ndarray:
    hsv = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)
