"""Where do the landmarks of face trackers lie on FLAME?

FLAME's own landmark files are a separate, licensed download. These places were measured for this project as those of
the free head were: MediaPipe's landmarker on pictures of 16 people of the identity space of FLAME 2023 Open, three
views, every point followed to the spot of the mesh that it fell on, robust mean, made symmetric; inner lips on the
crests of the lips. All editions share the triangles, so they share the table.
"""

from __future__ import annotations

import numpy as np

from realhead.head import landmarks

MEDIAPIPE: dict[int, tuple[int, int, int]] = {
    276: (1351, 46, 531), 282: (5107, 471, 335), 283: (6428, 601, 63), 285: (1321, 520, 40), 293: (3831, 277, 119),
    295: (3845, 45, 772), 296: (5388, 181, 84), 300: (5377, 39, 891), 334: (6464, 390, 249), 336: (6592, 705, 103),
    46: (7934, 92, 487), 52: (225, 496, 187), 53: (7930, 393, 11), 55: (3749, 27, 550), 63: (8832, 307, 643),
    65: (3779, 757, 20), 66: (8838, 773, 48), 70: (1480, 99, 9), 105: (2861, 403, 350), 107: (7915, 283, 9),
    249: (253, 491, 0), 263: (8614, 683, 6), 362: (1342, 175, 169), 373: (6306, 689, 141), 374: (1057, 233, 259),
    380: (229, 207, 658), 381: (313, 480, 319), 382: (6409, 199, 185), 384: (5424, 536, 373), 385: (8231, 580, 58),
    386: (307, 301, 559), 387: (6230, 0, 69), 388: (5395, 199, 765), 390: (249, 0, 58), 398: (2182, 376, 0),
    466: (275, 395, 531), 7: (1657, 0, 602), 33: (6772, 585, 106), 133: (3669, 445, 268), 144: (8547, 3, 213),
    145: (6699, 814, 23), 153: (1572, 135, 848), 154: (1737, 61, 175), 155: (8731, 674, 296), 157: (6828, 646, 98),
    158: (6809, 179, 348), 159: (6805, 146, 854), 160: (1700, 19, 283), 161: (1701, 122, 665), 163: (1569, 0, 417),
    173: (6826, 122, 730), 246: (1696, 198, 602), 168: (8626, 190, 83), 6: (2703, 205, 185), 197: (2706, 813, 5),
    195: (8652, 592, 243), 5: (8673, 128, 31), 4: (3584, 81, 832), 129: (2737, 226, 461), 98: (2275, 19, 810),
    97: (2277, 346, 240), 2: (8616, 604, 334), 326: (832, 190, 301), 327: (3525, 198, 69), 358: (1196, 316, 404),
    0: (8623, 365, 584), 13: (3575, 961, 0), 14: (3603, 952, 0), 17: (8670, 35, 58), 37: (2354, 218, 29),
    39: (7413, 260, 308), 40: (7390, 126, 261), 61: (2309, 74, 808), 78: (2346, 76, 790), 80: (2331, 5, 0),
    81: (7337, 0, 165), 82: (3575, 110, 0), 84: (2452, 91, 44), 87: (7493, 0, 832), 88: (2373, 684, 0),
    91: (2383, 472, 323), 95: (7440, 735, 265), 146: (2366, 60, 481), 178: (7498, 0, 687), 181: (2435, 726, 9),
    185: (2348, 298, 287), 191: (2342, 0, 598), 267: (5997, 132, 768), 269: (3433, 338, 375), 270: (885, 207, 579),
    291: (861, 322, 10), 308: (8521, 118, 469), 310: (887, 0, 884), 311: (827, 0, 253), 312: (7270, 811, 189),
    314: (6069, 53, 897), 317: (2457, 0, 945), 318: (3461, 0, 760), 321: (3143, 501, 439), 324: (931, 96, 0),
    375: (6002, 47, 715), 402: (1044, 0, 788), 405: (3607, 132, 711), 409: (8488, 306, 484), 415: (5985, 29, 971),
}  # fmt: skip
"""Number among MediaPipe's 478 points -> triangle, and the weights of its first two corners in thousandths."""

JAW_LINE: tuple[tuple[int, int, int], ...] = (
    (8031, 630, 312), (7283, 625, 267), (8025, 174, 818), (3329, 72, 809), (3328, 515, 237), (8372, 478, 435),
    (8386, 301, 505), (3322, 477, 499), (8248, 53, 358), (8174, 383, 17), (8144, 141, 592), (8196, 120, 342),
    (3081, 302, 518), (3078, 884, 31), (5164, 472, 139), (5250, 671, 17), (6546, 207, 299),
)  # fmt: skip
"""iBUG points 0 to 16, from the person's right to the left; columns as above."""


def embeddings() -> dict[str, tuple[np.ndarray, ...]]:
    """Landmarks "68" and "mediapipe" of every FLAME edition, as `Head.landmarks` holds them."""
    table = np.array([*MEDIAPIPE.values(), *JAW_LINE])
    weights = table[:, 1:] / 1000
    weights = np.concatenate([weights, 1 - weights.sum(1, keepdims=True)], 1)
    return landmarks.named(list(MEDIAPIPE), table[:, 0], weights)


def place(vertices: np.ndarray, faces: np.ndarray, number: int) -> np.ndarray:
    """Position of one MediaPipe point on a FLAME mesh, [3]."""
    face, first, second = MEDIAPIPE[number]
    return np.array([first, second, 1000 - first - second]) / 1000 @ vertices[faces[face]]
