"""Named regions of the free head: vertex masks from MakeHuman's parts and painted masks, landmarks and geometry."""

from __future__ import annotations

import numpy as np

from realhead.head.anny_source import SourceMesh, read_atlas_mask
from realhead.head.landmarks import BROW, in_polygon
from realhead.head.open_landmarks import MEDIAPIPE, UNIT

BROW_MARGIN = 0.002
NECK_LINE = (
    (-0.13, -0.056),
    (-0.075, -0.05),
    (-0.045, -0.045),
    (-0.02, -0.075),
    (0.0, -0.087),
    (0.035, -0.108),
    (0.06, -0.115),
)
"""Side view (z, y) of the line from the nape along the jaw to below the chin, metres; the neck lies under it."""
FACE_BACK = -0.022
"""z of the face's border in front of the ears."""
HAIR_LINE = ((0.0, 0.082), (0.035, 0.085), (0.055, 0.074), (0.066, 0.055), (0.075, 0.03))
"""Front view (|x|, y) of the hair line, from the middle of the forehead down the temples."""


def regions(mesh: SourceMesh, vertices: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Vertex masks by region name.

    Args:
        mesh: Source mesh (parts, painted atlas).
        vertices: Mean head in FLAME's placement, metres, [V, 3].
        parts: Vertex masks of the parts.

    Returns:
        The parts, and on the skin: lips, ears; neck, face and scalp, which share what is left among them; brows and
        beard (where a beard grows) inside the face or, for the beard, also just below the jaw.
    """
    x, y, z = vertices.T
    skin = parts["skin"]
    lips = skin & (painted(mesh, "lips") > 0.4)
    ears = skin & (painted(mesh, "ears") > 0.4)
    below_jaw = np.interp(z, *np.array(NECK_LINE).T) - y  # how far under the line, metres
    neck = skin & ~ears & (below_jaw > 0)
    above_hair = y - np.interp(np.abs(x), *np.array(HAIR_LINE).T)
    front = z > FACE_BACK
    scalp = skin & ~ears & ~neck & (~front | ((above_hair > 0) & (y > 0.03)))
    face = skin & ~ears & ~neck & ~scalp
    ring = np.array([MEDIAPIPE[k][:2] for k in BROW]) * UNIT * [-1, 1]  # mirrored to the person's left
    brows = face & (z > 0) & in_polygon(np.stack([np.abs(x), y], 1), ring, BROW_MARGIN)
    return {
        "skin": skin,
        "face": face,
        "neck": neck,
        "scalp": scalp,
        "lips": lips,
        "ears": ears,
        "brows": brows,
        "beard": skin & ~ears & ~lips & (below_jaw < 0.012) & _beard_grows(x, y, z),
    } | {name: parts[name] for name in parts if name != "skin"}


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


def _beard_grows(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Upper lip, chin, jaw and side burns: below a line that sinks from the ears to the corners of the mouth."""
    side = np.abs(x)
    cheek_line = np.interp(side, [0.0, 0.012, 0.03, 0.05, 0.063, 0.075], [-0.031, -0.031, -0.044, -0.043, -0.022, 0.02])
    return (y < cheek_line) & (z > FACE_BACK)
