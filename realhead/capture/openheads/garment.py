"""The upper edge of a garment over the bust, carried on beyond the head's border as shoulders.

The cloth is a copy of the neck's surface that lies just under the skin above the collar line and just over it below:
where the two cross is the collar, a smooth line without cutting triangles. Shoulders are swept outwards from the mesh's
open border so that no picture shows where the head ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.atlas import SIZE, TILES, Atlas
from realhead.capture.openheads.noise import noise
from realhead.capture.openheads.parts import Part

COLORS = ((0.02, 0.02, 0.025), (0.45, 0.45, 0.45), (0.05, 0.08, 0.18), (0.18, 0.03, 0.04), (0.06, 0.11, 0.07),
          (0.3, 0.27, 0.21), (0.1, 0.1, 0.11), (0.2, 0.26, 0.34), (0.35, 0.16, 0.06), (0.16, 0.05, 0.13))  # fmt: skip


@dataclass(frozen=True)
class GarmentTraits:
    """collar: height of the edge over the pit of the neck in metres; vee: depth of a V in front; color: linear RGB."""

    collar: float
    vee: float
    thickness: float
    color: tuple[float, float, float]
    stripes: float
    seed: int


def sample_garment(rng: np.random.Generator) -> GarmentTraits:
    """Draws a shirt, a V-neck or a roll-neck."""
    kind = rng.choice(3, p=[0.55, 0.25, 0.2])
    collar = (0.008, 0.010, 0.040)[kind] + rng.uniform(-0.004, 0.008)
    color = np.array(COLORS[rng.integers(len(COLORS))]) * rng.uniform(0.7, 1.3)
    return GarmentTraits(
        float(collar), float(rng.uniform(0.02, 0.05) * (kind == 1)), 0.006 if kind == 2 else 0.0035,
        tuple(color.clip(0.012, 0.6)), float(rng.uniform(0.2, 0.6) * (rng.random() < 0.15)), int(rng.integers(1 << 30)),
    )  # fmt: skip


def build_garment(atlas: Atlas, traits: GarmentTraits, neutral: np.ndarray, normals: np.ndarray) -> Part:
    """The garment on a person.

    Args:
        atlas: The painter's map.
        traits: The garment.
        neutral, normals: The person's neutral head and its unit normals [V, 3].
    """
    from realhead.capture.openheads.borders import border_loops

    region = atlas.regions["neck"] & atlas.regions["skin"]
    faces = atlas.faces[region[atlas.faces].all(1)]
    used = np.unique(faces)
    number = np.full(len(neutral), -1)
    number[used] = np.arange(len(used))
    points, outward = neutral[used].astype(np.float64), normals[used]
    template = atlas.template[used]
    front = np.clip((template[:, 2] + 0.06) / 0.08, -1, 1)  # 1 in front, -1 behind
    # The pit of the neck is some 13.5 cm below the eyes on the template, the nape's collar sits higher.
    line = -0.152 + traits.collar + 0.022 * np.clip(-front, 0, 1)
    line = line - traits.vee * np.clip(1 - np.abs(template[:, 0]) / 0.05, 0, 1) * (front > 0)
    below = np.clip((line - template[:, 1]) / 0.016, -1, 1)
    points += outward * (traits.thickness * below)[:, None]
    shade = np.clip((line - template[:, 1]) / 0.10, 0, 1)
    loop = number[max(border_loops(faces), key=len)]
    # The largest border of this strip is either its top or the mesh's bottom: the bottom lies lower.
    loops = [number[l] for l in border_loops(faces)]
    loop = min(loops, key=lambda l: points[l, 1].mean())
    rings, ring_faces = _shoulders(points, loop)
    vertices = np.concatenate([points, rings])
    weights = atlas.head.weights.numpy()[used]
    weights = np.concatenate([weights, np.tile(np.eye(5)[0], (len(rings), 1))])
    x, y, width, height = TILES["cloth"]
    angle = np.arctan2(vertices[:, 0], vertices[:, 2] + 0.06)
    texels = np.stack([
        x + 3 + (width - 6) * np.abs(angle) / np.pi,
        SIZE + y + 3 + (height - 6) * np.concatenate([shade, np.linspace(0.6, 1, len(rings))]),
    ], -1)  # fmt: skip
    return Part(vertices, np.concatenate([number[faces], ring_faces]), texels.astype(np.float32), "cloth", weights)


def _shoulders(points: np.ndarray, loop: np.ndarray):
    """Three rings of vertices swept outwards and down from a border loop, and their triangles."""
    start = points[loop]
    centre = start.mean(0)
    direction = start - centre
    direction[:, 1] = 0
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    sideways = np.abs(direction[:, :1])
    rings = []
    for reach, drop in ((0.03, 0.012), (0.075, 0.05), (0.10, 0.16)):
        step = direction * reach * (0.35 + 0.9 * sideways)
        step[:, 1] = -drop - 0.02 * (1 - sideways[:, 0])
        rings.append(start + step)
    count = len(loop)
    index = np.concatenate([loop, len(points) + np.arange(3 * count)]).reshape(4, count)
    nxt = np.roll(index, -1, axis=1)
    faces = [np.stack([index[k], nxt[k], nxt[k + 1]], -1) for k in range(3)]
    faces += [np.stack([index[k], nxt[k + 1], index[k + 1]], -1) for k in range(3)]
    faces = np.concatenate(faces)
    everything = np.concatenate([points, *rings])
    corner = everything[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    if ((corner.mean(1) - centre) * normal).sum() < 0:
        faces = faces[:, ::-1]
    return np.concatenate(rings), faces


def paint_cloth(traits: GarmentTraits) -> np.ndarray:
    """The cloth's tile: linear albedo with a weave and perhaps stripes [128, 120, 7]."""
    _, _, width, height = TILES["cloth"]
    rng = np.random.default_rng(traits.seed)
    y, x = np.mgrid[0:height, 0:width]
    points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    folds = noise(points, 30.0, traits.seed, 2).reshape(height, width)
    weave = rng.normal(0, 0.04, (height, width))
    stripes = 1 - traits.stripes * (np.sin(y * 2 * np.pi / 9.0) > 0)
    out = np.zeros((height, width, 7), np.float32)
    out[..., :3] = np.asarray(traits.color) * ((1 + 0.12 * folds + weave) * stripes)[..., None]
    out[..., 6] = 0.25
    return out
