"""The capture on disk: one person in one sequence, seen by one or more cameras.

The layout is the export of the VHAP tracker (images, fg_masks, flame_param, transforms*.json) with `realhead.json`
beside it, which names the head that the parameters belong to. Two traps of that layout are undone here and nowhere
else: the camera matrices have OpenGL axes (y up, z backward), and `cy` is stored as `h - cy`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.files import inside, read_json, read_npz, read_png
from realhead.errors import CaptureError

if TYPE_CHECKING:
    from realhead.head.model import Head

Split = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class Frame:
    """Head parameters of one timestep.

    Attributes:
        timestep: Index inside the capture.
        shape: Identity coefficients [S] (unit variance).
        expression: Expression coefficients [E].
        pose: Axis-angle rotations in radians of root, neck, jaw, left eye, right eye, shape [5, 3].
        translation: Root translation in metres [3].
        eyelids: Left and right eyelid in [0, 1], shape [2], or None.
    """

    timestep: int
    shape: Float[Tensor, "s"]
    expression: Float[Tensor, "e"]
    pose: Float[Tensor, "5 3"]
    translation: Float[Tensor, "3"]
    eyelids: Float[Tensor, "2"] | None = None

    def parameters(self) -> dict[str, Tensor | None]:
        """Keyword arguments of `Head.forward`, with a leading batch of one."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "timestep"}
        return {name: None if value is None else value[None] for name, value in values.items()}

    @property
    def effort(self) -> float:
        """How far the face is from neutral: the norm of expression and jaw (jaw in units of 0.1 rad)."""
        return float(torch.cat([self.expression, self.pose[2] * 10]).norm())


@dataclass(frozen=True)
class View:
    """One picture: a timestep seen by a camera."""

    frame: Frame
    camera: Camera
    image_path: Path
    mask_path: Path | None

    def image(self, background: float = 1.0) -> Float[Tensor, "h w 3"]:
        """The picture in [0, 1], composited on a grey level (files are stored on white)."""
        image = self._read(self.image_path, 3)
        return image if background == 1.0 else image + (1 - self.mask()[..., None]) * (background - 1.0)

    def mask(self) -> Float[Tensor, "h w"]:
        """Straight alpha of the head in [0, 1]; ones where the capture has no masks."""
        if self.mask_path is None:
            return torch.ones(self.camera.height, self.camera.width)
        return self._read(self.mask_path, 1)[..., 0]

    def _read(self, path: Path, channels: int) -> Tensor:
        pixels = read_png(path, channels)
        if pixels.shape[:2] != (self.camera.height, self.camera.width):
            raise CaptureError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels but its camera says "
                f"{self.camera.width}x{self.camera.height}: resize the picture or correct w and h in transforms.json."
            )
        return torch.from_numpy(pixels.astype(np.float32) / 255)


class Capture:
    """One person in one sequence. Open it with `Capture.open(folder)`; everything is read when it is first asked for.

    Attributes:
        folder: Where it lies.
        info: The content of realhead.json (empty if the file is absent).
        person: The person's name.
        sequence: The sequence's name.
        cameras: Cameras by name.
    """

    def __init__(self, folder: Path, info: dict, entries: list[dict], splits: dict[str, set], head: Head | None):
        """Use `Capture.open`."""
        self.folder, self.info, self._head = folder, info, head
        self.person = info.get("person", folder.parent.name)
        self.sequence = info.get("sequence", folder.name)
        self._entries = {(e["timestep_index"], e["camera"].name): e for e in entries}
        self._splits = splits
        self.timesteps = sorted({t for t, _ in self._entries})
        self.cameras: dict[str, Camera] = {}
        for entry in entries:
            self.cameras.setdefault(entry["camera"].name, entry["camera"])

    @classmethod
    def open(cls, folder: str | Path, head: Head | None = None) -> Capture:
        """Opens a capture folder.

        Args:
            folder: A folder with transforms.json.
            head: The head model of the parameters; default: the one that realhead.json names.

        Raises:
            CaptureError: transforms.json is absent, a key is missing, or a path leaves the folder.
        """
        folder = Path(folder)
        if not (folder / "transforms.json").is_file():
            raise CaptureError(
                f"{folder} is no capture: it has no transforms.json. Make one with `realhead data`, `realhead track` "
                "or `realhead import`."
            )
        info = read_json(folder / "realhead.json") if (folder / "realhead.json").exists() else {}
        entries = [_entry(folder, e, i) for i, e in enumerate(_frames(folder / "transforms.json"))]
        splits = {}
        for split in ("train", "val", "test"):
            path = folder / f"transforms_{split}.json"
            if path.exists():
                splits[split] = {(e["timestep_index"], _camera_name(e)) for e in _frames(path)}
        return cls(folder, info, entries, splits, head)

    @property
    def head(self) -> Head:
        """The head model that the parameters belong to."""
        if self._head is None:
            from realhead.head import load_head

            if "head" not in self.info:
                raise CaptureError(
                    f"{self.folder} has no realhead.json, so its FLAME edition is unknown: pass head=load_head(...) or "
                    "run `realhead import vhap`."
                )
            self._head = load_head(self.info["head"].get("source", self.info["head"]["name"]))
            if self._head.hash != self.info["head"]["hash"]:
                raise CaptureError(
                    f"{self.folder} was made with head {self.info['head']['hash']} but '{self._head.name}' here is "
                    f"{self._head.hash}: make the capture again, or open it with the head it was made with."
                )
        return self._head

    @property
    def frames(self) -> list[Frame]:
        """All timesteps in order."""
        return [self.frame(t) for t in self.timesteps]

    def frame(self, timestep: int) -> Frame:
        """Parameters of one timestep."""
        return self._frame_cache(timestep)

    @cached_property
    def _frame_cache(self):
        from functools import lru_cache

        return lru_cache(maxsize=4096)(self._read_frame)

    def _read_frame(self, timestep: int) -> Frame:
        entry = next(e for (t, _), e in self._entries.items() if t == timestep)
        path = entry["flame_param_path"]
        data = read_npz(path)
        num_shape = self.info.get("num_shape") or self.head.num_shape
        num_expression = self.info.get("num_expression") or self.head.num_expression
        try:
            rows = ("rotation", "neck_pose", "jaw_pose")
            pose = [data[k].reshape(3) for k in rows] + list(data["eyes_pose"].reshape(2, 3))
            arrays = {
                "shape": data["shape"].reshape(-1)[:num_shape],
                "expression": data["expr"].reshape(-1)[:num_expression],
                "pose": np.stack(pose),
                "translation": data["translation"].reshape(3),
                "eyelids": data["eyelids"].reshape(2) if "eyelids" in data else None,
            }
        except (KeyError, ValueError) as error:
            raise CaptureError(f"{path} is not a FLAME parameter file: {error}; export it again.") from error
        for name, array in arrays.items():
            if array is not None and not np.isfinite(array).all():
                raise CaptureError(f"{path} holds NaN or infinite values in {name}; track this timestep again.")
        tensors = {k: None if a is None else torch.from_numpy(a.astype(np.float32)) for k, a in arrays.items()}
        return Frame(timestep, **tensors)

    def view(self, timestep: int, camera: str) -> View:
        """One picture; a KeyError-free sentence if the capture has no such picture."""
        try:
            entry = self._entries[timestep, camera]
        except KeyError:
            raise CaptureError(f"{self.folder} has no picture of timestep {timestep} by camera {camera}.") from None
        return View(self.frame(timestep), entry["camera"], entry["file_path"], entry["fg_mask_path"])

    def keys(self, split: Split = "all") -> list[tuple[int, str]]:
        """(timestep, camera name) of every picture of a split. Without split files all of them are 'train'."""
        if split == "all" or (split == "train" and not self._splits):
            return sorted(self._entries)
        return sorted(self._splits.get(split, set()) & set(self._entries))

    def views(self, split: Split = "all") -> list[View]:
        """All pictures of a split, by timestep, then camera."""
        return [self.view(*key) for key in self.keys(split)]

    @cached_property
    def neutral(self) -> Frame:
        """The frame with the least expression."""
        return min(self.frames, key=lambda frame: frame.effort)

    @property
    def is_rig(self) -> bool:
        """Whether several cameras see the same timestep (a clip or a few photographs are no rig)."""
        return len(self._entries) > len(self.timesteps)

    def frontal_camera(self, frame: Frame) -> str:
        """Name of the camera that looks the head in the face most directly at this timestep."""
        return self._nearest_camera(frame, 0.0)

    def side_cameras(self, frame: Frame, azimuth: float = math.pi / 4) -> tuple[str, str]:
        """Names of the cameras nearest to `azimuth` radians on the person's left and right."""
        return self._nearest_camera(frame, azimuth), self._nearest_camera(frame, -azimuth)

    def _nearest_camera(self, frame: Frame, azimuth: float) -> str:
        import roma

        world_from_head = roma.rotvec_to_rotmat(frame.pose[0]) @ roma.rotvec_to_rotmat(frame.pose[1])
        wanted = world_from_head @ torch.tensor([math.sin(azimuth), 0.0, math.cos(azimuth)])
        available = {c for t, c in self._entries if t == frame.timestep} or set(self.cameras)

        def closeness(name: str) -> float:
            direction = self.cameras[name].centre - frame.translation
            return float(torch.nn.functional.normalize(direction, dim=0) @ wanted)

        return max(sorted(available), key=closeness)


@dataclass(frozen=True)
class CaptureSet:
    """Many captures: ROOT/<person>/<sequence>/ (or one capture folder); ROOT/split.json names the test people."""

    root: Path
    folders: tuple[Path, ...]
    test_people: frozenset[str]

    @classmethod
    def open(cls, root: str | Path) -> CaptureSet:
        """Finds the captures below `root` (at most two folders down).

        Raises:
            CaptureError: There is none.
        """
        root = Path(root)
        candidates = [root, *sorted(root.glob("*")), *sorted(root.glob("*/*"))]
        folders = tuple(p for p in candidates if (p / "transforms.json").is_file())
        if not folders:
            raise CaptureError(f"{root} holds no capture (a folder with transforms.json). `realhead data` makes some.")
        split = read_json(root / "split.json") if (root / "split.json").exists() else {}
        return cls(root, folders, frozenset(split.get("test", [])))

    def __len__(self) -> int:
        return len(self.folders)

    def __iter__(self) -> Iterator[Capture]:
        return (Capture.open(folder) for folder in self.folders)

    @cached_property
    def _captures(self) -> list[Capture]:
        return list(self)

    def people(self, split: Literal["train", "test", "all"] = "all") -> dict[str, list[Capture]]:
        """Captures by person; 'test' are the people whom split.json holds out, 'train' the others."""
        people: dict[str, list[Capture]] = {}
        for capture in self._captures:
            if split == "all" or (capture.person in self.test_people) == (split == "test"):
                people.setdefault(capture.person, []).append(capture)
        return people


def _frames(path: Path) -> list[dict]:
    frames = read_json(path).get("frames")
    if not isinstance(frames, list) or not frames and path.name == "transforms.json":
        raise CaptureError(f"{path} has no list 'frames'; export the capture again.")
    return frames


def _camera_name(entry: dict) -> str:
    return f"{int(entry.get('camera_index', 0)):02d}"


def _entry(folder: Path, entry: dict, index: int) -> dict:
    """One element of 'frames' with our Camera and absolute paths."""
    try:
        opengl = torch.tensor(entry["transform_matrix"], dtype=torch.float64)
        width, height = int(entry["w"]), int(entry["h"])
        fx, fy, cx = float(entry["fl_x"]), float(entry["fl_y"]), float(entry["cx"])
        cy = height - float(entry["cy"])  # stored flipped
        paths = {"file_path": entry["file_path"], "flame_param_path": entry["flame_param_path"]}
        timestep = int(entry["timestep_index"])
    except (KeyError, TypeError, ValueError) as error:
        raise CaptureError(
            f"{folder / 'transforms.json'}, frame {index}: {error} is missing or malformed; export the capture again."
        ) from error
    finite = all(math.isfinite(v) for v in (fx, fy, cx, cy)) and bool(opengl.isfinite().all())
    if opengl.shape != (4, 4) or not finite or not 0 < width <= 16384 or not 0 < height <= 16384:
        raise CaptureError(
            f"{folder / 'transforms.json'}, frame {index}: the camera is not a finite 4x4 pose with a size."
        )
    world_from_cam = opengl * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)  # OpenGL -> OpenCV axes
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    camera = Camera(K, torch.linalg.inv(world_from_cam).float(), width, height, _camera_name(entry))
    mask = entry.get("fg_mask_path")
    return {
        "timestep_index": timestep,
        "camera": camera,
        "fg_mask_path": inside(folder, mask) if mask else None,
        **{k: inside(folder, p) for k, p in paths.items()},
    }
