"""Eyes: iris with limbal ring and fibres, pupil, sclera with veins, painted as seen from the front of the eyeball.

An eyeball's triangles read a tile of the texture by their direction from the eyeball's centre (orthographic along the
eye's axis), which gives the iris far more texels than the head's UVs would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.atlas import SIZE, TILES, Atlas
from realhead.capture.openheads.noise import noise

IRIS_COLORS = {
    "brown": ((0.050, 0.023, 0.010), (0.100, 0.046, 0.018)),
    "dark": ((0.018, 0.010, 0.006), (0.036, 0.018, 0.010)),
    "hazel": ((0.075, 0.055, 0.022), (0.11, 0.055, 0.020)),
    "green": ((0.080, 0.100, 0.050), (0.13, 0.095, 0.04)),
    "blue": ((0.090, 0.145, 0.22), (0.17, 0.21, 0.23)),
    "grey": ((0.13, 0.15, 0.165), (0.18, 0.18, 0.16)),
}
"""Linear colour of the outer and of the inner iris."""


@dataclass(frozen=True)
class EyeTraits:
    """color: a key of IRIS_COLORS; pupil and iris: radii as parts of the eyeball's radius; veins, limbus: 0 to 1."""

    color: str
    pupil: float
    iris: float
    veins: float
    limbus: float
    white: float
    seed: int


def sample_eyes(rng: np.random.Generator, darkness: float) -> EyeTraits:
    """Draws eyes; dark skin (`darkness` near 1) has dark eyes almost always."""
    light = np.clip(1 - 2.4 * darkness, 0, 1)
    chances = np.array([1.0, 0.35 + 1.2 * darkness, 0.6 * light, 0.45 * light, 1.1 * light, 0.5 * light])
    color = list(IRIS_COLORS)[rng.choice(6, p=chances / chances.sum())]
    return EyeTraits(
        color, float(rng.uniform(0.12, 0.18)), float(rng.uniform(0.365, 0.40)), float(rng.uniform(0.1, 0.8)),
        float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.62, 0.78)), int(rng.integers(1 << 30)),
    )  # fmt: skip


def eye_texels(atlas: Atlas, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Texture positions of the corners of one eyeball's triangles.

    Args:
        atlas: The painter's map.
        side: "left" or "right".

    Returns:
        Triangle numbers [K] and texel positions [K, 3, 2].
    """
    region = atlas.regions[f"eye_{side}"]
    faces = np.flatnonzero(region[atlas.faces].all(1))
    points = atlas.template[region]
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.median(np.linalg.norm(points - centre, axis=1)))
    offset = (atlas.template[atlas.faces[faces]] - centre) / radius
    # Behind the equator texels would run back over the iris: keep them on the rim.
    across = offset[..., :2]
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    across = np.where(offset[..., 2:] < 0, across / np.maximum(length, 1e-6) * 0.99, across).clip(-0.99, 0.99)
    x, y, width, height = TILES[f"eye_{side}"]
    texels = np.stack([x + (across[..., 0] + 1) * width / 2, SIZE + y + (1 - across[..., 1]) * height / 2], -1)
    return faces, texels.astype(np.float32)


def paint_eye(traits: EyeTraits, side: str) -> np.ndarray:
    """The tile of one eye [128, 128, 7]: linear albedo, no bump, specular strength one."""
    size = TILES["eye_left"][2]
    grid = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(grid, -grid)
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    seed = traits.seed + (17 if side == "left" else 0)
    flat = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    ring = np.stack([np.cos(angle) * 1.0, np.sin(angle) * 1.0, r * 0.35], -1).reshape(-1, 3).astype(np.float32)
    fibres = noise(ring, 0.11, seed, 3).reshape(r.shape)
    cloud = noise(flat, 0.35, seed + 1, 3).reshape(r.shape)
    outer, inner = (np.array(c) for c in IRIS_COLORS[traits.color])
    t = np.clip((r - traits.pupil) / (traits.iris - traits.pupil), 0, 1)
    collarette = np.exp(-(((t - 0.25) / 0.18) ** 2))
    blend = np.clip(collarette + 0.25 * fibres, 0, 1)[..., None]
    iris = (outer * (1 - blend) + inner * blend) * (1 + 0.55 * fibres + 0.15 * cloud)[..., None]
    iris *= (1 - traits.limbus * np.clip((t - 0.72) / 0.28, 0, 1) ** 1.5)[..., None]
    white = traits.white * np.array([1.0, 0.955, 0.92]) * (1 + 0.03 * cloud)[..., None]
    veins = np.clip(np.abs(noise(flat * np.array([1, 2.2, 1], np.float32), 0.28, seed + 2, 3)), 0, 1).reshape(r.shape)
    veins = np.clip(1 - veins / 0.09, 0, 1) * np.clip((r - 0.45) / 0.35, 0, 1) * traits.veins
    white = white * (1 - 0.45 * veins[..., None] * np.array([0.15, 1.0, 1.0]))
    corner = np.clip((np.abs(x) - 0.55) / 0.3, 0, 1)[..., None]  # the white reddens towards the corners
    white = white * (1 - 0.35 * corner * np.array([0.2, 1.0, 1.0]))
    edge = np.clip((r - traits.iris) / 0.035 + 0.5, 0, 1)[..., None]
    color = iris * (1 - edge) + white * edge
    lid = 1 - 0.45 * np.clip((y + 0.02) / 0.30, 0, 1)[..., None]  # the upper lid and its lashes shade the eye
    color = color * lid
    pupil = np.clip((traits.pupil - r) / 0.03 + 0.5, 0, 1)[..., None]
    color = color * (1 - pupil) + 0.004 * pupil
    out = np.zeros((size, size, 7), np.float32)
    out[..., :3], out[..., 6] = color.clip(0.002, 0.9), 1
    return out
