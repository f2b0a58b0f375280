"""INSTA's folders and metrical-tracker's output: one person before one camera.

Traps that are undone here: transforms.json is camera-to-world with OpenCV axes although it looks like a Blender file;
the tracker turns the camera instead of the head; its frame k is the video's frame k + 1 (INSTA's names follow the
tracker, FlashAvatar's follow the video); clothes (code 90 of the segmentation) are cut out of picture and mask.
What the segmentation calls mouth is kept beside the masks: it is left out of identity textures.

The head's motion is put back into the head, before one camera that stands still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.files import inside, read_json, read_png
from realhead.capture.frame import Frame
from realhead.errors import CaptureError, OutsideError
from realhead.head.model import Head
from realhead.importing.recording import Picture, Recording, Shot, require_size
from realhead.importing.tracker_files import TrackedFrame, frame_files, read_tracked_frame
from realhead.importing.vhap import safe_name

log = logging.getLogger(__name__)

EDITION = "2020"
CLOTHES, MOUTH = 90, (120, 130, 140)
"""Codes in the red channel of the segmentation (BiSeNet's colours)."""
GROWN = 3
"""Pixels by which clothes are grown before they are cut, as INSTA does."""
TEST_SIZES = (350, 500, 600)
"""Frames at the end that test: INSTA's own scripts, FlashAvatar, and SynShot and the paper."""
VALIDATION = 20
SHIFTS = (-2, -1, 1, 2)
SAME_POSE = 1e-3


@dataclass(frozen=True)
class Layout:
    """Where a folder keeps pictures, and how its numbers follow from the tracker's.

    Attributes:
        name: Whose layout it is.
        images: Picture by tracker number.
        alphas: Mask by tracker number; empty where pictures have an alpha channel.
        parsing: Segmentation by tracker number; may be empty.
        mouths: Segmentation that shows the mouth by tracker number; may be empty.
        poses: world_from_cam by tracker number, if the folder has them.
    """

    name: str
    images: dict[int, Path]
    alphas: dict[int, Path]
    parsing: dict[int, Path]
    mouths: dict[int, Path]
    poses: dict[int, Float[Tensor, "4 4"]]


def read_insta(folder: Path, head: Head, tracker: Path | None = None, last: int = 600) -> Recording:
    """Reads one actor.

    Args:
        folder: INSTA's folder (with transforms.json) or FlashAvatar's (with imgs/).
        head: FLAME 2020, the tracker's.
        tracker: Folder of the .frame files; looked for in the folder and its neighbours when None.
        last: Frames at the end that test.

    Raises:
        CaptureError: Nothing in it can be used.
    """
    files = _tracker_files(folder, tracker)
    layout = read_layout(folder)
    recording = Recording(f"{layout.name} with metrical-tracker", folder, safe_name(folder.resolve().name), "video",
                          head, {}, [])  # fmt: skip
    tracked: dict[int, TrackedFrame] = {}
    for number, path in files.items():
        try:
            tracked[number] = read_tracked_frame(path)
        except CaptureError as error:
            recording.broken.append(str(error))
    if not tracked:
        raise CaptureError(f"No .frame of {folder} can be used, the first because: {recording.broken[0]}")
    shift = _pose_shift(layout, tracked)
    if shift:
        recording.notes.append(
            f"transforms.json is {shift:+d} frames out of step with the .frame files; the .frame files are believed."
        )
    _place(recording, layout, tracked)
    recording.decode, recording.mouth = _decoder(layout), _mouth_reader(layout)
    recording.splits = split_by_last([shot.timestep for shot in recording.shots], last)
    recording.source = {"tracker": "metrical-tracker", "flame": EDITION, "test": f"last {last} frames"}
    return recording


def _tracker_files(folder: Path, tracker: Path | None) -> dict[int, Path]:
    name = folder.resolve().name
    places = [tracker] if tracker else [folder, folder.parent / "output" / name, folder.parent.parent / "output" / name]
    for place in places:
        if place is not None and (files := frame_files(place)):
            return files
    raise CaptureError(
        f"{folder} comes without parameters: pass the folder of metrical-tracker's .frame files with --tracker (its "
        f"output/{name}/checkpoint)."
    )


def read_layout(folder: Path) -> Layout:
    """Finds out whose folder it is and lists its pictures.

    Raises:
        CaptureError: It is neither INSTA's nor FlashAvatar's.
    """
    if (folder / "transforms.json").is_file():
        return _insta_layout(folder)
    if (folder / "imgs").is_dir():
        return _flash_layout(folder)
    raise CaptureError(f"{folder} is no INSTA folder (transforms.json, images/) and none of FlashAvatar's (imgs/).")


def _insta_layout(folder: Path) -> Layout:
    images, parsing, poses = {}, {}, {}
    frames = read_json(folder / "transforms.json").get("frames")
    if not isinstance(frames, list) or not frames:
        raise CaptureError(
            f"{folder / 'transforms.json'} has no list 'frames': run INSTA's scripts/transforms.py again."
        )
    for index, raw in enumerate(frames):
        try:
            path, matrix = inside(folder, raw["file_path"]), torch.tensor(raw["transform_matrix"], dtype=torch.float32)
            number = int(path.stem)
        except OutsideError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            log.warning("left out: %s, frame %d: %s is missing or malformed.", folder / "transforms.json", index, error)
            continue
        images[number] = path if path.suffix else path.with_suffix(".png")
        if matrix.shape == (4, 4) and matrix.isfinite().all():
            poses[number] = matrix
        segment = raw.get("seg_mask_path")
        segment = inside(folder, segment) if segment else folder / "seg_mask" / f"{number:05d}.png"
        if segment.is_file():
            parsing[number] = segment
    return Layout("INSTA", images, {}, parsing, parsing, poses)


def _flash_layout(folder: Path) -> Layout:
    """FlashAvatar numbers pictures as the video does: one more than the tracker."""

    def by_number(name: str, suffix: str = "") -> dict[int, Path]:
        found = {p.stem.removesuffix(suffix): p for p in (folder / name).glob("*.*") if p.stem.endswith(suffix)}
        return {int(stem) - 1: inside(folder, f"{name}/{p.name}") for stem, p in found.items() if stem.isdecimal()}

    parsing, mouths = (by_number("parsing", part) for part in ("_neckhead", "_mouth"))
    return Layout("FlashAvatar", by_number("imgs"), by_number("alpha"), parsing, mouths, {})


def _pose_shift(layout: Layout, tracked: dict[int, TrackedFrame]) -> int:
    """By how many frames the poses of transforms.json run behind the .frame files; 0 where they agree."""

    def distance(shift: int) -> float:
        pairs = [(layout.poses[n + shift], tracked[n].camera) for n in tracked if n + shift in layout.poses]
        if not pairs:
            return float("inf")
        return float(np.median([(pose @ camera.cam_from_world - torch.eye(4)).abs().max() for pose, camera in pairs]))

    if not layout.poses or distance(0) < SAME_POSE:
        return 0
    best = min(SHIFTS, key=distance)
    return best if distance(best) < SAME_POSE else 0


def _place(recording: Recording, layout: Layout, tracked: dict[int, TrackedFrame]) -> None:
    """Frames and shots before one camera that stands still: the first frame's."""
    still = next(iter(tracked.values())).camera
    for number, frame in tracked.items():
        if number not in layout.images:
            recording.broken.append(f"{recording.folder} has no picture of tracker frame {number}: extract it again.")
            continue
        recording.frames[number] = moving_head(recording.head, frame, still)
        camera = Camera(frame.camera.K, still.cam_from_world, frame.camera.width, frame.camera.height, "00")
        recording.shots.append(Shot(number, camera, layout.images[number], layout.alphas.get(number)))
    extra = sorted(set(layout.images) - set(tracked))
    recording.broken += [f"{layout.images[n]} has no .frame ({n:05d}.frame): track it, or remove it." for n in extra]


def moving_head(head: Head, tracked: TrackedFrame, still: Camera) -> Frame:
    """The frame as seen by a camera that stands still: what the tracker's camera did, the head does the other way.

    The root turns about its own joint J: a rigid motion (R, t) of the head is the root rotation R and the translation
    R J + t - J.
    """
    motion = torch.linalg.inv(still.cam_from_world.double()) @ tracked.camera.cam_from_world.double()
    rotation, offset = motion[:3, :3], motion[:3, 3]
    shape, expression = tracked.shape, tracked.expression
    joint = head.joints(head_coefficients(shape, head.num_shape)[None],
                        head_coefficients(expression, head.num_expression)[None])[0, 0].double()  # fmt: skip
    root = roma.rotmat_to_rotvec(rotation).float()
    pose = torch.stack([root, torch.zeros(3), tracked.jaw, *tracked.eyes])
    translation = (rotation @ joint + offset - joint).float()
    return Frame(
        tracked.number, head_coefficients(shape, head.num_shape), head_coefficients(expression, head.num_expression),
        pose, translation, tracked.eyelids,
    )  # fmt: skip


def head_coefficients(values: Tensor, count: int) -> Tensor:
    """The head's coefficients out of a file's, which may hold more as long as those are zero.

    Raises:
        CaptureError: They are not: the file belongs to another head.
    """
    if values[count:].any():
        raise CaptureError(f"The parameters have more than {count} coefficients: they belong to another head.")
    return values[:count]


def _decoder(layout: Layout) -> Callable[[Shot], Picture]:
    def decode(shot: Shot) -> Picture:
        if shot.mask is None:
            pixels = read_png(shot.image, 4)
            colour, alpha = pixels[..., :3], pixels[..., 3].astype(np.float32) / 255
        else:
            colour, alpha = read_png(shot.image, 3), read_png(shot.mask, 1)[..., 0].astype(np.float32) / 255
            if alpha.shape != colour.shape[:2]:
                raise CaptureError(f"{shot.mask} has another size than {shot.image}: matte it again.")
        if (path := layout.parsing.get(shot.timestep)) is not None:
            keep = kept_by_parsing(read_png(path, 3), layout.name)
            if keep.shape != alpha.shape:
                raise CaptureError(f"{path} has another size than {shot.image}: parse the face again.")
            alpha = alpha * keep
        white = colour * alpha[..., None] + 255 * (1 - alpha[..., None])
        return (white + 0.5).astype(np.uint8), (255 * alpha + 0.5).astype(np.uint8)

    return decode


def _mouth_reader(layout: Layout) -> Callable[[Shot], np.ndarray | None]:
    def mouth(shot: Shot) -> np.ndarray | None:
        path = layout.mouths.get(shot.timestep)
        if path is None:
            return None
        seen = mouth_of(read_png(path, 3), layout.name)
        require_size(path, seen.shape[::-1], shot.camera)
        return seen

    return mouth


def kept_by_parsing(segmentation: np.ndarray, layout: str) -> np.ndarray:
    """What a segmentation leaves of the picture: everything but grown clothes (INSTA), or head and neck (FlashAvatar).

    Args:
        segmentation: uint8 [H, W, 3].
        layout: "INSTA" or "FlashAvatar".

    Returns:
        float32 [H, W] of zeros and ones.
    """
    import cv2

    if layout == "FlashAvatar":
        return (segmentation[..., 0] > 127).astype(np.float32)
    clothes = (segmentation[..., 0] == CLOTHES).astype(np.uint8)
    return 1 - cv2.dilate(clothes, np.ones((3, 3), np.uint8), iterations=GROWN).astype(np.float32)


def mouth_of(segmentation: np.ndarray, layout: str) -> np.ndarray:
    """The mouth's pixels (lips and inside) of a segmentation, bool [H, W]; arguments as of `kept_by_parsing`."""
    return segmentation[..., 0] > 127 if layout == "FlashAvatar" else np.isin(segmentation[..., 0], MOUTH)


def split_by_last(timesteps: list[int], last: int) -> dict[str, set[tuple[int, int]]]:
    """INSTA's split: the last frames test, the twenty before them validate, the others train.

    Args:
        timesteps: All of them.
        last: How many test. A clip that is too short for it tests on its last third.
    """
    order = sorted(timesteps)
    if last < 1:
        raise CaptureError(
            f"The last {last} frames cannot test: choose one of {TEST_SIZES}, or another positive number."
        )
    if last + VALIDATION >= len(order):
        log.warning("%d frames are too few for testing on %d: the last third tests", len(order), last)
        last = max(1, len(order) // 3)
    validation = VALIDATION if len(order) - last > 2 * VALIDATION else 0
    cuts = len(order) - last - validation, len(order) - last
    parts = {"train": order[: cuts[0]], "val": order[cuts[0] : cuts[1]], "test": order[cuts[1] :]}
    return {name: {(t, 0) for t in part} for name, part in parts.items()}
