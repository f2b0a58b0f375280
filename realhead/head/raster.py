"""Triangle rasterization with a z-buffer: which triangle does a pixel see, and where in it?

One plain Numba routine serves the UV maps (depth is constant there), the visibility tests of the identity texture and
mesh overlays. Pixel centres lie at integer + 0.5.
"""

from __future__ import annotations

import numba
import numpy as np


def rasterize_triangles(
    points: np.ndarray, faces: np.ndarray, width: int, height: int, perspective: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rasterizes triangles that are already projected.

    Args:
        points: Vertices as (x pixels, y pixels, depth), float, shape [V, 3]. Triangles with a depth <= 0 are skipped.
        faces: Vertex indices, shape [F, 3]; both windings are drawn.
        width: Image width in pixels.
        height: Image height in pixels.
        perspective: Whether barycentric coordinates are corrected for perspective (depth is then camera z).

    Returns:
        Nearest face per pixel (int32, -1 where empty) [H, W]; barycentric coordinates [H, W, 3]; depth [H, W] (inf
        where empty).
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    faces = np.ascontiguousarray(faces, dtype=np.int32)
    face_index = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    _rasterize(points, faces, perspective, face_index, barycentric, depth)
    return face_index, barycentric, depth


@numba.njit(cache=True, nogil=True)
def _rasterize(points, faces, perspective, face_index, barycentric, depth):
    height, width = face_index.shape
    for f in range(faces.shape[0]):
        ax, ay, az = points[faces[f, 0]]
        bx, by, bz = points[faces[f, 1]]
        cx, cy, cz = points[faces[f, 2]]
        if az <= 0 or bz <= 0 or cz <= 0:
            continue
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if not abs(area) > 1e-12:  # also skips NaN
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                px, py = x + 0.5, y + 0.5
                u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) / area
                v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                if perspective:
                    u, v, w = u / az, v / bz, w / cz
                    z = 1.0 / (u + v + w)
                    u, v, w = u * z, v * z, w * z
                else:
                    z = u * az + v * bz + w * cz
                if z < depth[y, x]:
                    depth[y, x] = z
                    face_index[y, x] = f
                    barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = u, v, w
