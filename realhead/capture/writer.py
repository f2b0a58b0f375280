"""Writes captures: the generator, the tracker and every importer go through this one door."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from realhead.capture.camera import Camera
from realhead.capture.capture import Frame
from realhead.errors import CaptureError

if TYPE_CHECKING:
    from realhead.head.model import Head

NUM_SHAPE, NUM_EXPRESSION = 300, 100  # VHAP's file layout pads to FLAME's counts; padding with zeros is exact
FRONTAL_CAMERA = 8


class CaptureWriter:
    """Writes one capture folder in VHAP's export layout; `realhead.json`, written last, marks it complete.

    Args:
        folder: Where to write. An unfinished capture there is written over, a finished one is refused.
        head: The head that the parameters belong to.
        cameras: All cameras, in index order; their `name` must be the two-digit index.
        person: The person's name.
        sequence: The sequence's name.
        tracking: Noise level of the parameters: exact, studio, wild or photo.
        source: How the capture was made (generator, version, seed ...), stored in realhead.json.
    """

    def __init__(
        self,
        folder: str | Path,
        head: Head,
        cameras: list[Camera],
        *,
        person: str,
        sequence: str,
        tracking: str = "exact",
        source: dict | None = None,
    ):
        """Makes the folders."""
        self.folder, self.head, self.cameras = Path(folder), head, list(cameras)
        if (self.folder / "realhead.json").exists():
            raise CaptureError(f"{self.folder} holds a finished capture: choose another folder or remove it first.")
        self.info = {
            "format": 1,
            "head": {"name": head.name, "hash": head.hash, "edition": head.edition},
            "num_shape": head.num_shape,
            "num_expression": head.num_expression,
            "units": "metres",
            "background": [1.0, 1.0, 1.0],
            "person": person,
            "sequence": sequence,
            "tracking": tracking,
            "source": source or {},
        }
        self._frames: dict[int, Frame] = {}
        self._entries: dict[tuple[int, int], dict] = {}
        for name in ("images", "fg_masks", "flame_param"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def add(
        self, frame: Frame, camera: Camera, image: np.ndarray, mask: np.ndarray, mouth: np.ndarray | None = None
    ) -> None:
        """Adds one picture.

        Args:
            frame: Tracked parameters of the timestep.
            camera: The camera that saw it (one of `cameras`, or a per-frame camera with one of their names).
            image: uint8 [H, W, 3], composited on white.
            mask: uint8 [H, W], straight alpha.
            mouth: bool [H, W], where a segmentation saw the mouth; None where there is none.
        """
        stem = f"{frame.timestep:05d}_{int(camera.name):02d}"
        if mouth is not None:
            save_image(mouth.astype(np.uint8) * 255, self.folder / "mouth_masks" / f"{stem}.png")
        save_image(mask, self.folder / "fg_masks" / f"{stem}.png", compress_level=1)
        save_image(image, self.folder / "images" / f"{stem}.png", compress_level=1)
        self._add_entry(frame, camera, stem, (".png", ".png"))

    def keep(self, frame: Frame, camera: Camera) -> bool:
        """Takes over a picture that `add` wrote in an earlier, stopped run; False if it is not there."""
        stem = f"{frame.timestep:05d}_{int(camera.name):02d}"
        if not (self.folder / "images" / f"{stem}.png").exists():  # written after its mask
            return False
        self._add_entry(frame, camera, stem, (".png", ".png"))
        return True

    def add_files(self, frame: Frame, camera: Camera, image: Path, mask: Path | None) -> None:
        """Adds a picture that lies on disk already, on white, without decoding it: linked where that can be done.

        Args:
            frame: As in `add`.
            camera: As in `add`.
            image: PNG or JPEG of the camera's size.
            mask: The same for its mask, or None where there is none.
        """
        stem = f"{frame.timestep:05d}_{int(camera.name):02d}"
        for folder, path in (("images", image), ("fg_masks", mask)):
            if path is not None:
                _place(path, self.folder / folder / (stem + path.suffix.lower()))
        suffixes = image.suffix.lower(), None if mask is None else mask.suffix.lower()
        self._add_entry(frame, camera, stem, suffixes)

    def _add_entry(self, frame: Frame, camera: Camera, stem: str, suffixes: tuple[str, str | None]) -> None:
        if frame.timestep not in self._frames:
            self._frames[frame.timestep] = frame
            np.savez(self.folder / "flame_param" / f"{frame.timestep:05d}.npz", **_parameters(frame))
        entry = _entry(frame.timestep, camera, stem, suffixes)
        if (mouth := self.folder / "mouth_masks" / f"{stem}.png").exists():
            entry["mouth_mask_path"] = f"mouth_masks/{mouth.name}"
        self._entries[frame.timestep, int(camera.name)] = entry

    @property
    def written(self) -> list[tuple[int, int]]:
        """(timestep, camera index) of every picture so far."""
        return sorted(self._entries)

    def close(self, splits: dict[str, set[tuple[int, int]]] | None = None) -> Path:
        """Writes the JSON files and returns the folder.

        Args:
            splits: (timestep, camera index) of the pictures of "train", "val" and "test"; default: VHAP's split.
        """
        if not self._entries:
            raise CaptureError(f"{self.folder}: nothing was added to this capture.")
        first = min(self._frames.values(), key=lambda f: f.timestep)
        canonical = _parameters(first)
        for key in ("translation", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "expr"):
            canonical[key] = np.zeros_like(canonical[key])
        canonical["jaw_pose"][0, 0] = 0.3
        np.savez(self.folder / "canonical_flame_param.npz", **canonical)
        keys = sorted(self._entries)
        write_json(self.folder / "transforms.json", self._transforms(keys))
        chosen_by_split = self._split(keys) if splits is None else {k: sorted(v) for k, v in splits.items()}
        for split, chosen in chosen_by_split.items():
            write_json(self.folder / f"transforms_{split}.json", self._transforms(chosen))
        write_json(self.folder / "realhead.json", self.info)
        return self.folder

    def _split(self, keys: list[tuple[int, int]]) -> dict[str, list]:
        """VHAP's split: the first 70 % of the timesteps train, but the frontal camera validates; the rest tests.

        Photographs are few, and all of them are there to be enrolled: they all train.
        """
        timesteps = sorted({t for t, _ in keys})
        photographs = self.info["tracking"] == "photo"
        trained = set(timesteps if photographs else timesteps[: max(1, math.floor(0.7 * len(timesteps)))])
        held_out = None if photographs or len(self.cameras) == 1 else FRONTAL_CAMERA
        return {
            "train": [k for k in keys if k[0] in trained and k[1] != held_out],
            "val": [k for k in keys if k[0] in trained and k[1] == held_out],
            "test": [k for k in keys if k[0] not in trained],
        }

    def _transforms(self, keys: list[tuple[int, int]]) -> dict:
        frames = [self._entries[k] for k in keys]
        last = frames[-1] if frames else {}
        shared = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
        return {
            **{k: last[k] for k in shared if k in last},
            "timestep_indices": sorted({t for t, _ in keys}),
            "camera_indices": sorted({c for _, c in keys}),
            "frames": frames,
        }


def save_image(pixels: np.ndarray, path: Path, **options) -> None:
    """Writes a picture in one step, so that a killed run leaves none that is cut off; `options` go to Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    Image.fromarray(pixels).save(temporary, format=Image.registered_extensions()[path.suffix], **options)
    os.replace(temporary, path)


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def _parameters(frame: Frame) -> dict[str, np.ndarray]:
    shape, expression = np.zeros(NUM_SHAPE, np.float32), np.zeros((1, NUM_EXPRESSION), np.float32)
    shape[: len(frame.shape)] = frame.shape
    expression[0, : len(frame.expression)] = frame.expression
    pose = frame.pose.numpy().astype(np.float32)
    values = {
        "translation": frame.translation.numpy().astype(np.float32)[None],
        "rotation": pose[0:1],
        "neck_pose": pose[1:2],
        "jaw_pose": pose[2:3],
        "eyes_pose": pose[3:5].reshape(1, 6),
        "shape": shape,
        "expr": expression,
    }
    return values if frame.eyelids is None else values | {"eyelids": frame.eyelids.numpy()[None]}


def _place(source: Path, target: Path) -> None:
    """A second name for a file, or a copy of it on another disk."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _entry(timestep: int, camera: Camera, stem: str, suffixes: tuple[str, str | None]) -> dict:
    world_from_cam = torch.linalg.inv(camera.cam_from_world.double())
    opengl = world_from_cam * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    fx, fy, cx, cy = (float(camera.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return {
        "timestep_index": timestep,
        "timestep_index_original": timestep,
        "timestep_id": f"{timestep:05d}",
        "camera_index": int(camera.name),
        "camera_id": camera.name,
        "cx": cx,
        "cy": camera.height - cy,  # VHAP stores it flipped
        "fl_x": fx,
        "fl_y": fy,
        "h": camera.height,
        "w": camera.width,
        "camera_angle_x": 2 * math.atan(camera.width / (2 * fx)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * fy)),
        "transform_matrix": opengl.tolist(),
        "file_path": f"images/{stem}{suffixes[0]}",
        **({} if suffixes[1] is None else {"fg_mask_path": f"fg_masks/{stem}{suffixes[1]}"}),
        "flame_param_path": f"flame_param/{timestep:05d}.npz",
    }
