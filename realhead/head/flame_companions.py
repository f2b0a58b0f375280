"""FLAME's own region masks and landmarks, separate licensed downloads: read where the user has them.

`FLAME_masks.pkl`, `landmark_embedding.npy` (68 points) and `mediapipe_landmark_embedding.npz` (105 points) count where
they lie beside the model, or anywhere in REALHEAD_ASSETS if the model lies in it. Two of them are pickles, which are
read as FLAME's models are: nothing in them is run. The landmarks were placed on FLAME 2020; all editions have its
triangles.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from realhead.errors import RealheadError
from realhead.head.flame_editions import assets_folder
from realhead.head.flame_pickle import read_npz, read_pickle, read_pickled_array

MASKS, LANDMARKS, MEDIAPIPE = "FLAME_masks.pkl", "landmark_embedding.npy", "mediapipe_landmark_embedding.npz"
COMPANIONS = (MASKS, LANDMARKS, MEDIAPIPE)

REGIONS = {
    "face": ("face",), "neck": ("neck", "boundary"), "scalp": ("scalp",), "ears": ("left_ear", "right_ear"),
    "lips": ("lips",),
}  # fmt: skip
"""Our regions of the skin, and FLAME's masks that make them; brows and eyeballs follow from the geometry."""
NUM_MEDIAPIPE = 478
OFF = 0.01
"""How far barycentric coordinates may be from a sum of one, and below zero."""

Embedding = tuple[np.ndarray, ...]


def find(model: Path, name: str) -> Path | None:
    """A companion of a model file, or None: what lies beside it counts before what is elsewhere in REALHEAD_ASSETS."""
    if (model.parent / name).is_file():
        return model.parent / name
    root = assets_folder()
    if root is None or not Path(os.path.abspath(model)).is_relative_to(os.path.abspath(root)):
        return None
    return next((path for path in sorted(root.rglob(name)) if path.is_file()), None)


def regions(path: Path, derived: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The regions of a head with FLAME's own masks in place of the derived ones.

    Args:
        path: FLAME_masks.pkl: vertex numbers by name.
        derived: Vertex masks by name, bool [5023] each.

    Raises:
        RealheadError: A mask is missing or holds no numbers of vertices.
    """
    table = read_pickle(path)
    skin = derived["skin"]
    own = {}
    for region, names in REGIONS.items():
        own[region] = np.zeros(len(skin), bool)
        for name in names:
            own[region][_numbers(table, name, None, len(skin), path)] = True
    return derived | {region: mask & skin for region, mask in own.items()}


def digest(path: Path) -> str:
    """First 16 hex digits of a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def landmarks_68(path: Path, num_faces: int) -> Embedding:
    """Triangles [68] and weights [68, 3] of iBUG's points: the whole static embedding of `landmark_embedding.npy`.

    The contour that slides with the head's yaw, in the same file, is left alone: it is no fixed place of the skin.

    Args:
        path: The file.
        num_faces: Triangles of the mesh.

    Raises:
        RealheadError: A key is missing, or is no embedding of 68 points.
    """
    table = read_pickled_array(path)
    faces = _numbers(table, "full_lmk_faces_idx", 68, num_faces, path)
    return faces.astype(np.int32), _weights(table, "full_lmk_bary_coords", 68, path)


def landmarks_mediapipe(path: Path, num_faces: int) -> Embedding:
    """Triangles [L], weights [L, 3] and MediaPipe's numbers [L] of `mediapipe_landmark_embedding.npz`.

    Args:
        path: The file; FLAME's has 105 points.
        num_faces: Triangles of the mesh.

    Raises:
        RealheadError: A key is missing, or is no embedding.
    """
    table = read_npz(path)
    numbers = _numbers(table, "landmark_indices", None, NUM_MEDIAPIPE, path)
    faces = _numbers(table, "lmk_face_idx", len(numbers), num_faces, path)
    return faces.astype(np.int32), _weights(table, "lmk_b_coords", len(numbers), path), numbers.astype(np.int32)


def _array(table: dict[str, Any], key: str, path: Path) -> np.ndarray:
    if key not in table:
        raise _refusal(path, f"lacks '{key}'")
    if not isinstance(table[key], np.ndarray):
        raise _refusal(path, f"holds a {type(table[key]).__name__} under '{key}' instead of an array")
    return np.asarray(table[key])


def _numbers(table: dict[str, Any], key: str, count: int | None, below: int, path: Path) -> np.ndarray:
    """Whole numbers from 0 to `below` - 1, flat; `count` of them, or any number but none."""
    values = _array(table, key, path).reshape(-1)
    if values.dtype.kind not in "iu" or len(values) != (count or max(1, len(values))):
        raise _refusal(path, f"holds {len(values)} values of {values.dtype} under '{key}'")
    if values.min() < 0 or values.max() >= below:
        raise _refusal(path, f"holds numbers outside of 0 to {below - 1} under '{key}'")
    return values.astype(np.int64)


def _weights(table: dict[str, Any], key: str, count: int, path: Path) -> np.ndarray:
    """Barycentric coordinates, [count, 3]."""
    values = _array(table, key, path)
    if values.dtype.kind != "f" or values.size != 3 * count or values.shape[-1] != 3:
        raise _refusal(path, f"holds {values.dtype} {values.shape} under '{key}' instead of {count} x 3 weights")
    weights = values.reshape(count, 3).astype(np.float64)
    if not (weights.min() >= -OFF and np.abs(weights.sum(1) - 1).max() <= OFF):  # false for NaN
        raise _refusal(path, f"holds weights under '{key}' that are no places in triangles")
    return weights.astype(np.float32)


def _refusal(path: Path, what: str) -> RealheadError:
    return RealheadError(f"{path} {what}: download it again, or remove it, and realhead's own table serves.")
