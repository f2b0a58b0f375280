"""What a tracker cannot know: asymmetry at rest, a person's own way of each expression, tongue and lips.

These offsets are added in the canonical head, before skinning, and are nowhere in the stored parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.atlas import Atlas
from realhead.capture.openheads.expressions import HIDDEN
from realhead.capture.openheads.noise import noise

TONGUE_LIFT = 0.0095
"""Metres by which the tip rises when the tongue comes out, so that it passes over the lower lip, not through it."""


@dataclass(frozen=True)
class Quirks:
    """Offsets in metres over the head's vertices.

    Attributes:
        asymmetry: Offset at rest [V, 3].
        correctives: Offset per unit of each expression coefficient [V, 3, E].
        jaw: Offset per radian of jaw opening [V, 3].
        hidden: Offset at full tongueUp, tongueSide, lipSuck, lipFlare, lipSkew [5, V, 3].
    """

    asymmetry: np.ndarray
    correctives: np.ndarray
    jaw: np.ndarray
    hidden: np.ndarray

    def offset(self, expression: np.ndarray, jaw_pitch: float, hidden: np.ndarray) -> np.ndarray:
        """Canonical offset of a timestep beyond the tracked parameters, without the asymmetry at rest [V, 3].

        Args:
            expression: Coefficients [E].
            jaw_pitch: Opening of the jaw in radians.
            hidden: Scores of the hidden motion [5].
        """
        return self.correctives @ expression + self.jaw * jaw_pitch + np.tensordot(hidden, self.hidden, 1)


def make_quirks(atlas: Atlas, seed: int) -> Quirks:
    """Draws a person's quirks (`seed` is the person's)."""
    template, number = atlas.template, 1000 * seed
    skin = atlas.regions["skin"].astype(np.float32)
    eyes = atlas.landmarks[36:48].reshape(2, 6, 3).mean(1)
    near_eyes = np.exp(-(np.linalg.norm(template[:, None] - eyes, axis=-1).min(1) ** 2) / (2 * 0.02**2))
    inside = atlas.regions["mouth"].astype(np.float32)
    calm = np.maximum(skin, inside) * (1 - 0.85 * near_eyes)
    asymmetry = 0.0011 * _vector_noise(template, 0.055, number) * calm[:, None] + _narrow_cavity(atlas)
    directions = atlas.head.exprdirs.numpy()
    size = np.linalg.norm(directions, axis=1, keepdims=True)
    ways = np.stack([_vector_noise(template, 0.035, number + 3 * e + 10) for e in range(directions.shape[2])], -1)
    # A lid's path is fixed by the eyeball: blinks stay as they are.
    free = np.array(["eyeBlink" not in n and n != "tongueOut" for n in atlas.head.expression_names], np.float32)
    lips = atlas.vertex_field("lips", 4)
    fine = np.stack([_vector_noise(template, 0.014, number + 3 * e + 200) for e in range(directions.shape[2])], -1)
    ways = 0.22 * ways + 0.15 * fine * lips[:, None, None]
    correctives = size * ways * free * (1 - near_eyes[:, None, None])
    correctives[:, 1, atlas.head.expression_names.index("tongueOut")] += TONGUE_LIFT * _tongue_share(atlas) ** 2
    jaw = 0.010 * _vector_noise(template, 0.018, number + 500) * lips[:, None]
    return Quirks(asymmetry.astype(np.float32), correctives.astype(np.float32), jaw.astype(np.float32),
                  _hidden(atlas).astype(np.float32))  # fmt: skip


def _narrow_cavity(atlas: Atlas) -> np.ndarray:
    """Draws the walls of the mouth cavity inwards, away from the cheeks, through which smiles would push them [V, 3].

    The cavity's border stays at the lips.
    """
    template, cavity = atlas.template, atlas.regions["mouth"]
    border = template[cavity & atlas.regions["skin"]]
    distance = np.linalg.norm(template[:, None] - border[None], axis=-1).min(1)
    share = np.clip((distance - 0.003) / 0.012, 0, 1) * cavity
    centre = np.array([0.0, -0.052, 0.005])
    return -0.16 * share[:, None] * (template - centre)


def _vector_noise(points: np.ndarray, size: float, seed: int) -> np.ndarray:
    return np.stack([noise(points, size, seed + k, 2) for k in range(3)], -1)


def _tongue_share(atlas: Atlas) -> np.ndarray:
    """0 at the back of the tongue (and elsewhere), 1 at its tip [V]."""
    tongue, z = atlas.regions["tongue"], atlas.template[:, 2]
    return np.clip((z - (z[tongue].max() - 0.045)) / 0.045, 0, 1) * tongue


def _hidden(atlas: Atlas) -> np.ndarray:
    template = atlas.template
    out = np.zeros((len(HIDDEN), *template.shape))
    s = _tongue_share(atlas)
    out[0, :, 1], out[0, :, 2] = 0.017 * s**2, -0.007 * s**2
    out[1, :, 0] = 0.009 * s**2
    lips = atlas.vertex_field("lips", 1)
    middle = atlas.landmarks[60:68].mean(0)
    away = template[:, 1] - middle[1]
    out[2, :, 2] = -0.0040 * lips
    out[2, :, 1] = -0.35 * away * lips
    inner = lips * np.clip(1 - (np.abs(template[:, 0]) / 0.024) ** 2, 0, 1)
    upper = np.clip(away / 0.004, -1, 1)
    out[3, :, 2] = inner * np.where(upper > 0, 0.0020, 0.0038)
    out[3, :, 1] = inner * np.where(upper > 0, 0.0012, -0.0018)
    out[4, :, 0] = 0.0026 * inner * upper
    out[4, :, 1] = 0.0016 * lips * (template[:, 0] / 0.02) * np.where(upper > 0, 1.0, 0.4)
    return out
