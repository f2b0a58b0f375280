"""Where do the landmarks of face trackers lie on the free head?

The places were measured, not guessed: MediaPipe's landmarker was run on 240 pictures of 40 sampled people (three views,
mouth shut and open), every point was followed to the spot of the mesh that it fell on, and the robust mean over all
pictures, made symmetric, is kept here as a point of the mean head. The inner lips, which fall into the open mouth, were
set on the crests where the lips meet. The jaw line is MediaPipe's face oval below the eyes in sixteen equal steps.
"""

from __future__ import annotations

import numpy as np

UNIT = 1e-5
"""Metres per unit of the tables below, FLAME's axes and placement."""

MEDIAPIPE: dict[int, tuple[int, int, int]] = {
    276: (5434, 3608, 3311), 282: (3985, 4369, 4652), 283: (4834, 4132, 4039), 285: (1285, 3728, 5291),
    293: (5149, 4586, 3522), 295: (2844, 4262, 5127), 296: (2912, 4872, 5059), 300: (5790, 3901, 2642),
    334: (4189, 4942, 4379), 336: (1453, 4612, 5388), 46: (-5434, 3608, 3311), 52: (-3985, 4369, 4652),
    53: (-4833, 4132, 4038), 55: (-1285, 3728, 5291), 63: (-5149, 4586, 3522), 65: (-2844, 4262, 5127),
    66: (-2912, 4872, 5059), 70: (-5790, 3901, 2642), 105: (-4188, 4941, 4379), 107: (-1453, 4612, 5388),
    249: (4268, 1931, 3644), 263: (4453, 2187, 3627), 362: (1681, 1888, 4002), 373: (3703, 1717, 4003),
    374: (3213, 1671, 4154), 380: (2673, 1721, 4055), 381: (2166, 1788, 3884), 382: (1833, 1834, 3900),
    384: (2194, 2362, 4178), 385: (2818, 2591, 4349), 386: (3350, 2647, 4379), 387: (3829, 2583, 4255),
    388: (4145, 2455, 4092), 390: (4032, 1808, 3808), 398: (1837, 2076, 4064), 466: (4342, 2323, 3907),
    7: (-4268, 1931, 3644), 33: (-4453, 2186, 3627), 133: (-1680, 1888, 4001), 144: (-3703, 1716, 4003),
    145: (-3213, 1671, 4154), 153: (-2673, 1720, 4055), 154: (-2166, 1787, 3883), 155: (-1833, 1834, 3900),
    157: (-2194, 2362, 4178), 158: (-2818, 2591, 4349), 159: (-3350, 2647, 4379), 160: (-3829, 2583, 4255),
    161: (-4145, 2455, 4091), 163: (-4032, 1808, 3808), 173: (-1837, 2076, 4064), 246: (-4342, 2322, 3907),
    168: (-4, 2538, 5076), 6: (-19, 1653, 5152), 197: (-21, 915, 5519), 195: (-18, 278, 5892), 5: (-6, -399, 6288),
    4: (-6, -1219, 6877), 129: (-1921, -1878, 4786), 98: (-1604, -2560, 5063), 97: (-745, -2681, 5680),
    2: (-6, -2686, 6520), 326: (749, -2679, 5696), 327: (1605, -2561, 5068), 358: (1924, -1878, 4785),
    0: (0, -4039, 6113), 13: (0, -5123, 5229), 14: (0, -5097, 5482), 17: (6, -6359, 5618), 37: (-733, -3863, 5940),
    39: (-1492, -4139, 5654), 40: (-1995, -4477, 5359), 61: (-2531, -5102, 4659), 78: (-2192, -5061, 4770),
    80: (-1576, -5060, 4974), 81: (-1120, -5049, 5125), 82: (-604, -5057, 5172), 84: (-804, -6302, 5478),
    87: (-604, -5082, 5222), 88: (-1576, -5046, 4785), 91: (-2001, -5732, 5025), 95: (-1918, -5086, 4695),
    146: (-2344, -5408, 4775), 178: (-1120, -5032, 5166), 181: (-1494, -6108, 5266), 185: (-2332, -4811, 5009),
    191: (-1918, -5027, 5043), 267: (733, -3863, 5940), 269: (1490, -4140, 5652), 270: (1994, -4477, 5358),
    291: (2531, -5102, 4658), 308: (2193, -5062, 4771), 310: (1582, -5061, 4973), 311: (1124, -5050, 5119),
    312: (604, -5057, 5173), 314: (803, -6301, 5478), 317: (604, -5082, 5222), 318: (1582, -5046, 4780),
    321: (2002, -5733, 5026), 324: (1913, -5085, 4696), 375: (2344, -5408, 4775), 402: (1124, -5031, 5165),
    405: (1493, -6107, 5265), 409: (2332, -4811, 5009), 415: (1913, -5029, 5039),
}  # fmt: skip
"""Number among MediaPipe's 478 points -> place. The 105 points, and their order, are those of the files that come with
FLAME: brows, eyes, nose, lips."""

JAW_LINE: tuple[tuple[int, int, int], ...] = (
    (-7291, 1725, -2821), (-7234, -512, -3038), (-6904, -2735, -3101), (-6164, -4858, -3259), (-5739, -6317, -1760),
    (-4904, -7320, 86), (-3705, -8252, 1743), (-2151, -9082, 3149), (-4, -9482, 3669), (2151, -9082, 3149),
    (3705, -8252, 1743), (4904, -7320, 86), (5739, -6317, -1760), (6164, -4858, -3259), (6904, -2735, -3101),
    (7234, -512, -3038), (7291, 1725, -2821),
)  # fmt: skip
"""iBUG points 0 to 16, from the person's right to the left."""

IBUG: tuple[int, ...] = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
"""iBUG points 17 to 67 as MediaPipe points."""


def embed(vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray) -> dict[str, np.ndarray]:
    """Ties the landmarks to the mesh.

    Args:
        vertices: Mean head, [V, 3].
        faces: Triangles, [F, 3].
        skin: Triangles that may carry a landmark, [F] bool.

    Returns:
        `landmarks_68_faces` [68], `landmarks_68_weights` [68, 3], the same for `mediapipe` [105], and
        `landmarks_mediapipe_indices` [105], the points' numbers among MediaPipe's 478.
    """
    chosen = np.flatnonzero(skin)
    numbers = list(MEDIAPIPE)
    places = np.array([*MEDIAPIPE.values(), *JAW_LINE]) * UNIT
    found = [closest_on_mesh(vertices, faces[chosen], place) for place in places]
    face = chosen[[f for f, _ in found]].astype(np.int32)
    weights = np.array([w for _, w in found]).astype(np.float32)
    jaw = np.arange(len(numbers), len(places))
    ibug = np.concatenate([jaw, [numbers.index(k) for k in IBUG]])
    count = len(numbers)
    return {
        "landmarks_68_faces": face[ibug],
        "landmarks_68_weights": weights[ibug],
        "landmarks_mediapipe_faces": face[:count],
        "landmarks_mediapipe_weights": weights[:count],
        "landmarks_mediapipe_indices": np.array(numbers, np.int32),
    }


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


def _on_edge(corners, point, i, j):
    edge = corners[:, j] - corners[:, i]
    step = ((point - corners[:, i]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-30)
    step = np.clip(step, 0, 1)
    weights = np.zeros((len(corners), 3))
    weights[:, i], weights[:, j] = 1 - step, step
    return weights
