"""Pieces of geometry that a person wears or has beside the head mesh: teeth, gums, a garment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """Triangles with a texture position per vertex.

    Attributes:
        vertices: Positions in the person's neutral, unposed head [K, 3].
        faces: Indices into them [F, 3].
        texels: Texture position of each vertex in texels [K, 2].
        material: Name of the material.
        joint: The joint that moves all of it; or weights over the five joints [K, 5].
    """

    vertices: np.ndarray
    faces: np.ndarray
    texels: np.ndarray
    material: str
    joint: int | np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Skinning weights, float32 [K, 5]."""
        if isinstance(self.joint, np.ndarray):
            return self.joint.astype(np.float32)
        return np.tile(np.eye(5, dtype=np.float32)[self.joint], (len(self.vertices), 1))
