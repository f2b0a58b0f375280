"""VHAP's export layout, read: cameras and paths of transforms.json, and the parameter files.

Two traps of that layout are undone here and nowhere else: the camera matrices have OpenGL axes (y up, z backward), and
`cy` is stored as `h - cy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.files import inside, read_json, read_npz
from realhead.capture.frame import Frame
from realhead.errors import CaptureError, OutsideError

MAX_SIDE = 16384
CROOKED = 0.02
"""Largest departure of a camera's rotation from an orthonormal matrix (files are written in single precision)."""
FARTHEST = 1e6
"""Beyond any length, pixel or coefficient."""
MOST_TIMESTEPS, MOST_CAMERAS = 10**7, 1000
ROTATIONS = ("rotation", "neck_pose", "jaw_pose")


@dataclass(frozen=True)
class Entry:
    """One element of 'frames': a picture and what belongs to it; VHAP has no mouth masks, ours stand beside its key."""

    timestep: int
    camera: Camera
    image: Path
    mask: Path | None
    parameters: Path
    mouth: Path | None = None


def read_entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """All pictures that transforms.json describes.

    Returns:
        Usable entries, and one sentence for each that is not.

    Raises:
        CaptureError: The file is no list of frames, none is usable, or a path leaves the folder (nothing of such a
            file is believed).
    """
    entries, broken = [], []
    for index, raw in enumerate(frame_list(folder / "transforms.json")):
        try:
            entries.append(_entry(folder, raw, index))
        except OutsideError:
            raise
        except CaptureError as error:
            broken.append(str(error))
    if not entries:
        raise CaptureError(broken[0])
    return entries, broken


def read_split(path: Path) -> set[tuple[int, str]]:
    """(timestep, camera name) of the pictures in one of the split files.

    Raises:
        CaptureError: The file is malformed.
    """
    return {_key(raw, f"{path}, frame {index}") for index, raw in enumerate(frame_list(path))}


def read_info(path: Path) -> dict:
    """The content of realhead.json; empty where there is none.

    Raises:
        CaptureError: A name in it is no text.
    """
    info = read_json(path) if path.exists() else {}
    head = info.get("head", {})
    named = [info.get(key) for key in ("person", "sequence")]
    named += [head.get(key) for key in ("name", "hash", "edition", "source")] if isinstance(head, dict) else [0]
    if not all(value is None or isinstance(value, str) for value in named):
        raise CaptureError(
            f"{path}: 'person', 'sequence' and what 'head' holds must be texts; restore the file, or import again."
        )
    return info


def frame_list(path: Path) -> list[dict]:
    """The list 'frames' of one of the transforms files; only transforms.json itself must not be empty."""
    frames = read_json(path).get("frames")
    if not isinstance(frames, list) or not frames and path.name == "transforms.json":
        raise CaptureError(f"{path} has no list 'frames'; export the capture again.")
    return frames


def _value(raw: dict, key: str, read: Callable[[Any], Any], legal: Callable[[Any], bool], where: str, kind: str) -> Any:
    """The value under a key, refused by the key's name if it cannot be read or is not legal."""
    try:
        value = read(raw[key])
        if legal(value):
            return value
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise CaptureError(f"{where}: '{key}' is missing or is no {kind}; export the capture again.")


def _key(raw: Any, where: str) -> tuple[int, str]:
    """Timestep, and the camera's index in two digits."""
    if not isinstance(raw, dict):
        raise CaptureError(f"{where} describes no picture; export the capture again.")
    timestep = _value(raw, "timestep_index", int, lambda n: 0 <= n < MOST_TIMESTEPS, where, "number of a timestep")
    camera = _value({"camera_index": 0} | raw, "camera_index", int, lambda n: 0 <= n < MOST_CAMERAS, where,
                    "number of a camera")  # fmt: skip
    return timestep, f"{camera:02d}"


def is_rigid(pose: Tensor) -> bool:
    """Whether a 4x4 matrix is finite and turns and shifts only (files are written in single precision)."""
    if pose.shape != (4, 4) or not (pose.abs() < FARTHEST).all():  # false for NaN
        return False
    rotation, last = pose[:3, :3], pose.new_tensor([0, 0, 0, 1])
    crooked = (rotation @ rotation.T - torch.eye(3, dtype=pose.dtype)).abs().max()
    return bool(crooked <= CROOKED and rotation.det() > 0 and (pose[3] - last).abs().max() <= CROOKED)


def _camera(raw: dict, name: str, where: str) -> Camera:
    def number(key: str, legal: Callable[[float], bool], kind: str) -> float:
        return _value(raw, key, float, legal, where, kind)

    width, height = (
        _value(raw, key, int, lambda n: 0 < n <= MAX_SIDE, where, f"size in pixels up to {MAX_SIDE}") for key in "wh"
    )
    fx, fy = (number(key, lambda x: 0 < x < FARTHEST, "finite focal length above 0") for key in ("fl_x", "fl_y"))
    cx, cy = (number(key, lambda x: abs(x) < FARTHEST, "finite number") for key in ("cx", "cy"))
    opengl = _value(raw, "transform_matrix", lambda m: torch.tensor(m, dtype=torch.float64), is_rigid, where,
                    "finite 4x4 pose (rotation and position)")  # fmt: skip
    world_from_cam = opengl * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)  # OpenGL -> OpenCV axes
    K = torch.tensor([[fx, 0, cx], [0, fy, height - cy], [0, 0, 1]], dtype=torch.float32)  # cy is stored flipped
    return Camera(K, torch.linalg.inv(world_from_cam).float(), width, height, name)


def _entry(folder: Path, raw: Any, index: int) -> Entry:
    where = f"{folder / 'transforms.json'}, frame {index}"
    timestep, name = _key(raw, where)
    if "mesh_path" in raw and "flame_param_path" not in raw:
        raise CaptureError(f"{where} names meshes: export with VHAP's mode 'param', which is its default.")
    camera = _camera(raw, name, where)
    paths = [inside(folder, _value(raw, key, str, bool, where, "path")) for key in ("file_path", "flame_param_path")]
    mask, mouth = (inside(folder, raw[key]) if raw.get(key) else None for key in ("fg_mask_path", "mouth_mask_path"))
    return Entry(timestep, camera, paths[0], mask, paths[1], mouth)


def read_frame(path: Path, timestep: int, num_shape: int, num_expression: int) -> Frame:
    """Head parameters of one file.

    Args:
        path: .npz with FLAME's names as VHAP writes them.
        timestep: Index inside the capture.
        num_shape: Identity coefficients of the head; the file may hold more if they are zero.
        num_expression: The same for expression.

    Raises:
        CaptureError: A key is absent, of another size, not finite, or belongs to another head.
    """
    data = read_npz(path)
    sizes = dict.fromkeys((*ROTATIONS, "translation"), 3) | {"eyes_pose": 6}
    sizes |= {"eyelids": 2} if "eyelids" in data else {}
    values = {key: _parameter(data, key, size, path) for key, size in sizes.items()}
    pose = np.concatenate([values[key] for key in (*ROTATIONS, "eyes_pose")]).reshape(5, 3)
    arrays = {
        "shape": _cut(_parameter(data, "shape", None, path), num_shape, "shape", path),
        "expression": _cut(_parameter(data, "expr", None, path), num_expression, "expression", path),
        "pose": pose,
        "translation": values["translation"],
    }
    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    eyelids = torch.from_numpy(values["eyelids"].astype(np.float32)) if "eyelids" in values else None
    return Frame(timestep, **tensors, eyelids=eyelids)


def read_smirk(path: Path) -> Tensor | None:
    """What SMIRK saw at one timestep, as `Frame.smirk` has it; None where there is no such file.

    Raises:
        CaptureError: The file is damaged or is not SMIRK's.
    """
    if not path.exists():
        return None
    data = read_npz(path, only=("expression", "jaw"))
    parts = [data.get(key, np.zeros(0)).reshape(-1) for key in ("expression", "jaw")]
    if [part.size for part in parts] != [50, 3] or not all(np.isfinite(part).all() for part in parts):
        raise CaptureError(
            f"{path} does not hold SMIRK's 50 'expression' and its 'jaw': remove it and run SMIRK again."
        )
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def _parameter(data: dict[str, np.ndarray], key: str, size: int | None, path: Path) -> np.ndarray:
    """The numbers under a key, flat."""
    if key not in data:
        raise CaptureError(f"{path} lacks '{key}', so it is not a FLAME parameter file; export it again.")
    values = data[key].reshape(-1)
    if values.dtype.kind not in "fiu":
        raise CaptureError(f"{path}: '{key}' holds no numbers; export it again.")
    if size is not None and values.size == 2 * size and size % 3 == 0:
        raise CaptureError(
            f"{path}: '{key}' holds 6D rotations where axis-angle belongs: convert them, or import the tracker's "
            ".frame files with `realhead import insta`."
        )
    if size is not None and values.size != size:
        raise CaptureError(f"{path}: '{key}' holds {values.size} numbers instead of {size}; export it again.")
    if not (np.abs(values.astype(np.float64)) < FARTHEST).all():
        raise CaptureError(f"{path} holds NaN, infinite or absurd values in '{key}'; track this timestep again.")
    return values


def _cut(values: np.ndarray, count: int, what: str, path: Path) -> np.ndarray:
    """The first coefficients, if the others say nothing; zeros for those that the file does not have."""
    if values[count:].any():
        raise CaptureError(
            f"{path} has more than {count} {what} coefficients that are not zero, so they belong to another head: open "
            "the capture with the head it was tracked with."
        )
    return np.pad(values[:count], (0, max(0, count - len(values))))
