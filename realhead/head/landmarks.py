"""Landmarks of face trackers on a mesh: which of them are used, in which order, and how they are tied to triangles."""

from __future__ import annotations

import numpy as np

IBUG: tuple[int, ...] = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
"""iBUG points 17 to 67 as MediaPipe points."""


BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
"""MediaPipe points around the person's right brow."""

OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""MediaPipe points around the lips."""


def ibug_from_mediapipe(numbers: list[int]) -> np.ndarray:
    """Rows of iBUG's 68 points in a table of MediaPipe points followed by the seventeen of the jaw line, [68].

    Args:
        numbers: MediaPipe's number of each of the table's first rows.
    """
    jaw = np.arange(len(numbers), len(numbers) + 17)
    return np.concatenate([jaw, [numbers.index(k) for k in IBUG]])


def named(numbers: list[int], faces: np.ndarray, weights: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """The two embeddings of a head from one table.

    Args:
        numbers: MediaPipe's number of each of the table's first rows.
        faces: Triangles of those points and of the jaw line, [len(numbers) + 17].
        weights: Barycentric coordinates, [len(numbers) + 17, 3].

    Returns:
        "68": faces and weights in iBUG's order; "mediapipe": faces, weights and MediaPipe's numbers.
    """
    ibug, count = ibug_from_mediapipe(numbers), len(numbers)
    faces, weights = faces.astype(np.int32), weights.astype(np.float32)
    numbers_array = np.array(numbers, np.int32)
    return {"68": (faces[ibug], weights[ibug]), "mediapipe": (faces[:count], weights[:count], numbers_array)}


def closest_on_mesh(vertices: np.ndarray, faces: np.ndarray, point: np.ndarray) -> tuple[int, np.ndarray]:
    """Nearest triangle to a point, and the barycentric coordinates of the nearest spot in it.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        point: [3].
    """
    corners = vertices[faces]
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ap = point - a
    bb, bc, cc = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    pb, pc = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(bb * cc - bc * bc, 1e-30)
    inside = np.stack([(cc * pb - bc * pc) / area, (bb * pc - bc * pb) / area], 1)
    inside = np.concatenate([1 - inside.sum(1, keepdims=True), inside], 1)
    inside[(inside < 0).any(1)] = np.nan
    candidates = [inside, *(_on_edge(corners, point, i, (i + 1) % 3) for i in range(3))]
    spots = [np.einsum("fk,fkc->fc", weights, corners) for weights in candidates]
    gaps = np.nan_to_num(np.stack([np.linalg.norm(spot - point, axis=1) for spot in spots]), nan=np.inf)
    kind, face = np.unravel_index(np.argmin(gaps), gaps.shape)
    return int(face), candidates[kind][face]


def in_polygon(points: np.ndarray, ring: np.ndarray, margin: float) -> np.ndarray:
    """Whether points of a plane lie in a polygon, or closer to it than the margin.

    Args:
        points: [N, 2].
        ring: Corners, [K, 2].
        margin: In the points' unit.
    """
    x, y = points.T
    inside, gap = np.zeros(len(points), bool), np.full(len(points), np.inf)
    for start, end in zip(ring, np.roll(ring, -1, 0), strict=True):
        edge = end - start
        step = np.clip((points - start) @ edge / (edge @ edge), 0, 1)
        gap = np.minimum(gap, np.linalg.norm(start + step[:, None] * edge - points, axis=1))
        crosses = (start[1] > y) != (end[1] > y)  # even-odd rule with a ray towards +x
        inside ^= crosses & (x < start[0] + (y - start[1]) / (edge[1] + 1e-30) * edge[0])
    return inside | (gap < margin)


def _on_edge(corners, point, i, j):
    edge = corners[:, j] - corners[:, i]
    step = ((point - corners[:, i]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-30)
    step = np.clip(step, 0, 1)
    weights = np.zeros((len(corners), 3))
    weights[:, i], weights[:, j] = 1 - step, step
    return weights
