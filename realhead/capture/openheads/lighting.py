"""Lamps and surroundings: a soft studio, and the varied light of pictures taken anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.occlusion import sphere_directions


@dataclass(frozen=True)
class Lighting:
    """Distant light around a head, linear colours.

    `directions` [L, 3] point towards the lamps, `colors` [L, 3], `softness` [L] is the half side of the shadow blur in
    cells of a 160-cell map, `around` [D, 3] are directions over the sphere with radiance `radiance` [D, 3], `exposure`
    multiplies everything.
    """

    directions: np.ndarray
    colors: np.ndarray
    softness: np.ndarray
    around: np.ndarray
    radiance: np.ndarray
    exposure: float

    @property
    def gloss(self) -> np.ndarray:
        """Factor on highlight exponents [L]: a large lamp gives a broad highlight."""
        return (1.0 / (1.0 + 0.35 * self.softness)).astype(np.float32)


def _unit(azimuth, elevation):
    azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    return np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], -1
    ).astype(np.float32)


def _surroundings(sky, floor, directions):
    height = directions[:, 1:2] * 0.5 + 0.5
    return (np.asarray(floor) * (1 - height) + np.asarray(sky) * height).astype(np.float32)


def studio_lighting(rng: np.random.Generator, num_directions: int = 18) -> Lighting:
    """The light of a multi-camera studio: even, white, from large lamps, slightly different on each shooting day."""
    azimuth = np.array([-38.0, 42.0, 0.0, 155.0]) + rng.normal(0, 5, 4)
    elevation = np.array([32.0, 24.0, 62.0, 35.0]) + rng.normal(0, 4, 4)
    power = np.array([0.60, 0.48, 0.34, 0.40]) * rng.uniform(0.85, 1.15, 4)
    tint = 1 + rng.normal(0, 0.015, (4, 3))
    around = sphere_directions(num_directions)
    radiance = _surroundings((0.66, 0.67, 0.69), (0.42, 0.41, 0.40), around)
    return Lighting(
        _unit(azimuth, elevation), (power[:, None] * tint).astype(np.float32), np.array([3, 3, 4, 2], np.float32),
        around, radiance, float(rng.uniform(0.72, 0.80)),
    )  # fmt: skip


def _kelvin(temperature: float) -> np.ndarray:
    """Linear colour of a black body relative to 6500 K, a fit by hand that is good between 2500 and 10000 K."""
    shift = np.log2(temperature / 6500.0)
    color = np.array([1.0 - 0.55 * shift, 1.0 - 0.08 * abs(shift), 1.0 + 0.75 * shift])
    return np.clip(color, 0.25, 2.0) / np.clip(color, 0.25, 2.0).mean()


def wild_lighting(rng: np.random.Generator, num_directions: int = 18) -> Lighting:
    """A room, a window or the open air: one key of any side and warmth, weaker fill, uneven surroundings."""
    key = float(rng.uniform(0.35, 1.15))
    azimuth = np.array([rng.uniform(-75, 75), rng.uniform(-120, 120), rng.uniform(110, 250)])
    elevation = np.array([rng.uniform(5, 60), rng.uniform(0, 50), rng.uniform(10, 60)])
    power = np.array([key, key * rng.uniform(0.1, 0.5), key * rng.uniform(0.0, 0.8)])
    warmth = np.stack([_kelvin(t) for t in rng.uniform(3800, 8500, 3)])
    warmth = 1 + (warmth - 1) * 0.6  # the camera's white balance takes out part of it
    around = sphere_directions(num_directions)
    sky = rng.uniform(0.35, 0.8) * (1 + (_kelvin(rng.uniform(4500, 9000)) - 1) * 0.5)
    floor = rng.uniform(0.12, 0.4) * np.array([1.05, 1.0, 0.93])
    side = np.clip(around @ _unit(rng.uniform(-180, 180), 10.0), 0, 1)[:, None] * rng.uniform(0, 0.8)
    radiance = _surroundings(sky, floor, around) * (0.8 + side.astype(np.float32))
    softness = np.array([rng.integers(1, 5), 4, 2], np.float32)
    mean = power[0] * 0.6 + radiance.mean() + power[1] * 0.3
    return Lighting(
        _unit(azimuth, elevation), (power[:, None] * warmth).astype(np.float32), softness, around,
        radiance.astype(np.float32), float(np.clip(1.25 / mean, 0.6, 1.9) * rng.uniform(0.85, 1.12)),
    )  # fmt: skip
