"""Where the painter finds brows, eyes, nose and mouth on the free head's mean face.

Set by hand on the template (metres, x to the person's left, y up), in the numbering of the usual 68 landmarks; depth
comes from the mesh. Landmark embeddings for fitting are the head's own business and may be refined without repainting.
"""

from __future__ import annotations

import numpy as np

_MIDDLE = {8: -0.0945, 27: 0.0255, 28: 0.0115, 29: -0.0030, 30: -0.0175, 33: -0.0285, 51: -0.0418, 57: -0.0637,
           62: -0.0505, 66: -0.0512}  # fmt: skip
_LEFT = {
    9: (0.020, -0.0925), 10: (0.034, -0.086), 11: (0.046, -0.076), 12: (0.055, -0.064), 13: (0.061, -0.051),
    14: (0.064, -0.037), 15: (0.066, -0.022), 16: (0.067, -0.005), 22: (0.0120, 0.0400), 23: (0.0220, 0.0428),
    24: (0.0335, 0.0445), 25: (0.0445, 0.0440), 26: (0.0545, 0.0395), 34: (0.0065, -0.0275), 35: (0.0130, -0.0260),
    42: (0.0200, 0.0205), 43: (0.0262, 0.0255), 44: (0.0375, 0.0258), 45: (0.0448, 0.0214), 46: (0.0378, 0.0172),
    47: (0.0276, 0.0170), 52: (0.0060, -0.0411), 53: (0.0150, -0.0450), 54: (0.0247, -0.0513), 55: (0.0155, -0.0597),
    56: (0.0060, -0.0634), 63: (0.0090, -0.0503), 64: (0.0225, -0.0512), 65: (0.0090, -0.0510),
}  # fmt: skip
_PAIRS = {**{9 + k: 7 - k for k in range(8)}, **{22 + k: 21 - k for k in range(5)}, 34: 32, 35: 31, 42: 39, 43: 38,
          44: 37, 45: 36, 46: 41, 47: 40, 52: 50, 53: 49, 54: 48, 55: 59, 56: 58, 63: 61, 64: 60, 65: 67}  # fmt: skip


def painter_points(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The 68 points on the front of a surface [68, 3].

    Args:
        vertices: Template vertices [V, 3].
        faces: Triangles of the skin [F, 3].
    """
    plane = np.zeros((68, 2))
    for index, y in _MIDDLE.items():
        plane[index] = 0.0, y
    for index, (x, y) in _LEFT.items():
        plane[index], plane[_PAIRS[index]] = (x, y), (-x, y)
    corners = vertices[faces]
    depth = np.array([_front(corners, point) for point in plane])
    return np.column_stack([plane, depth])


def _front(corners: np.ndarray, point: np.ndarray) -> float:
    """Largest z of the triangles [F, 3, 3] over a point of the x-y plane; of the nearest triangle if there is none."""
    a, b, c = corners[:, 0, :2], corners[:, 1, :2], corners[:, 2, :2]
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    u, v = _cross(b - point, c - point) / area, _cross(c - point, a - point) / area
    w = 1 - u - v
    inside = (u >= 0) & (v >= 0) & (w >= 0)
    z = u * corners[:, 0, 2] + v * corners[:, 1, 2] + w * corners[:, 2, 2]
    if inside.any():
        return float(z[inside].max())
    centre = corners.mean(1)
    front = centre[:, 2] > 0
    nearest = np.argmin(((centre[front, :2] - point) ** 2).sum(1))
    return float(centre[front][nearest, 2])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
