"""Hair styles and colours, and the hairline: which person grows what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.hair_growth import Style

STYLES: dict[str, Style] = {s.name: s for s in (
    Style("shaved", top=0.0035, front=0.003, side=0.003, back=0.003, outward=(1, 1), from_crown=(0.5, 0.5), layer=0.0,
          frizz=0.0003, clump=0.0, num_points=3, num_strands=30000, width=0.00055),
    Style("crop", top=0.022, front=0.018, side=0.008, back=0.010, outward=(0.7, 0.35), from_crown=(0.9, 0.9),
          down=(0, 0.2), layer=0.004, clump=0.35, num_points=5, num_strands=25000, width=0.0008),
    Style("short", top=0.050, front=0.045, side=0.024, back=0.024, outward=(0.75, 0.15), from_crown=(0.7, 0.7),
          from_part=(0.25, 0.3), down=(0.0, 0.45), layer=0.008, clump=0.55, num_points=8, num_strands=17000),
    Style("quiff", top=0.065, front=0.060, side=0.018, back=0.022, outward=(0.9, 0.5), from_crown=(0.0, -0.1),
          backward=(0.4, 0.9), down=(-0.1, 0.1), layer=0.010, clump=0.6, num_points=9, num_strands=17000),
    Style("curls", top=0.085, front=0.065, side=0.050, back=0.060, outward=(1.0, 0.5), from_crown=(0.5, 0.4),
          down=(0.0, 0.35), layer=0.012, curl_radius=0.0055, curl_length=0.020, clump=0.5, num_points=22,
          num_strands=8500, num_guides=700, frizz=0.0008),
    Style("afro", top=0.050, front=0.042, side=0.042, back=0.045, outward=(1.0, 1.0), from_crown=(0.15, 0.1),
          down=(0, 0), layer=0.0, stiffness=0.8, curl_radius=0.0030, curl_length=0.0085, clump=0.3, num_points=20,
          num_strands=11000, num_guides=1500, frizz=0.0012),
    Style("bob", top=0.20, front=0.19, side=0.15, back=0.14, outward=(0.45, 0.0), from_crown=(0.5, 0.0),
          from_part=(1.0, 0.0), backward=(0.5, 0.12), down=(0.1, 1.2), layer=0.010, stiffness=0.55,
          clump=0.5, num_points=16, num_strands=11500),
    Style("waves", top=0.26, front=0.25, side=0.20, back=0.20, outward=(0.5, 0.0), from_crown=(0.5, 0.0),
          from_part=(1.0, 0.0), backward=(0.5, 0.12), down=(0.1, 1.1), layer=0.012, stiffness=0.6,
          curl_radius=0.006, curl_length=0.062, clump=0.6, num_points=20, num_strands=10000, num_guides=260),
    Style("long", top=0.36, front=0.36, side=0.30, back=0.30, outward=(0.4, 0.0), from_crown=(0.5, 0.0),
          from_part=(1.0, 0.0), backward=(0.5, 0.12), down=(0.1, 1.3), layer=0.009, stiffness=0.55,
          clump=0.5, num_points=20, num_strands=10500),
    Style("fringe", top=0.16, front=0.056, side=0.15, back=0.16, outward=(0.45, 0.0), from_crown=(0.9, 0.05),
          down=(0.2, 1.2), layer=0.009, stiffness=0.55, clump=0.5, num_points=15, num_strands=12000),
    Style("tied", top=0.17, front=0.19, side=0.13, back=0.10, outward=(0.45, 0.0), from_crown=(0.0, 0.0),
          to_knot=(1.0, 1.4), down=(0, 0), layer=0.006, stiffness=0.35, clump=0.25, num_points=14,
          num_strands=13000, frizz=0.0004, tied=True),
    Style("slick", top=0.10, front=0.10, side=0.06, back=0.05, outward=(0.6, 0.0), from_crown=(0.0, 0.0),
          backward=(0.9, 0.7), down=(0.1, 0.7), layer=0.007, stiffness=0.5, clump=0.6, num_points=11,
          num_strands=14000),
)}  # fmt: skip

COLORS: dict[str, tuple[float, float, float]] = {
    "black": (0.016, 0.012, 0.011), "dark": (0.036, 0.022, 0.014), "brown": (0.080, 0.043, 0.022),
    "light_brown": (0.14, 0.077, 0.037), "blond": (0.36, 0.21, 0.095), "platinum": (0.46, 0.37, 0.25),
    "red": (0.20, 0.066, 0.022), "auburn": (0.095, 0.033, 0.015), "dyed": (0.10, 0.02, 0.05),
}  # fmt: skip

BEARDS = ("none", "stubble", "short", "full", "goatee", "moustache")


@dataclass(frozen=True)
class HairTraits:
    """One person's hair.

    style: a key of STYLES; color: linear RGB; grey: share of white strands; length, volume, density: factors;
    recession: how far the hairline has gone back over the temples, metres; part: x of the parting; brow_*: thickness
    factor, density factor, lift in metres, colour; beard: one of BEARDS; beard_length and lash_length in metres; bald:
    0 to 1, the crown.
    """

    style: str
    color: tuple[float, float, float]
    grey: float
    length: float
    volume: float
    density: float
    recession: float
    bald: float
    part: float
    gloss: float
    brow_thickness: float
    brow_density: float
    brow_lift: float
    brow_color: tuple[float, float, float]
    beard: str
    beard_length: float
    beard_color: tuple[float, float, float]
    lash_length: float
    seed: int


def sample_hair(rng: np.random.Generator, female: float, age: float, darkness: float) -> HairTraits:
    """Draws hair that goes with sex, age and skin (all in [0, 1])."""
    man = female < 0.5
    if man:
        chances = {"shaved": 2, "crop": 3, "short": 4, "quiff": 2, "curls": 1.5, "slick": 1, "long": 0.4, "tied": 0.3,
                   "afro": 4 * max(0, darkness - 0.45), "waves": 0.3}  # fmt: skip
    else:
        chances = {"shaved": 0.2, "crop": 0.4, "short": 0.8, "curls": 1.6, "bob": 3, "waves": 3, "long": 3.2,
                   "fringe": 1.6, "tied": 2.6, "slick": 0.4, "afro": 4 * max(0, darkness - 0.45)}  # fmt: skip
    names = list(chances)
    style = names[rng.choice(len(names), p=np.array(list(chances.values())) / sum(chances.values()))]
    light = float(np.clip(1 - 1.7 * darkness, 0, 1))
    weights = {"black": 0.2 + 2 * darkness, "dark": 0.7, "brown": 1.2 * (0.3 + light), "light_brown": 1.3 * light,
               "blond": 1.7 * light, "platinum": 0.5 * light, "red": 0.5 * light, "auburn": 0.6 * light + 0.05,
               "dyed": 0.06}  # fmt: skip
    keys = list(weights)
    color_name = keys[rng.choice(len(keys), p=np.array(list(weights.values())) / sum(weights.values()))]
    color = np.array(COLORS[color_name]) * rng.uniform(0.75, 1.25)
    natural = COLORS["dark"] if color_name in ("dyed", "platinum") else color
    grey = float(np.clip((age - 0.6) * 2.4 + rng.normal(0, 0.25), 0, 0.95)) if age > 0.4 else 0.0
    grey = grey if grey > 0.12 else 0.0
    brow = np.array(natural) * 0.55 + 0.004
    beard = BEARDS[rng.choice(6, p=[0.42, 0.2, 0.13, 0.11, 0.08, 0.06])] if man else "none"
    lengths = {"none": 0.0, "stubble": 0.0022, "short": 0.007, "full": 0.022, "goatee": 0.012, "moustache": 0.009}
    bald = float(np.clip(rng.normal(-0.6 + 1.3 * age, 0.5), 0, 1)) if man else 0.0
    return HairTraits(
        style, tuple(color), grey, float(rng.uniform(0.8, 1.25)), float(rng.uniform(0.8, 1.3)),
        float(rng.uniform(0.8, 1.0)), float(rng.uniform(0, 0.008) + (0.022 * age * rng.random() if man else 0)), bald,
        float(rng.choice([-1, 1]) * rng.uniform(0.0, 0.03)), float(rng.uniform(0.25, 0.6)),
        float(rng.uniform(0.8, 1.35) * (1.15 if man else 0.85)), float(rng.uniform(0.75, 1.2)),
        float(rng.normal(0, 0.0012)), tuple(brow), beard, lengths[beard] * float(rng.uniform(0.7, 1.3)),
        tuple(np.array(natural) * rng.uniform(0.8, 1.1)), float(rng.uniform(0.006, 0.009) + (not man) * 0.0018),
        int(rng.integers(1 << 30)),
    )  # fmt: skip


def scalp_density(points: np.ndarray, traits: HairTraits) -> np.ndarray:
    """Where hair grows on the scalp, as a function of template positions [N, 3] -> [N] in [0, 1].

    The hairline is a height over the angle around the head, from the middle of the forehead (0) to the nape (pi), with
    temples, sideburns and the arch over the ears; the person's recession lifts the temples.
    """
    rng = np.random.default_rng(traits.seed)
    x, y, z = points.T
    angle = np.arctan2(np.abs(x), z + 0.03)
    knots = np.radians([0, 18, 36, 52, 64, 74, 84, 96, 108, 122, 145, 180])
    heights = np.array([0.090, 0.091, 0.086, 0.064, 0.030, 0.008, -0.012, 0.030, 0.034, -0.010, -0.052, -0.058])
    heights = heights + rng.normal(0, 0.0015, len(knots))
    heights[0] -= max(0.0, rng.normal(0, 0.003))
    heights[1:4] += traits.recession * np.array([0.6, 1.0, 0.7])
    heights[5:7] += rng.uniform(-0.006, 0.022)
    nape = (y > -0.05) | (z < -0.05)
    line = np.interp(angle, knots, heights)
    # The outline is ragged over a few millimetres, never a cut edge.
    ragged = 0.0022 * np.sin(angle * 61 + traits.seed % 7) + 0.0015 * np.sin(angle * 173)
    inside = np.clip((y - line + ragged) / 0.010, 0, 1) * nape * ((y > -0.022) | (z < -0.06))
    crown = np.exp(-((x**2 + (z + 0.065) ** 2) / 0.045**2)) * (y > 0.06)
    top = np.exp(-((x**2 + (z - 0.0) ** 2) / 0.055**2)) * (y > 0.06)
    bald = np.clip(traits.bald * 1.25 - 0.25, 0, 1)
    return inside**1.3 * (1 - bald * np.clip(crown + 0.8 * top, 0, 1)) * traits.density
