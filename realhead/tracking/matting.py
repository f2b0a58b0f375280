"""Separating a head from its background: alpha with hair edges, and foreground colours without the background's tint.

MediaPipe's selfie segmentation says roughly who is in front; the uncertain band around its border becomes a trimap, and
closed-form matting (Levin et al. 2008) with multi-level foreground estimation (Germer et al. 2020), both of PyMatting,
decides inside the band. Clips use a guided filter (He et al. 2010) instead, which takes milliseconds. What does not
hang together with the middle of the crop, where the face is, counts as background (a lamp, a second person).
"""

from __future__ import annotations

import functools
from typing import Literal

import numba
import numpy as np

Matting = Literal["fine", "fast", "own", "none"]
"""fine: trimap and closed-form matting (photographs). fast: guided filter (clips). own: the picture's alpha channel.
none: everything is foreground."""

NETWORK_SIZE = 256
BAND = 15 / 512
"""Half width of the uncertain band, as a part of the picture's side."""


def foreground(image: np.ndarray, matting: Matting, alpha: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Alpha and foreground colours of a square crop.

    Args:
        image: uint8 [H, W, 3].
        matting: How; "own" returns `alpha`.
        alpha: The picture's own straight alpha, uint8 [H, W].

    Returns:
        Foreground colours in [0, 1], float32 [H, W, 3], and straight alpha in [0, 1], float32 [H, W].
    """
    colours = image.astype(np.float32) / 255
    if matting == "none" or (matting == "own" and alpha is None):
        return colours, np.ones(image.shape[:2], np.float32)
    if matting == "own":
        return colours, alpha.astype(np.float32) / 255
    likely = around_the_face(person_probability(image))
    if matting == "fast":
        refined = guided_filter(colours.mean(-1), likely, radius=max(2, round(len(image) * 0.012)), eps=1e-4)
        alpha = np.clip((refined - 0.05) / 0.9, 0, 1)
    else:
        alpha = _closed_form(colours, likely)
    return decontaminated(colours, alpha), alpha


def person_probability(image: np.ndarray) -> np.ndarray:
    """Probability in [0, 1] that a pixel shows the person, float32 [H, W]."""
    from PIL import Image

    height, width = image.shape[:2]
    small = np.asarray(Image.fromarray(image).resize((NETWORK_SIZE, NETWORK_SIZE), Image.Resampling.BILINEAR))
    (mask,) = _network()(small[None].astype(np.float32) / 255)
    mask = Image.fromarray(mask.reshape(NETWORK_SIZE, NETWORK_SIZE).astype(np.float32))
    return np.clip(np.asarray(mask.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)


def around_the_face(likely: np.ndarray) -> np.ndarray:
    """Takes away what is no part of the person in the middle of the crop, [H, W]."""
    from scipy.ndimage import distance_transform_edt, label

    pieces, count = label(likely > 0.5)
    height, width = likely.shape
    middle = pieces[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    if count < 2 or not middle.any():
        return likely
    own = pieces == np.bincount(middle[middle > 0]).argmax()
    # A pixel belongs to the piece that it lies nearest to, so that the soft edge stays with its piece.
    nearest = distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    return np.where(own[tuple(nearest)], likely, 0)


def decontaminated(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Foreground colours, without the background that shines through the edge, float32 [H, W, 3]."""
    from pymatting import estimate_foreground_ml

    if alpha.min() == 1 or alpha.max() == 0:
        return colours
    return np.clip(estimate_foreground_ml(colours.astype(np.float64), alpha.astype(np.float64)), 0, 1).astype(
        np.float32
    )


def trimap_of(likely: np.ndarray) -> np.ndarray:
    """1 where surely in front, 0 where surely behind, 0.5 in a band of `BAND` around the border, float64 [H, W]."""
    from scipy.ndimage import distance_transform_edt

    inside = likely > 0.5
    band = BAND * max(likely.shape)
    trimap = np.full(likely.shape, 0.5)
    if not inside.any() or inside.all():
        return inside.astype(np.float64)
    trimap[distance_transform_edt(inside) > band] = 1
    trimap[distance_transform_edt(~inside) > band] = 0
    return trimap


def _closed_form(colours: np.ndarray, likely: np.ndarray) -> np.ndarray:
    trimap = trimap_of(likely)
    if not ((trimap == 0).any() and (trimap == 1).any()):
        return trimap.astype(np.float32)
    from pymatting import estimate_alpha_cf

    return np.clip(estimate_alpha_cf(colours.astype(np.float64), trimap), 0, 1).astype(np.float32)


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Smooths `values` along the edges of `guide` (He, Sun, Tang 2010, grey guide).

    Args:
        guide: Grey picture in [0, 1], [H, W].
        values: What to filter, [H, W].
        radius: Half side of the square window in pixels.
        eps: Variance of the guide below which a window counts as flat.

    Returns:
        float32 [H, W].
    """
    from scipy.ndimage import uniform_filter

    mean = functools.partial(uniform_filter, size=2 * radius + 1, mode="nearest")
    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + eps)
    return (mean(slope) * guide + mean(mean_values - slope * mean_guide)).astype(np.float32)


@numba.njit(cache=True)
def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composites on white.

    Args:
        colours: Foreground in [0, 1], float32 [H, W, 3].
        alpha: Straight alpha in [0, 1], float32 [H, W].

    Returns:
        uint8 [H, W, 3].
    """
    out = np.empty(colours.shape, np.uint8)
    for y in range(colours.shape[0]):
        for x in range(colours.shape[1]):
            for c in range(3):
                out[y, x, c] = round(255 * (colours[y, x, c] * alpha[y, x] + 1 - alpha[y, x]))
    return out


@functools.cache
def _network():
    from realhead.assets import asset
    from realhead.tracking.landmarker import Network

    return Network(asset("selfie_segmentation.tflite").read_bytes(), 1)
