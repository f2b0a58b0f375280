"""VHAP's export layout, read: cameras and paths of transforms.json, and the parameter files.

Two traps of that layout are undone here and nowhere else: the camera matrices have OpenGL axes (y up, z backward), and
`cy` is stored as `h - cy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realhead.capture.camera import Camera
from realhead.capture.files import inside, read_json, read_npz
from realhead.capture.frame import Frame
from realhead.errors import CaptureError, OutsideError

MAX_SIDE = 16384
CROOKED = 0.02
"""Largest departure of a camera's rotation from an orthonormal matrix (files are written in single precision)."""
ROTATIONS = ("rotation", "neck_pose", "jaw_pose")


@dataclass(frozen=True)
class Entry:
    """One element of 'frames': a picture and what belongs to it."""

    timestep: int
    camera: Camera
    image: Path
    mask: Path | None
    parameters: Path


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
    try:
        return {(int(raw["timestep_index"]), camera_name(raw)) for raw in frame_list(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise CaptureError(f"{path}: {error} is missing or malformed; export the capture again.") from error


def frame_list(path: Path) -> list[dict]:
    """The list 'frames' of one of the transforms files; only transforms.json itself must not be empty."""
    frames = read_json(path).get("frames")
    if not isinstance(frames, list) or not frames and path.name == "transforms.json":
        raise CaptureError(f"{path} has no list 'frames'; export the capture again.")
    return frames


def camera_name(raw: dict) -> str:
    """Two digits, the camera's index."""
    return f"{int(raw.get('camera_index', 0)):02d}"


def _entry(folder: Path, raw: dict, index: int) -> Entry:
    where = f"{folder / 'transforms.json'}, frame {index}"
    try:
        opengl = torch.tensor(raw["transform_matrix"], dtype=torch.float64)
        width, height = int(raw["w"]), int(raw["h"])
        fx, fy, cx = float(raw["fl_x"]), float(raw["fl_y"]), float(raw["cx"])
        cy = height - float(raw["cy"])  # stored flipped
        paths = [raw["file_path"], raw["flame_param_path"]]
        timestep, name = int(raw["timestep_index"]), camera_name(raw)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, KeyError) and isinstance(raw, dict) and "mesh_path" in raw:
            raise CaptureError(
                f"{where} names meshes: export with VHAP's mode 'param', which is its default."
            ) from error
        raise CaptureError(f"{where}: {error} is missing or malformed; export the capture again.") from error
    finite = all(math.isfinite(v) for v in (fx, fy, cx, cy)) and bool(opengl.isfinite().all())
    if opengl.shape != (4, 4) or not finite or not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE:
        raise CaptureError(f"{where}: the camera is not a finite 4x4 pose with a size.")
    rotation = opengl[:3, :3]
    if fx <= 0 or fy <= 0 or (rotation @ rotation.T - torch.eye(3)).abs().max() > CROOKED or rotation.det() < 0:
        raise CaptureError(
            f"{where}: the camera's rotation is none (or its focal length is not positive); export again."
        )
    world_from_cam = opengl * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)  # OpenGL -> OpenCV axes
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    camera = Camera(K, torch.linalg.inv(world_from_cam).float(), width, height, name)
    image, parameters = (inside(folder, path) for path in paths)
    mask = raw.get("fg_mask_path")
    return Entry(timestep, camera, image, inside(folder, mask) if mask else None, parameters)


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
    try:
        for key in (*ROTATIONS, "eyes_pose"):
            if data[key].size == (12 if key == "eyes_pose" else 6):
                raise CaptureError(
                    f"{path}: '{key}' holds 6D rotations where axis-angle belongs: convert them, or import the "
                    "tracker's .frame files with `realhead import insta`."
                )
        pose = [data[k].reshape(3) for k in ROTATIONS] + list(data["eyes_pose"].reshape(2, 3))
        arrays = {
            "shape": _cut(data["shape"], num_shape, "shape", path),
            "expression": _cut(data["expr"], num_expression, "expression", path),
            "pose": np.stack(pose),
            "translation": data["translation"].reshape(3),
            "eyelids": data["eyelids"].reshape(2) if "eyelids" in data else None,
        }
        tensors = {k: None if a is None else torch.from_numpy(a.astype(np.float32)) for k, a in arrays.items()}
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, CaptureError):
            raise
        raise CaptureError(f"{path} is not a FLAME parameter file: {error}; export it again.") from error
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.isfinite().all():
            raise CaptureError(f"{path} holds NaN or infinite values in {name}; track this timestep again.")
    return Frame(timestep, **tensors)


def _cut(values: np.ndarray, count: int, what: str, path: Path) -> np.ndarray:
    """The first coefficients, if the others say nothing."""
    flat = values.reshape(-1)
    if flat[count:].any():
        raise CaptureError(
            f"{path} has more than {count} {what} coefficients that are not zero, so they belong to another head: open "
            "the capture with the head it was tracked with."
        )
    return flat[:count]
