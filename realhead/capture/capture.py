"""The capture on disk: one person in one sequence, seen by one or more cameras.

The layout is the export of the VHAP tracker (images, fg_masks, flame_param, transforms*.json) with `realhead.json`
beside it, which names the head that the parameters belong to; `realhead.capture.layout` reads it. Frames that cannot be
used are left out and listed in `Capture.broken`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from realhead.capture.camera import Camera
from realhead.capture.files import picture_size, read_json
from realhead.capture.frame import Frame, View
from realhead.capture.layout import Entry, read_entries, read_frame, read_info, read_smirk, read_split
from realhead.errors import CaptureError

if TYPE_CHECKING:
    from realhead.head.model import Head

__all__ = ["Capture", "CaptureSet", "Frame", "Split", "View"]
Split = Literal["train", "val", "test", "all"]
_log = logging.getLogger(__name__)


class Capture:
    """One person in one sequence. Open it with `Capture.open(folder)`; everything is read when it is first asked for.

    Attributes:
        folder: Where it lies.
        info: The content of realhead.json (empty if the file is absent).
        person: The person's name.
        sequence: The sequence's name.
        cameras: Cameras by name.
        entries: Pictures by (timestep, camera name), broken frames included.
        parameter_files: Parameter file by timestep, the same.
        splits: (timestep, camera name) of the pictures of each split that has a file.
        broken: One sentence for every frame that is left out.
    """

    def __init__(
        self, folder: Path, info: dict, entries: list[Entry], splits: dict[str, set], head: Head | None,
        broken: tuple[str, ...] = (),
    ):  # fmt: skip
        """Use `Capture.open`."""
        self.folder, self.info, self._head = folder, info, head
        self.broken: list[str] = list(broken)
        self.person = info.get("person", folder.parent.name)
        self.sequence = info.get("sequence", folder.name)
        self.entries = {(e.timestep, e.camera.name): e for e in entries}
        self.splits = splits
        self.parameter_files: dict[int, Path] = {}
        self.cameras: dict[str, Camera] = {}
        for entry in entries:
            self.cameras.setdefault(entry.camera.name, entry.camera)
            self.parameter_files.setdefault(entry.timestep, entry.parameters)

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
        info = read_info(folder / "realhead.json")
        entries, broken = read_entries(folder)
        for sentence in broken:
            _log.warning("left out: %s", sentence)
        paths = {split: folder / f"transforms_{split}.json" for split in ("train", "val", "test")}
        splits = {split: read_split(path) for split, path in paths.items() if path.exists()}
        return cls(folder, info, entries, splits, head, tuple(broken))

    @property
    def head(self) -> Head:
        """The head model that the parameters belong to."""
        if self._head is None:
            if not self.info.get("head", {}).get("name"):
                raise CaptureError(
                    f"{self.folder} has no realhead.json, so its FLAME edition is unknown: pass head=load_head(...) or "
                    "run `realhead import vhap`."
                )
            from realhead.head import shared_head

            self._head = shared_head(self.info["head"].get("source", self.info["head"]["name"]))
            if self._head.hash != (made_with := self.info["head"].get("hash", self._head.hash)):
                raise CaptureError(
                    f"{self.folder} was made with head {made_with} but '{self._head.name}' here is "
                    f"{self._head.hash}: make the capture again, or open it with the head it was made with."
                )
        return self._head

    @cached_property
    def timesteps(self) -> list[int]:
        """Timesteps whose parameters can be read, in order; the others are listed in `broken`."""
        good = []
        _ = self._counts  # an unknown head is not the frames' fault
        for timestep in sorted(self.parameter_files):
            try:
                self.frame(timestep)
                good.append(timestep)
            except CaptureError as error:
                self.broken.append(str(error))
                _log.warning("left out: %s", error)
        if not good:
            raise CaptureError(f"No frame of {self.folder} can be used, the first because: {self.broken[0]}")
        return good

    @property
    def frames(self) -> list[Frame]:
        """All usable timesteps in order."""
        return [self.frame(t) for t in self.timesteps]

    def frame(self, timestep: int) -> Frame:
        """Parameters of one timestep."""
        return self._frame_cache(timestep)

    @cached_property
    def _frame_cache(self):
        return lru_cache(maxsize=4096)(self._read_frame)

    @cached_property
    def _counts(self) -> tuple[int, int]:
        """Identity and expression coefficients of the head."""
        known = self.info.get("num_shape"), self.info.get("num_expression")
        return known if all(isinstance(n, int) and n > 0 for n in known) else self._head_counts()

    def _head_counts(self) -> tuple[int, int]:
        return self.head.num_shape, self.head.num_expression

    def _read_frame(self, timestep: int) -> Frame:
        if timestep not in self.parameter_files:
            raise CaptureError(f"{self.folder} has no timestep {timestep}.")
        frame = read_frame(self.parameter_files[timestep], timestep, *self._counts)
        try:
            return replace(frame, smirk=read_smirk(self.smirk_file(timestep)))
        except CaptureError as error:  # the tracker's own expression serves as well
            _log.warning("%s", error)
            return frame

    def smirk_file(self, timestep: int) -> Path:
        """Where SMIRK's expression of a timestep is kept, if it was run."""
        return self.folder / "smirk" / f"{timestep:05d}.npz"

    def view(self, timestep: int, camera: str) -> View:
        """One picture; a KeyError-free sentence if the capture has no such picture."""
        try:
            entry = self.entries[timestep, camera]
        except KeyError:
            raise CaptureError(f"{self.folder} has no picture of timestep {timestep} by camera {camera}.") from None
        return View(self.frame(timestep), entry.camera, entry.image, entry.mask, entry.mouth)

    def keys(self, split: Split = "all") -> list[tuple[int, str]]:
        """(timestep, camera name) of every picture of a split. Without split files all of them are 'train'."""
        return self._usable_keys[split]

    @cached_property
    def _usable_keys(self) -> dict[str, list[tuple[int, str]]]:
        good = set(self.timesteps)
        everything = {key for key in self.entries if key[0] in good}
        splits = self.splits or {"train": everything}
        chosen = {split: sorted(splits.get(split, set()) & everything) for split in ("train", "val", "test")}
        return chosen | {"all": sorted(everything)}

    def views(self, split: Split = "all") -> list[View]:
        """All pictures of a split, by timestep, then camera."""
        return [self.view(*key) for key in self.keys(split)]

    @cached_property
    def neutral(self) -> Frame:
        """The frame with the least expression whose pictures are all there."""
        ranked = sorted(self.frames, key=lambda frame: frame.effort)
        return next((frame for frame in ranked if self._has_pictures(frame.timestep)), ranked[0])

    def _has_pictures(self, timestep: int) -> bool:
        try:
            for entry in (e for (t, _), e in self.entries.items() if t == timestep):
                for path in (entry.image, entry.mask, entry.mouth):
                    if path is not None:
                        picture_size(path)
        except CaptureError as error:
            _log.warning("not taken as neutral: %s", error)
            return False
        return True

    @property
    def is_rig(self) -> bool:
        """Whether several cameras see the same timestep (a clip or a few photographs are no rig)."""
        return len(self.entries) > len(self.parameter_files)

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
        names = sorted({c for t, c in self.entries if t == frame.timestep} or set(self.cameras))
        directions = torch.stack([self.cameras[name].centre for name in names]) - frame.translation
        return names[int((torch.nn.functional.normalize(directions, dim=1) @ wanted).argmax())]


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

    def __reduce__(self):
        """What was read stays behind: another process reads it anew."""
        return CaptureSet, (self.root, self.folders, self.test_people)

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
