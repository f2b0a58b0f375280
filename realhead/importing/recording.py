"""What every reader of a foreign format returns, and the one way in which it becomes a capture on disk.

A reader keeps what is good and says of every other frame, in a sentence, what is wrong with it; a recording with one
broken frame is imported without that frame.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from realhead.capture.camera import Camera
from realhead.capture.files import picture_size
from realhead.capture.frame import Frame
from realhead.capture.writer import CaptureWriter, write_json
from realhead.errors import CaptureError
from realhead.head.model import Head

log = logging.getLogger(__name__)

Picture = tuple[np.ndarray, np.ndarray]
"""uint8 [H, W, 3] on white, and uint8 [H, W], the mask."""


@dataclass(frozen=True)
class Shot:
    """One picture: a timestep seen by a camera."""

    timestep: int
    camera: Camera
    image: Path
    mask: Path | None = None


@dataclass
class Recording:
    """One person in one sequence, in whatever format.

    Attributes:
        kind: The format's name.
        folder: Where it lies.
        person: The person's name.
        sequence: The sequence's name.
        head: The head of the parameters.
        frames: Parameters by timestep.
        shots: Pictures.
        decode: Reads a shot whose files are not yet what a capture holds (on white, with a mask); None where they are.
        mouth: Where a shot's segmentation saw the mouth, bool [H, W], None where it has none; or None for all.
        broken: One sentence for every frame that cannot be used.
        notes: What the reader found and a user should know.
        splits: (timestep, camera index) of "train", "val" and "test"; None for VHAP's split.
        source: Written into realhead.json.
    """

    kind: str
    folder: Path
    person: str
    sequence: str
    head: Head
    frames: dict[int, Frame]
    shots: list[Shot]
    decode: Callable[[Shot], Picture] | None = None
    mouth: Callable[[Shot], np.ndarray | None] | None = None
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, set[tuple[int, int]]] | None = None
    source: dict = field(default_factory=dict)

    def picture(self, shot: Shot) -> Picture:
        """Picture on white and mask of a shot.

        Raises:
            CaptureError: A file is damaged, or of another size than the camera's.
        """
        from realhead.capture.files import read_png

        if self.decode is not None:
            image, mask = self.decode(shot)
        else:
            image = read_png(shot.image, 3)
            mask = np.full(image.shape[:2], 255, np.uint8) if shot.mask is None else read_png(shot.mask, 1)[..., 0]
        for what, array in ((shot.image, image), (shot.mask or shot.image, mask)):
            require_size(what, array.shape[1::-1], shot.camera)
        return image, mask


def require_size(path: Path, size: tuple[int, int], camera: Camera) -> None:
    """Refuses a picture of another size than its camera's."""
    if tuple(size) != (camera.width, camera.height):
        raise CaptureError(
            f"{path} is {size[0]}x{size[1]} pixels but its camera says {camera.width}x{camera.height}: the calibration "
            "is of another resolution; export again."
        )


def write(recording: Recording, out: Path, head_file: Path | None, tracking: str) -> Path:
    """Writes a recording as a capture OUT/person/sequence; a finished one there is kept as it is.

    Args:
        recording: What a reader returned.
        out: Folder of the capture set.
        head_file: The head's file, named in realhead.json so that the capture finds it again; None for the free head.
        tracking: Kind of the parameters: exact, studio, wild or photo.

    Returns:
        The capture's folder.

    Raises:
        CaptureError: Not a single frame is good.
    """
    folder = out / recording.person / recording.sequence
    if (folder / "realhead.json").exists():
        log.info("%s is there already and is kept", folder)
        return folder
    if folder.exists():
        shutil.rmtree(folder)  # left half made by an import that was stopped
    cameras = {shot.camera.name: shot.camera for shot in recording.shots}
    writer = CaptureWriter(
        folder, recording.head, [cameras[name] for name in sorted(cameras)], person=recording.person,
        sequence=recording.sequence, tracking=tracking, source=recording.source,
    )  # fmt: skip
    if head_file is not None:
        writer.info["head"]["source"] = str(head_file.resolve())
    broken, written = list(recording.broken), 0
    for shot in _progress(recording):
        try:
            _add(writer, recording, shot)
            written += 1
        except CaptureError as error:
            broken.append(str(error))
    if not written:
        raise CaptureError(f"No frame of {recording.folder} can be used, the first because: {_first(broken)}")
    writer.info["source"] |= {"format": recording.kind, "left_out": len(broken)}
    splits = recording.splits
    if splits is not None:
        kept = set(writer.written)
        splits = {name: keys & kept for name, keys in splits.items()}
    write_json(folder / "import.json", {"from": str(recording.folder), "notes": recording.notes, "left_out": broken})
    for sentence in broken[:20]:
        log.warning("left out: %s", sentence)
    return writer.close(splits)


def _first(broken: list[str]) -> str:
    return broken[0] if broken else "it holds none."


def _add(writer: CaptureWriter, recording: Recording, shot: Shot) -> None:
    frame = recording.frames.get(shot.timestep)
    if frame is None:
        raise CaptureError(f"{shot.image} has no parameters (timestep {shot.timestep}): track it, or remove it.")
    if recording.decode is not None:
        mouth = None if recording.mouth is None else recording.mouth(shot)
        writer.add(frame, shot.camera, *recording.picture(shot), mouth)
        return
    for path in (shot.image, shot.mask):
        if path is not None:
            require_size(path, picture_size(path), shot.camera)
    writer.add_files(frame, shot.camera, shot.image, shot.mask)


def _progress(recording: Recording):
    from tqdm import tqdm

    return tqdm(recording.shots, unit="img", desc=f"{recording.person} {recording.sequence}", mininterval=1.0)
