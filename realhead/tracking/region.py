"""Turned squares of a picture: what the networks look at."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

CROP_MARGIN = 1.5
"""Side of a crop in sides of the box around the face."""
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263


@dataclass(frozen=True)
class Region:
    """A turned square in a picture.

    Attributes:
        x: Centre in pixels.
        y: Centre in pixels.
        size: Side in pixels.
        angle: Turn in radians that takes picture axes to the square's axes (the face's roll).
    """

    x: float
    y: float
    size: float
    angle: float

    def image_from_crop(self) -> np.ndarray:
        """Affine map [2, 3] from the unit square to picture pixels."""
        c, s = np.cos(self.angle) * self.size, np.sin(self.angle) * self.size
        linear = np.array([[c, -s], [s, c]])
        offset = np.array([self.x, self.y]) - linear @ [0.5, 0.5]
        return np.concatenate([linear, offset[:, None]], 1)


def region_of(points: np.ndarray) -> Region:
    """The crop around known points: their box, with a margin, turned by the line through the eyes."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    x, y = (low + high) / 2
    angle = roll(points[RIGHT_EYE_OUTER], points[LEFT_EYE_OUTER])
    return Region(float(x), float(y), CROP_MARGIN * float(max(high - low)), angle)


def cut(image: np.ndarray, region: Region, size: int) -> np.ndarray:
    """Cuts a turned square out of a picture, bilinear, averaged where it shrinks; black outside the picture.

    Args:
        image: uint8 [H, W, 3].
        region: What to cut.
        size: Side of the result in pixels.

    Returns:
        float32 [size, size, 3] in [0, 255].
    """
    out = np.empty((size, size, 3), np.float32)
    samples = int(np.clip(np.ceil(region.size / size - 0.2), 1, 8))
    _cut(np.ascontiguousarray(image), region.image_from_crop() / size, samples, out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _cut(image, transform, samples, out):
    height, width = image.shape[:2]
    size = out.shape[0]
    for row in range(size):
        for column in range(size):
            red = green = blue = 0.0
            for i in range(samples):
                for j in range(samples):
                    u, v = column + (j + 0.5) / samples, row + (i + 0.5) / samples
                    x = transform[0, 0] * u + transform[0, 1] * v + transform[0, 2] * size - 0.5
                    y = transform[1, 0] * u + transform[1, 1] * v + transform[1, 2] * size - 0.5
                    x0, y0 = int(np.floor(x)), int(np.floor(y))
                    fx, fy = x - x0, y - y0
                    for corner in range(4):
                        cx, cy = x0 + (corner & 1), y0 + (corner >> 1)
                        if 0 <= cx < width and 0 <= cy < height:
                            w = (fx if corner & 1 else 1 - fx) * (fy if corner >> 1 else 1 - fy)
                            red += w * image[cy, cx, 0]
                            green += w * image[cy, cx, 1]
                            blue += w * image[cy, cx, 2]
            count = samples * samples
            out[row, column, 0] = red / count
            out[row, column, 1] = green / count
            out[row, column, 2] = blue / count


def roll(right_eye: np.ndarray, left_eye: np.ndarray) -> float:
    """Angle of the line through the eyes, radians; positive where the person's left eye is lower."""
    return float(np.arctan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0]))
