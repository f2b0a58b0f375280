"""Skin in UV space: albedo from melanin and haemoglobin, blemishes, make-up, wrinkles as bumps.

Everything is a function of the texel's position on the template, so islands meet without seams. Colour: light that
enters skin is weakened by exp(-amount * absorption) for each pigment, with absorptions at about 620, 540 and 460 nm
(melanin falls steadily with wavelength, haemoglobin absorbs green and blue): Jacques, "Skin optics", 1998, reduced to
three channels with constants fitted by eye to published skin reflectances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.atlas import Atlas
from realhead.capture.openheads.noise import noise, spots

BARE = np.array([0.80, 0.70, 0.60])
MELANIN = np.array([1.0, 1.36, 1.85])
BLOOD = np.array([0.12, 1.0, 0.85])


@dataclass(frozen=True)
class SkinTraits:
    """One person's skin.

    melanin: 0.06 (very fair) to 1.8 (very dark); blood: 0.15 to 0.5; age: 0 (20 years) to 1 (75); freckles: 0 to 1;
    moles: how many; oil: factor on the highlight; stubble: 0 to 1; lipstick, blush, shadow: strength of make-up; their
    colours are linear RGB.
    """

    melanin: float
    blood: float
    age: float
    freckles: float
    moles: int
    oil: float
    stubble: float
    lip_blood: float
    lipstick: float
    lipstick_color: tuple[float, float, float]
    blush: float
    eye_shadow: float
    eye_shadow_color: tuple[float, float, float]
    seed: int


def sample_skin(rng: np.random.Generator, female: float, age: float, darkness: float) -> SkinTraits:
    """Draws skin for a person; `female`, `age` and `darkness` in [0, 1]."""
    melanin = 0.10 + 1.5 * float(np.clip(darkness + rng.normal(0, 0.04), 0, 1)) ** 1.25
    painted = female > 0.5 and rng.random() < 0.4
    reds = np.array([[0.45, 0.03, 0.05], [0.40, 0.10, 0.12], [0.25, 0.02, 0.06], [0.50, 0.14, 0.10]])
    shadows = np.array([[0.12, 0.08, 0.06], [0.10, 0.09, 0.13], [0.20, 0.10, 0.08], [0.05, 0.06, 0.09]])
    return SkinTraits(
        melanin, float(rng.uniform(0.22, 0.42)), age, float(max(0, rng.normal(-0.2, 0.5)) * (melanin < 0.35)),
        int(rng.poisson(2.5)), float(rng.uniform(0.6, 1.4)),
        float(rng.choice([0.0, 0.35, 0.8], p=[0.35, 0.4, 0.25]) * (female < 0.5)),
        float(rng.uniform(0.45, 0.9)),
        float(rng.uniform(0.35, 0.9)) if painted else 0.0, tuple(reds[rng.integers(4)]),
        float(rng.uniform(0.1, 0.35)) if painted else 0.0, float(rng.uniform(0.15, 0.6)) if painted else 0.0,
        tuple(shadows[rng.integers(4)]), int(rng.integers(1 << 30)),
    )  # fmt: skip


def albedo(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """Linear skin colour from pigment amounts, any shape -> [..., 3]."""
    return BARE * np.exp(-np.asarray(melanin)[..., None] * MELANIN - np.asarray(blood)[..., None] * BLOOD)


def paint_skin(atlas: Atlas, traits: SkinTraits) -> np.ndarray:
    """Texture of the skin texels: linear albedo (3), bump normal (3), specular strength (1), float32 [N, 7]."""
    p, field = atlas.positions, atlas.field
    seed = traits.seed
    coarse, fine = noise(p, 0.03, seed, 3), noise(p, 0.006, seed + 1, 3)
    grain = noise(p, 0.0016, seed + 2, 2)
    lips, cheeks, nose = field("lips"), field("cheeks"), field("nose_tip")
    blood = traits.blood * (1 + 0.22 * coarse + 0.16 * fine + 0.5 * cheeks + 0.55 * nose + 0.35 * field("ears"))
    blood += 0.10 * field("lids") - 0.05 * field("forehead") + 0.05 * field("chin")
    melanin = traits.melanin * (1 + 0.10 * coarse + 0.07 * fine + 0.05 * grain)
    melanin *= 1 + field("under_eye") * (0.22 + 0.25 * traits.age) + 0.12 * field("lids")
    melanin += field("under_eye") * 0.05
    melanin += traits.freckles * _freckles(atlas, seed)
    melanin += _moles(atlas, traits, seed)
    # Lips: more blood shines through; in dark skin they also keep a rim of melanin.
    blood = blood + lips * traits.lip_blood * (1 + 0.15 * fine)
    melanin = melanin * (1 - 0.15 * lips) + 0.03 * lips
    color = albedo(np.maximum(melanin, 0.01), np.maximum(blood, 0.02))
    color *= (1 + 0.03 * grain)[:, None]
    # A shaved beard shines through blue-grey; hair follicles of the scalp darken it likewise.
    shade = field("beard") * traits.stubble * (0.35 + 0.1 * grain)
    color = color * (1 - shade[:, None] * np.array([0.75, 0.62, 0.55]))
    color = color * (1 - field("lash_line")[:, None] * (0.45 + 0.4 * (traits.eye_shadow > 0)))
    color = _make_up(color, traits, lips, cheeks, field("lids"), fine)
    cavity = field("mouth")[:, None]
    color = color * (1 - cavity) + np.array([0.42, 0.14, 0.13]) * cavity * (1 + 0.15 * coarse[:, None])
    tongue = field("tongue")[:, None]
    tongue_color = np.array([0.52, 0.20, 0.20]) * (1 + 0.18 * fine + 0.10 * grain)[:, None]
    color = color * (1 - tongue) + tongue_color * tongue
    height = _relief(atlas, traits, coarse, fine, grain, lips, field("tongue"))
    crease = np.clip(-height / 0.0006, 0, 1)
    color = color * (1 - 0.22 * crease[:, None] * np.array([0.7, 1.0, 1.0]))
    bump = atlas.gradient(height)
    shine = traits.oil * (1 + 0.9 * field("forehead") + 0.8 * nose + 0.25 * fine - 0.3 * field("beard"))
    shine = shine * (1 + 0.8 * lips * (1 + traits.lipstick)) * (1 - 0.4 * field("neck"))
    return np.concatenate([color.clip(0.004, 0.95), -bump, shine.clip(0.1, 4)[:, None]], 1).astype(np.float32)


def _freckles(atlas: Atlas, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed + 5)
    zone = np.clip(atlas.field("cheeks") + atlas.field("nose_bridge") + 0.25 * atlas.field("forehead"), 0, 1)
    weight = zone / zone.sum()
    centres = atlas.positions[rng.choice(len(zone), 260, p=weight)]
    radii = rng.uniform(0.0006, 0.0013, 260).astype(np.float32)
    return 0.20 * np.clip(spots(atlas.positions, centres, radii, np.float32(0.5)), 0, 1.3)


def _moles(atlas: Atlas, traits: SkinTraits, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed + 6)
    zone = atlas.field("face") * (1 - atlas.field("lips"))
    centres = atlas.positions[rng.choice(len(zone), max(traits.moles, 1), p=zone / zone.sum())]
    radii = rng.uniform(0.0008, 0.0019, len(centres)).astype(np.float32)
    return (0.9 if traits.moles else 0.0) * np.clip(spots(atlas.positions, centres, radii, np.float32(0.4)), 0, 1)


def _make_up(color, traits, lips, cheeks, lids, fine):
    for mask, strength, tint in (
        (lips, traits.lipstick, traits.lipstick_color),
        (lids, traits.eye_shadow, traits.eye_shadow_color),
        (cheeks, traits.blush, (0.55, 0.18, 0.16)),
    ):
        amount = np.clip(mask * strength * (1 + 0.1 * fine), 0, 1)[:, None]
        color = color * (1 - amount) + np.asarray(tint) * np.sqrt(color.mean() / 0.35) * amount
    return color


def _relief(atlas, traits, coarse, fine, grain, lips, tongue) -> np.ndarray:
    """Height in metres: pores, lip creases, papillae and, with age, lines."""
    face = atlas.field("face")
    height = 0.00005 * grain + 0.00008 * fine * (0.5 + traits.age)
    across = atlas.positions[:, 0] + 0.0015 * coarse
    height += lips * 0.00005 * np.sin(across * 2 * np.pi / 0.0022) - tongue * 0.0001 * np.abs(grain)
    depth = np.clip(traits.age * 1.25 - 0.12, 0, 1) * 0.00075
    rng = np.random.default_rng(traits.seed + 9)
    for name, lines, strength in (
        ("forehead", atlas.forehead_lines, rng.uniform(0.2, 1.0)),
        ("crow", atlas.crow_lines, rng.uniform(0.4, 1.0)),
        ("smile", atlas.smile_lines, rng.uniform(0.6, 1.3)),
        ("frown", atlas.frown_lines, rng.uniform(0.1, 0.9)),
        ("bag", atlas.bag_lines, rng.uniform(0.3, 1.0)),
    ):
        base = 0.00022 if name in ("smile", "bag") else 0.0
        height -= strength * (depth + base) * lines(coarse, fine) * np.clip(face * 2, 0, 1)
    return height
