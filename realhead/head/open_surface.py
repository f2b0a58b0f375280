"""Surface of the free head: triangles, what is never seen, and the texture coordinates of every layout."""

from __future__ import annotations

import numpy as np

from realhead.head import uv_layout
from realhead.head.anny_source import SourceMesh

CROWN_Z = -0.05
"""Where on the midline the seam of the skin's texture starts, metres in FLAME's placement."""
EYE_BACK = -0.6
"""Cosine of the angle from an eyeball's front beyond which its triangles are left out."""


def surface(
    mesh: SourceMesh, vertices: np.ndarray, joints: np.ndarray, parts: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Triangles `f`, `uv_faces` and `uv_coords_<layout>` of every layout.

    Args:
        mesh: Source mesh.
        vertices: Mean head in FLAME's placement, [V, 3].
        joints: Its joints, [5, 3].
        parts: Vertex masks of the parts.
    """
    faces, corner_of = triangulate(mesh, vertices)
    seen = ~hidden_faces(vertices, faces, joints, parts)
    owner = np.repeat(np.array(list(mesh.parts))[np.argmax(list(mesh.parts.values()), 0)], 2)[seen]
    coords = texture_coordinates(mesh, vertices, faces[seen], corner_of[seen], owner, joints)
    return {"f": faces[seen].astype(np.uint32)} | coords


def triangulate(mesh: SourceMesh, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits quads along their shorter diagonal.

    Returns:
        Triangles [F, 3] and, per corner, its flat number in `mesh.quads` [F, 3]; triangle 2 i and 2 i + 1 are quad i.
    """
    corner = vertices[mesh.quads]
    gap = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1) - np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    first = np.where((gap <= 1e-9)[:, None, None], [[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]])  # [Q, 2, 3]
    corner_of = (first + 4 * np.arange(len(mesh.quads))[:, None, None]).reshape(-1, 3)
    return mesh.quads.reshape(-1)[corner_of], corner_of


def hidden_faces(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, parts: dict[str, np.ndarray]
) -> np.ndarray:
    """The back of the eyeballs, which nobody sees: without it an eyeball flattens to a disc."""
    hidden = np.zeros(len(faces), bool)
    for part, joint in (("eye_left", 3), ("eye_right", 4)):
        offset = vertices - joints[joint]
        behind = parts[part] & (offset[:, 2] < EYE_BACK * np.linalg.norm(offset, axis=1))
        hidden |= behind[faces].any(1)
    return hidden


def texture_coordinates(
    mesh: SourceMesh,
    vertices: np.ndarray,
    faces: np.ndarray,
    corner_of: np.ndarray,
    owner: np.ndarray,
    joints: np.ndarray,
) -> dict[str, np.ndarray]:
    """Texture coordinates of every layout over one set of UV faces.

    Args:
        mesh: Source mesh with MakeHuman's coordinates.
        vertices: Mean head, [V, 3].
        faces: Triangles, [F, 3].
        corner_of: Their corners in the flattened quads, [F, 3].
        owner: Part of each triangle, [F].
        joints: The five joints, [5, 3].
    """
    side = np.where(vertices[faces].mean(1)[:, 0] > 0, "_left", "_right")
    owner = np.where(np.isin(owner, ("lashes", "socket")), np.char.add(owner, side), owner)
    source_uv, source_index = mesh.quad_uvs.reshape(-1, 2)[corner_of], mesh.quad_uv_index.reshape(-1)[corner_of]
    uv_faces, coords, start = np.zeros_like(faces), {name: [] for name in uv_layout.LAYOUTS}, 0
    for part in [island.part for island in uv_layout.DEFAULT]:
        chosen = owner == part
        index = cut_at_the_back(vertices, faces[chosen]) if part == "skin" else source_index[chosen]
        index, first, local = np.unique(index.reshape(-1), return_index=True, return_inverse=True)
        local = local.reshape(-1, 3)
        point = faces[chosen].reshape(-1)[first]
        uv = source_uv[chosen].reshape(-1, 2)[first]
        if part == "skin":
            uv = uv_layout.flatten_skin(vertices[point], local, point, uv_layout.skin_density(vertices[point]))
        elif part.startswith("teeth_"):
            uv = uv_layout.unroll_band(vertices, mesh.quads[mesh.parts[part]])[point]
        elif part.startswith("eye_"):
            uv = uv_layout.eye_from_front(vertices[point], joints[3 if part == "eye_left" else 4])
        uv_faces[chosen] = local + start
        start += len(index)
        for name, layout in uv_layout.LAYOUTS.items():
            island = next(i for i in layout if i.part == part)
            coords[name].append(np.round(uv_layout.place(uv, island) * 2**16) / 2**16)
    result = {f"uv_coords_{name}": np.concatenate(c).astype(np.float32) for name, c in coords.items()}
    return result | {"uv_faces": uv_faces.astype(np.uint32)}


def cut_at_the_back(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Numbers the corners of skin triangles so that the back's midline, from the crown down, becomes two banks."""
    middle = np.abs(vertices[:, 0]) < 2e-3
    skin = np.zeros(len(vertices), bool)
    skin[faces] = True
    back = middle & skin & (vertices[:, 2] < CROWN_Z)
    crown = np.flatnonzero(back)[np.argmax(vertices[back, 2])]
    back[crown] = False
    left = vertices[faces].mean(1)[:, 0] > 0
    return np.where(back[faces] & left[:, None], faces + len(vertices), faces)
