"""Conditioning of a capture, made once and kept beside it: two identity textures and a mouth map a timestep.

Expression maps depend on no picture and are kept in a file of their own, see `realhead.condition.offsets`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.capture import Capture, View
from realhead.condition.features import dino_source
from realhead.condition.mouth import MOUTH_CHANNELS, mouth_map, mouth_texels
from realhead.condition.texture import identity_texture
from realhead.errors import CaptureError, RealheadError
from realhead.head.uv import UVMap
from realhead.model.backbones import find_dino

VERSION = 2
"""Counts changes of what the maps mean; part of every checkpoint's conditioning hash."""

_log = logging.getLogger(__name__)


def conditioning_hash(kind: str) -> str:
    """Names the meaning of the conditioning maps; a checkpoint is refused where it differs."""
    return hashlib.sha256(f"conditioning {_meaning(kind)}".encode()).hexdigest()[:16]


def _meaning(kind: str) -> str:
    """Version and kind; DINO features and those of its stand-in are different things."""
    return f"{VERSION} {kind}" + (f" {dino_source()}" if kind == "dino" else "")


@dataclass(frozen=True)
class Conditioning:
    """The conditioning maps of one capture.

    Attributes:
        uv_map: Their layout.
        kind: What the mouth maps store.
        textures: Identity texture of one and of three views on the covered texels, [2, N, 3].
        timesteps: Timesteps with a mouth map.
        mouths: Mouth maps on the mouth's texels, [T, M, C].
    """

    uv_map: UVMap
    kind: str
    textures: Float[Tensor, "2 n 3"]
    timesteps: tuple[int, ...]
    mouths: Float[Tensor, "t m c"]

    def texture(self, three_views: bool) -> Float[Tensor, "3 r r"]:
        """Identity texture of the neutral frame, from the frontal view alone or with both sides."""
        return self.uv_map.scatter(self.textures[int(three_views)].float())

    def mouth(self, timestep: int) -> Float[Tensor, "c r r"]:
        """Mouth map of a timestep, from its frontal picture.

        Raises:
            CaptureError: That picture could not be read when the maps were made.
        """
        if timestep not in self.timesteps:
            raise CaptureError(f"Timestep {timestep} has no mouth map, since its frontal picture could not be read.")
        values = torch.zeros(len(self.uv_map.index), MOUTH_CHANNELS[self.kind])
        if values.shape[1]:
            values[mouth_texels(self.uv_map, self.kind)] = self.mouths[self.timesteps.index(timestep)].float()
        return self.uv_map.scatter(values)


def driving_view(capture: Capture, timestep: int) -> View:
    """The frontal picture of a timestep: the only one that a mouth map may come from."""
    return capture.view(timestep, capture.frontal_camera(capture.frame(timestep)))


def neutral_views(capture: Capture) -> list[View]:
    """Frontal, left and right picture of the neutral frame (cameras that coincide are named once)."""
    frame = capture.neutral
    names = dict.fromkeys([capture.frontal_camera(frame), *capture.side_cameras(frame)])
    return [capture.view(frame.timestep, name) for name in names]


def view_mouth_map(view: View, uv_map: UVMap, head, kind: str) -> Float[Tensor, "c r r"]:
    """Mouth map of a frontal or driving picture."""
    vertices = head(**view.frame.parameters())[0]
    return mouth_map(view.image(), vertices, view.camera, uv_map, kind)


def conditioning(capture: Capture, uv_map: UVMap, kind: str = "gradient") -> Conditioning:
    """Reads the conditioning of a capture, or makes it and keeps it in `<capture>/conditioning/`.

    The file's name holds a hash of all inputs, so a changed picture, mask, parameter, layout or network makes a new
    one.
    """
    path = kept_file(capture, f"{_key(capture, uv_map, kind)}.npz")
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {k: torch.from_numpy(data[k]) for k in ("textures", "mouths")}
                return Conditioning(uv_map, kind, timesteps=tuple(data["timesteps"].tolist()), **arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            _log.warning("%s is damaged and is made again", path)
    made = _make(capture, uv_map, kind)
    arrays = {"textures": made.textures.numpy(), "mouths": made.mouths.numpy(), "timesteps": np.array(made.timesteps)}
    keep(path, lambda temporary: np.savez(temporary, **arrays))
    return made


def kept_file(capture: Capture, name: str) -> Path:
    """Where maps of a capture are kept."""
    return capture.folder / "conditioning" / name


def keep(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file of maps in one step; a read-only data set still works, only slower."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses even this
            temporary.unlink()
        _log.warning("conditioning of %s is not kept: %s", path.parents[1], error)


@torch.no_grad()
def _make(capture: Capture, uv_map: UVMap, kind: str) -> Conditioning:
    views = neutral_views(capture)
    textures = [uv_map.gather(identity_texture(capture.head, uv_map, v)) for v in (views[:1], views)]
    inside = mouth_texels(uv_map, kind)
    timesteps, mouths = [], []
    for timestep in capture.timesteps:
        try:
            full = view_mouth_map(driving_view(capture, timestep), uv_map, capture.head, kind)
        except RealheadError as error:  # one broken picture does not stop the rest
            _log.warning("skipped timestep %d of %s: %s", timestep, capture.folder, error)
            continue
        timesteps.append(timestep)
        mouths.append(uv_map.gather(full)[inside].half())
    empty = torch.zeros(0, int(inside.sum()), MOUTH_CHANNELS[kind], dtype=torch.float16)
    stacked = torch.stack(mouths) if mouths else empty
    return Conditioning(uv_map, kind, torch.stack(textures).half(), tuple(timesteps), stacked)


def _key(capture: Capture, uv_map: UVMap, kind: str) -> str:
    inputs: list[Path] = [capture.folder / "transforms.json"]
    inputs += [driving_view(capture, t).image_path for t in capture.timesteps]
    for view in neutral_views(capture):
        inputs += [path for path in (view.image_path, view.mask_path, view.mouth_path) if path is not None]
    inputs += [capture.parameter_files[t] for t in sorted(capture.parameter_files)]
    weights = find_dino() if kind == "dino" else None
    masks = f" masks {capture.head.masks}" if capture.head.masks else ""
    return key_of(_meaning(kind) + masks, capture, uv_map, (*inputs, *([weights] if weights else [])))


def key_of(meaning: str, capture: Capture, uv_map: UVMap, inputs: Iterable[Path]) -> str:
    """Names maps by all that they are made of.

    Args:
        meaning: What the maps are.
        capture: Whose they are; its head enters.
        uv_map: Their layout.
        inputs: Files, each by its name, size and time; absent ones count as absent.
    """
    digest = hashlib.sha256(f"{meaning} {uv_map.resolution} {capture.head.hash}".encode())
    for table in (uv_map.index, uv_map.face, uv_map.barycentric):
        digest.update(table.numpy().tobytes())
    for path in inputs:
        stat = path.stat() if path.exists() else None
        digest.update(f"{path.name} {stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]
