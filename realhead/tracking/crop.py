"""The crop rule: which square of a photograph becomes the picture of a capture.

The square shows `VISIBLE` metres around the middle of the fitted head, as the generator's cameras do, so a head takes
the same part of the picture everywhere, hair and shoulders included. It is upright (the picture is never turned), may
leave the photograph (filled with the background's white, mask 0), and is resized once, with an antialiasing filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VISIBLE = 0.355
"""Metres of the square's side at the depth of the head."""
MIDDLE = (0.0, 0.005, -0.02)
"""Middle of the picture in the head's axes, metres, for a head at rest at the origin."""


@dataclass(frozen=True)
class Crop:
    """A square in picture pixels.

    Attributes:
        x: Left edge.
        y: Upper edge.
        side: Side in pixels.
    """

    x: float
    y: float
    side: float

    def intrinsics(self, focal: float, width: int, height: int, size: int) -> np.ndarray:
        """K of the resized crop, for a photograph whose principal point is its middle, float32 [3, 3]."""
        scale = size / self.side
        cx, cy = (width / 2 - self.x) * scale, (height / 2 - self.y) * scale
        return np.array([[focal * scale, 0, cx], [0, focal * scale, cy], [0, 0, 1]], np.float32)

    def apply(self, image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Cuts and resizes.

        Args:
            image: uint8 [H, W, C] or [H, W].
            size: Side of the result.

        Returns:
            The square, edges continued where it leaves the picture, and a bool [size, size] mask of what lies inside.
        """
        from PIL import Image

        height, width = image.shape[:2]
        pad = [
            max(0, int(np.ceil(edge)))
            for edge in (-self.y, self.y + self.side - height, -self.x, self.x + self.side - width)
        ]
        padded = np.pad(image, [pad[:2], pad[2:]] + [(0, 0)] * (image.ndim - 2), mode="edge")
        left, top = self.x + pad[2], self.y + pad[0]
        box = (left, top, left + self.side, top + self.side)
        resized = Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=box)
        centres = (np.arange(size) + 0.5) / size * self.side
        x, y = centres + self.x, centres + self.y
        inside = ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))[None]
        return np.asarray(resized), inside


def crop_of(rotation: np.ndarray, translation: np.ndarray, root: np.ndarray, focal: float, middle: tuple) -> Crop:
    """The crop of a fitted head.

    Args:
        rotation: Head rotation, [3, 3].
        translation: Root translation; the camera stands at the origin and looks along -z, metres.
        root: The root joint at rest, metres.
        focal: Focal length in pixels.
        middle: Principal point in pixels.
    """
    point = rotation @ (np.array(MIDDLE) - root) + root + translation
    side = VISIBLE * focal / -point[2]
    x, y = middle[0] + focal * point[0] / -point[2], middle[1] - focal * point[1] / -point[2]
    return Crop(float(x - side / 2), float(y - side / 2), float(side))


def steady_crop(crops: list[Crop]) -> Crop:
    """One square for a whole clip: it holds the middle 90 % of the crops, but is at most 1.5 times their median."""
    edges = np.array([(c.x, c.y, c.x + c.side, c.y + c.side) for c in crops])
    low, high = np.quantile(edges[:, :2], 0.05, axis=0), np.quantile(edges[:, 2:], 0.95, axis=0)
    side = min(float((high - low).max()), 1.5 * float(np.median(edges[:, 2] - edges[:, 0])))
    x, y = (low + high) / 2 - side / 2
    return Crop(float(x), float(y), side)
