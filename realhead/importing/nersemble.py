"""NeRSemble v2 made ready for the VHAP tracker: 25 pictures a second, a quarter of the size, colours put right.

VHAP's own loader computes the corrected colours and then stores the others, so they are corrected here, and the
calibration that is passed on does nothing. What is written is what VHAP's track_nersemble_v2.py reads with
`--data.n_downsample_rgb` of the same divisor; the steps that follow are written into `track.sh`.
"""

from __future__ import annotations

import importlib
import logging
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from realhead.capture.camera import Camera
from realhead.capture.files import read_json, read_png
from realhead.capture.layout import MAX_SIDE, is_rigid
from realhead.capture.writer import write_json
from realhead.errors import CaptureError, RealheadError
from realhead.importing.colour import correct
from realhead.importing.nersemble_split import NersembleSplit

log = logging.getLogger(__name__)

SERIALS = (
    "222200042", "222200044", "222200046", "222200040", "222200036", "222200048", "220700191", "222200041",
    "222200037", "222200038", "222200047", "222200043", "222200049", "222200039", "222200045", "221501007",
)  # fmt: skip
"""Cameras in VHAP's order; the ninth (index 8) looks the person in the face."""
HEIGHT, WIDTH = 3208, 2200
NATIVE_FPS = 73.0
"""At which the cameras ran; the videos are believed only if they say the same."""
MAX_FRAMES = 20_000
NO_MASKS = "VHAP wants masks: put alpha_maps/cam_SERIAL_NUMBER.jpg beside its pictures, or prepare with --matting."
DONE = ".done.json"
"""Says which cameras of a sequence are finished."""

Matting = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""(picture uint8 [H, W, 3], empty background of the same camera or None) -> alpha uint8 [H, W]."""


@dataclass(frozen=True)
class Preparation:
    """How videos become VHAP's pictures.

    Attributes:
        fps: Pictures a second.
        scale: Divisor of the size.
        native_fps: The videos' true rate; None: 73, unless the file says something near it.
        matting: Makes masks; None leaves them to the user.
    """

    fps: float = 25.0
    scale: int = 4
    native_fps: float | None = None
    matting: Matting | None = None

    @property
    def folder(self) -> str:
        """Where VHAP looks for pictures of this size."""
        return f"images_{self.scale}" if self.scale > 1 else "images"


def read_calibration(person: Path) -> dict[str, Camera]:
    """Cameras of a participant by serial number, at full size.

    Raises:
        CaptureError: A key is absent, a matrix is none, or no known camera is there.
    """
    path = person / "calibration" / "camera_params.json"
    content = read_json(path)
    key = "intrinsics"
    try:
        K = torch.tensor(content[key], dtype=torch.float32)
        key = "world_2_cam"
        poses = {str(s): torch.tensor(m, dtype=torch.float32) for s, m in content[key].items()}
        key = "height or width"
        height, width = int(content.get("height", HEIGHT)), int(content.get("width", WIDTH))
        if not 0 < height <= MAX_SIDE or not 0 < width <= MAX_SIDE:
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise CaptureError(f"{path}: '{key}' is missing or malformed; download the calibration again.") from None
    for serial, pose in poses.items():
        if not is_rigid(pose):
            raise CaptureError(f"{path}: camera {serial} has no finite rigid pose; download the calibration again.")
    if K.shape != (3, 3) or not K.isfinite().all() or not set(SERIALS) & set(poses):
        raise CaptureError(
            f"{path}: 'intrinsics' are not finite 3x3 numbers, or 'world_2_cam' has none of NeRSemble's sixteen "
            "cameras; download the calibration again."
        )
    order = [s for s in SERIALS if s in poses]
    return {s: Camera(K, poses[s], width, height, f"{SERIALS.index(s):02d}") for s in order}


def prepare(source: Path, out: Path, split: NersembleSplit, how: Preparation | None = None) -> Path:
    """Writes VHAP's input for all participants and sequences of a split; what is finished is kept.

    Args:
        source: NeRSemble's folder.
        out: VHAP's root folder.
        split: Whom to take.
        how: Rate, size, masks.

    Raises:
        CaptureError: There is nobody to prepare.
    """
    how = how or Preparation()
    people = [*split.train, *split.test]
    if not people:
        raise CaptureError(
            f"{source} holds no participant with all of {', '.join(split.sequences)}: download them with "
            "`nersemble-data download`, or change the split file."
        )
    if how.matting is None:
        log.warning(NO_MASKS)
    failures: list[str] = []
    for person in people:
        try:
            cameras = read_calibration(source / person)
            colours = read_colours(source / person)
            _write_calibration(out / person, cameras)
        except CaptureError as error:
            failures.append(str(error))
            continue
        for sequence in split.sequences:
            failures += _prepare_sequence(source / person, out / person, sequence, cameras, colours, how)
    for sentence in failures[:20]:
        log.warning("left out: %s", sentence)
    write_json(out / "import.json", {"from": str(source), "left_out": failures, "test": list(split.test)})
    (out / "track.sh").write_text(_steps(out, split, how), encoding="utf-8")
    return out


def read_colours(person: Path) -> dict[str, np.ndarray]:
    """Colour matrices of a participant by serial number.

    Raises:
        CaptureError: The file is absent or malformed.
    """
    path = person / "calibration" / "color_calibration.json"
    try:
        return {str(serial): np.array(matrix, np.float64) for serial, matrix in read_json(path).items()}
    except CaptureError:
        raise
    except (TypeError, ValueError) as error:
        raise CaptureError(f"{path} is malformed ({error}); download the calibration again.") from None


def _write_calibration(person: Path, cameras: dict[str, Camera]) -> None:
    first = next(iter(cameras.values()))
    (person / "calibration").mkdir(parents=True, exist_ok=True)
    poses = {serial: camera.cam_from_world.tolist() for serial, camera in cameras.items()}
    content = {"world_2_cam": poses, "intrinsics": first.K.tolist(), "height": first.height, "width": first.width}
    write_json(person / "calibration" / "camera_params.json", content)
    nothing = {serial: np.eye(3).tolist() for serial in cameras}  # the pictures are corrected already
    write_json(person / "calibration" / "color_calibration.json", nothing)


def _prepare_sequence(person: Path, out: Path, sequence: str, cameras, colours, how: Preparation) -> list[str]:
    """Pictures of one sequence; returns a sentence per camera that failed, which another run will try again."""
    target = out / "sequences" / sequence
    folder = target / how.folder
    folder.mkdir(parents=True, exist_ok=True)
    done, failures = _finished(target, how), []
    for serial in (serial for serial in cameras if serial not in done):
        try:
            if serial not in colours:
                raise CaptureError(
                    f"{person / 'calibration' / 'color_calibration.json'} lacks camera {serial}: download it again."
                )
            for old in target.glob(f"*/cam_{serial}_*.jpg"):  # of a run that was stopped, or of another rate
                old.unlink()
            _prepare_video(person, sequence, serial, colours[serial], target, folder, how)
            done.append(serial)
            write_json(target / DONE, {"fps": how.fps, "scale": how.scale, "cameras": done})
        except CaptureError as error:
            failures.append(str(error))
    return failures


def _finished(target: Path, how: Preparation) -> list[str]:
    """Cameras whose pictures are there, at this rate and size."""
    note = read_json(target / DONE) if (target / DONE).is_file() else {}
    return list(note.get("cameras", [])) if (note.get("fps"), note.get("scale")) == (how.fps, how.scale) else []


def _prepare_video(person: Path, sequence, serial, colour, target: Path, folder: Path, how: Preparation) -> None:
    from PIL import Image

    video = person / "sequences" / sequence / "images" / f"cam_{serial}.mp4"
    background = _background(person, serial, how)
    for number, picture in enumerate(sampled(video, how)):
        if background is not None and background.shape != picture.shape:
            background = np.asarray(Image.fromarray(background).resize(picture.shape[1::-1], Image.Resampling.BOX))
        name = f"cam_{serial}_{number:06d}.jpg"
        if how.matting is not None:
            (target / "alpha_maps").mkdir(exist_ok=True)
            Image.fromarray(how.matting(picture, background)).save(target / "alpha_maps" / name, quality=98)
        Image.fromarray(correct(picture, colour)).save(folder / name, quality=98, subsampling=0)


def _background(person: Path, serial: str, how: Preparation) -> np.ndarray | None:
    path = person / "sequences" / "BACKGROUND" / f"image_{serial}.jpg"
    return read_png(path, 3) if how.matting is not None and path.is_file() else None


def sampled(video: Path, how: Preparation) -> Iterator[np.ndarray]:
    """Pictures of a video at another rate and size, one in memory at a time.

    Args:
        video: A video file.
        how: Rate and size. Pictures are averaged down over whole blocks.

    Raises:
        CaptureError: The file is absent or damaged.
    """
    import av
    from PIL import Image

    if not video.is_file():
        raise CaptureError(f"{video} is absent: download it with `nersemble-data download`.")
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            step = rate_of(float(stream.average_rate or 0), how.native_fps) / how.fps
            wanted = 0
            for index, frame in enumerate(container.decode(stream)):
                if index < round(wanted * step):
                    continue
                if wanted >= MAX_FRAMES or frame.width * frame.height > 64_000_000:
                    raise CaptureError(f"{video} is longer or larger than any of NeRSemble's; it is not read on.")
                image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                size = image.width // how.scale, image.height // how.scale
                yield np.asarray(image.resize(size, Image.Resampling.BOX))
                wanted += 1
    except (av.FFmpegError, IndexError, ValueError) as error:
        if isinstance(error, RealheadError):
            raise
        raise CaptureError(f"{video} cannot be decoded ({error}): download it again.") from None


def rate_of(stated: float, native: float | None) -> float:
    """The true rate of a video: what the user says; else what the file says, if that is near 73; else 73.

    Recordings at 73 pictures a second are often stored as if they were 24, 25 or 30, to be played slowly.
    """
    if native is not None:
        return native
    return stated if abs(stated - NATIVE_FPS) < 2 else NATIVE_FPS


def matting_by_name(name: str) -> Matting | None:
    """ "none", "difference" (against the empty background), or a function of the user's as module:function.

    Raises:
        RealheadError: There is no such thing.
    """
    if name == "none":
        return None
    if name == "difference":
        return difference_matting
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError):
        raise RealheadError(
            f"There is no matting '{name}': use none, difference, or module:function of a function (picture, "
            "background) -> alpha that can be imported here."
        ) from None


def difference_matting(picture: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """A simple mask: how far a pixel is from the empty background, smoothed; for real work, plug in a network."""
    import cv2

    if background is None:
        raise CaptureError(
            "Matting by difference needs BACKGROUND/image_<serial>.jpg: download the sequence BACKGROUND."
        )
    distance = np.abs(picture.astype(np.float32) - background).max(-1)
    soft = cv2.GaussianBlur(distance, (0, 0), 1.5)
    alpha = np.clip((soft - 12) / 24, 0, 1)
    solid = cv2.morphologyEx((alpha > 0.5).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return (255 * np.maximum(alpha, solid)).astype(np.uint8)


def _steps(out: Path, split: NersembleSplit, how: Preparation) -> str:
    """What to run next: VHAP, its export, and the import of that."""
    lines = ["#!/bin/sh", "# Run this in a clone of VHAP (it needs CUDA); then import what it exports.", "set -e"]
    if how.matting is None:
        lines.append(f"# {NO_MASKS}")
    smaller = f" --data.n_downsample_rgb {how.scale}" if how.scale > 1 else ""
    for person in (*split.train, *split.test):
        for sequence in split.sequences:
            name = f"{person}_{sequence}_v16_DS{how.scale}"
            lines.append(
                f"python vhap/track_nersemble_v2.py --data.root_folder {shlex.quote(str(out.resolve()))} "
                f"--exp.output_folder 'output/nersemble_v2/{name}' --data.subject {person} "
                f"--data.sequence '{sequence}'{smaller} --model.no_use_static_offset"
            )
            lines.append(
                f"python vhap/export_as_nerf_dataset.py --src_folder 'output/nersemble_v2/{name}' --tgt_folder "
                f"'export/nersemble_v2/{name}_whiteBg_maskBelowLine' --background-color white"
            )
    lines.append("echo 'realhead import vhap export/nersemble_v2 --head flame2023.pkl --out data/nersemble'")
    return "\n".join(lines) + "\n"
