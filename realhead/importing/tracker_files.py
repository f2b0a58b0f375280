"""metrical-tracker's `.frame` files: FLAME 2020 parameters and the camera of one video frame.

A `.frame` is written by torch.save, so it is a pickle; `realhead.unpickling` reads it without running anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.files import require_file
from realhead.capture.layout import is_rigid
from realhead.errors import CaptureError, RealheadError
from realhead.importing.rotations import rotvec_from_6d
from realhead.unpickling import read_torch

MAX_BYTES = 16 * 2**20
SIZES = {
    ("flame", "exp"): 100,
    ("flame", "shape"): 300,
    ("flame", "jaw"): 6,
    ("flame", "eyes"): 12,
    ("opencv", "R"): 9,
    ("opencv", "t"): 3,
    ("opencv", "K"): 9,
}


@dataclass(frozen=True)
class TrackedFrame:
    """One file's content, rotations as axis-angle.

    Attributes:
        number: The tracker's frame number, which is the video's minus one.
        shape: FLAME 2020 identity, [300].
        expression: FLAME 2020 expression, [100].
        jaw: [3].
        eyes: Left and right, [2, 3].
        eyelids: Left and right, [2].
        camera: OpenCV; the head stands still in its world, as the tracker moves the camera instead.
    """

    number: int
    shape: Float[Tensor, "300"]
    expression: Float[Tensor, "100"]
    jaw: Float[Tensor, "3"]
    eyes: Float[Tensor, "2 3"]
    eyelids: Float[Tensor, "2"]
    camera: Camera


def frame_files(folder: Path) -> dict[int, Path]:
    """`.frame` files of a tracker's output by number; the folder may be the actor's or its `checkpoint`."""
    for place in (folder, folder / "checkpoint"):
        found = {int(p.stem): p for p in place.glob("*.frame") if p.stem.isdecimal()}
        if found:
            return dict(sorted(found.items()))
    return {}


def read_tracked_frame(path: Path) -> TrackedFrame:
    """Reads a `.frame`.

    Raises:
        CaptureError: It is damaged, asks for anything but arrays, or a key is absent, of another size or not finite.
    """
    content = _load(path)
    values: dict[tuple[str, str], Tensor] = {}
    for (group, key), size in SIZES.items():
        values[group, key] = _array(content, group, key, size, path)
    lids = content["flame"].get("eyelids")
    eyelids = torch.zeros(2) if lids is None else _array(content, "flame", "eyelids", 2, path)
    height, width = _size(content, path)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = values["opencv", "R"].reshape(3, 3), values["opencv", "t"]
    if not is_rigid(pose):
        raise CaptureError(f"{path}: opencv.R is no rotation: track this clip again.")
    camera = Camera(values["opencv", "K"].reshape(3, 3), pose, width, height, "00")
    return TrackedFrame(
        int(path.stem), values["flame", "shape"], values["flame", "exp"], rotvec_from_6d(values["flame", "jaw"]),
        rotvec_from_6d(values["flame", "eyes"].reshape(2, 6)), eyelids, camera,
    )  # fmt: skip


def _load(path: Path) -> dict:
    if require_file(path).stat().st_size > MAX_BYTES:
        raise CaptureError(f"{path} is larger than {MAX_BYTES >> 20} MiB, which no .frame is; it is not read.")
    try:
        content = read_torch(path, MAX_BYTES)
    except RealheadError as error:
        raise CaptureError(f"{path} is no .frame of metrical-tracker ({error}): track this clip again.") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), dict) for k in ("flame", "opencv")):
        raise CaptureError(f"{path} lacks the tables 'flame' and 'opencv': is it metrical-tracker's?")
    return content


def _array(content: dict, group: str, key: str, size: int, path: Path) -> Tensor:
    if key not in content[group]:
        raise CaptureError(f"{path} lacks '{group}.{key}': track again with metrical-tracker.")
    value = content[group][key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise CaptureError(f"{path}: '{group}.{key}' is no array of numbers: track again with metrical-tracker.")
    if value.size != size:
        mend = "6D rotations belong here" if size in (6, 12) and value.size in (3, 6) else "track with FLAME 2020"
        raise CaptureError(f"{path}: '{group}.{key}' holds {value.size} values instead of {size}: {mend}.")
    flat = torch.from_numpy(value.astype(np.float32).reshape(-1))
    if not flat.isfinite().all():
        raise CaptureError(f"{path} holds NaN or infinite values in '{group}.{key}': track this frame again.")
    return flat


def _size(content: dict, path: Path) -> tuple[int, int]:
    value = content.get("img_size")
    numbers = value.tolist() if isinstance(value, np.ndarray) and value.size == 2 else value
    try:
        height, width = (int(number) for number in numbers)
    except (ValueError, TypeError, OverflowError):
        raise CaptureError(f"{path} lacks 'img_size' (height, width): track again with metrical-tracker.") from None
    if not 0 < width <= 16384 or not 0 < height <= 16384:
        raise CaptureError(f"{path}: 'img_size' is {width}x{height}, which no video has: track this clip again.")
    return height, width
