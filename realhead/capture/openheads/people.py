"""A person from a seed: face shape, skin, eyes, teeth, hair, clothes, habits, and what no tracker knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from realhead.capture.openheads import eyes, garment, skin, teeth
from realhead.capture.openheads.atlas import SIZE, TILES, Atlas
from realhead.capture.openheads.dress import build_hair
from realhead.capture.openheads.hair import Hair
from realhead.capture.openheads.hair_styles import STYLES, HairTraits, sample_hair, scalp_density
from realhead.capture.openheads.lighting import Lighting, studio_lighting
from realhead.capture.openheads.motion import Habits
from realhead.capture.openheads.phenotypes import load_phenotypes
from realhead.capture.openheads.quirks import Quirks, make_quirks
from realhead.capture.openheads.render import Surface, vertex_normals
from realhead.head.model import Head

MATERIALS = ("skin", "eye", "mouth", "tooth", "gum", "cloth")
_ROWS = np.array([
    # wrap r, g, b, specular, gloss, coat, coat gloss, detail, sheen
    [0.42, 0.22, 0.14, 0.32, 20, 0.0, 1, 1.0, 0.045],
    [0.15, 0.12, 0.12, 0.05, 30, 1.3, 420, 0.0, 0.02],
    [0.35, 0.15, 0.12, 0.70, 40, 0.20, 110, 1.0, 0.03],
    [0.40, 0.34, 0.28, 0.55, 45, 0.40, 200, 0.0, 0.05],
    [0.35, 0.15, 0.12, 0.80, 45, 0.25, 130, 0.0, 0.03],
    [0.15, 0.15, 0.15, 0.05, 8, 0.0, 1, 0.0, 0.02],
], np.float32)  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """Everything about a person that is a number or a name; geometry and textures are made from it."""

    seed: int
    female: float
    age: float
    darkness: float
    shape: np.ndarray
    skin: skin.SkinTraits
    eyes: eyes.EyeTraits
    teeth: teeth.TeethTraits
    hair: HairTraits
    garment: garment.GarmentTraits
    habits: Habits


@dataclass(frozen=True)
class Person:
    """A person ready to be posed and rendered.

    Attributes:
        traits: What they are made from.
        head: The head they live on.
        neutral: Vertices of head and parts in the unposed head space [V + K, 3]; the first V are the head's.
        weights: Skinning weights [V + K, 5].
        surface: Triangles and textures.
        hair: Strands.
        quirks: Motion and asymmetry that the tracked parameters do not contain.
        light: The studio light on the day of the capture.
    """

    traits: Traits
    head: Head
    neutral: np.ndarray
    weights: np.ndarray
    surface: Surface
    hair: Hair
    quirks: Quirks
    light: Lighting

    @property
    def name(self) -> str:
        """p0000 and so on: the seed."""
        return f"p{self.traits.seed:04d}"

    @property
    def shape(self) -> torch.Tensor:
        """Identity coefficients, float32 [S]."""
        return torch.from_numpy(self.traits.shape.astype(np.float32))


@lru_cache(maxsize=2)
def atlas_of(head: Head) -> Atlas:
    """The painter's map of a head, made once."""
    return Atlas(head)


def sample_traits(head: Head, seed: int) -> Traits:
    """Draws a person; different seeds give different people, the same seed the same one."""
    rng = np.random.default_rng([20261122, seed])
    female = float(rng.uniform(0.0, 0.25) if rng.random() < 0.5 else rng.uniform(0.75, 1.0))
    age = float(rng.beta(1.1, 1.9))
    origin = rng.dirichlet((0.45, 0.45, 0.55))
    darkness = float(np.clip(origin @ [0.78, 0.24, 0.10] + rng.normal(0, 0.09), 0, 1))
    shape = load_phenotypes(head).sample_shape(rng, female, age * 0.8, origin)
    return Traits(
        seed, female, age, darkness, shape, skin.sample_skin(rng, female, age, darkness),
        eyes.sample_eyes(rng, darkness + 0.5 * origin[1]), teeth.sample_teeth(rng, age, darkness),
        sample_hair(rng, female, age, min(1.0, darkness + 0.4 * origin[1])), garment.sample_garment(rng),
        Habits.sample(rng),
    )  # fmt: skip


def make_person(head: Head, seed: int, strands: float = 1.0) -> Person:
    """Makes a person.

    Args:
        head: The free head.
        seed: The person's number.
        strands: Factor on the number of strands (for small or large pictures).
    """
    return build_person(head, sample_traits(head, seed), strands)


def build_person(head: Head, traits: Traits, strands: float = 1.0) -> Person:
    """Geometry, textures and hair of given traits."""
    atlas = atlas_of(head)
    shape = torch.from_numpy(traits.shape.astype(np.float32))[None]
    quirks = make_quirks(atlas, traits.seed)
    neutral = head.canonical(shape, torch.zeros(1, head.num_expression))[0].numpy() + quirks.asymmetry
    normals = vertex_normals(neutral.astype(np.float32), atlas.faces)
    parts = teeth.build_teeth(
        traits.teeth, neutral[atlas.regions["teeth_upper"]], neutral[atlas.regions["teeth_lower"]]
    )
    parts.append(garment.build_garment(atlas, traits.garment, neutral, normals))
    vertices, weights = [neutral], [head.weights.numpy()]
    drawn = _drawn_faces(atlas)
    faces, texels, material = [atlas.faces[drawn]], [_head_texels(atlas)[drawn]], [_head_materials(atlas)[drawn]]
    start = len(neutral)
    for part in parts:
        vertices.append(part.vertices)
        weights.append(part.weights)
        faces.append(part.faces + start)
        texels.append(part.texels[part.faces])
        material.append(np.full(len(part.faces), MATERIALS.index(part.material)))
        start += len(part.vertices)
    surface = Surface(
        np.concatenate(faces).astype(np.int32), np.concatenate(texels).astype(np.float32),
        np.concatenate(material).astype(np.int32), _ROWS, paint(atlas, traits),
    )  # fmt: skip
    return Person(
        traits, head, np.concatenate(vertices).astype(np.float32), np.concatenate(weights).astype(np.float32), surface,
        build_hair(atlas, traits.hair, neutral, normals, strands), quirks,
        studio_lighting(np.random.default_rng([traits.seed, 5])),
    )  # fmt: skip


def paint(atlas: Atlas, traits: Traits) -> np.ndarray:
    """The whole texture [640, 512, 7]."""
    values = skin.paint_skin(atlas, traits.skin)
    follicles = scalp_density(atlas.positions, traits.hair) * atlas.field("skin_part")
    strength = 0.6 if STYLES[traits.hair.style].top < 0.01 else 0.85
    shade = (follicles * strength * (1 - 0.6 * traits.hair.grey))[:, None]
    root = np.asarray(traits.hair.color) * 0.6 + 0.16 * values[:, :3] * np.array([0.8, 0.75, 0.75])
    values[:, :3] = values[:, :3] * (1 - shade) + root * shade
    texture = atlas.texture(values)
    enamel, gum = teeth.paint_teeth(traits.teeth)
    tiles = {"eye_left": eyes.paint_eye(traits.eyes, "left"), "eye_right": eyes.paint_eye(traits.eyes, "right"),
             "cloth": garment.paint_cloth(traits.garment), "teeth": enamel, "gum": gum}  # fmt: skip
    for name, tile in tiles.items():
        x, y, width, height = TILES[name]
        texture[SIZE + y : SIZE + y + height, x : x + width] = tile
    return np.ascontiguousarray(texture, np.float32)


def _drawn_faces(atlas: Atlas) -> np.ndarray:
    """The head's triangles without its own teeth and lashes, which geometry and strands replace."""
    hidden = atlas.regions["teeth_upper"] | atlas.regions["teeth_lower"] | atlas.regions["lashes"]
    return np.flatnonzero(~hidden[atlas.faces].all(1))


def _head_texels(atlas: Atlas) -> np.ndarray:
    texels = atlas.corner_texels.copy()
    for side in ("left", "right"):
        faces, values = eyes.eye_texels(atlas, side)
        texels[faces] = values
    return texels


def _head_materials(atlas: Atlas) -> np.ndarray:
    material = np.zeros(len(atlas.faces), np.int64)
    for name, index in (("mouth", 2), ("tongue", 2), ("eye_left", 1), ("eye_right", 1)):
        material[atlas.regions[name][atlas.faces].all(1)] = index
    return material
