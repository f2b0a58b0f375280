"""Driving: a tracked sequence moves an avatar; a side-by-side clip shows driver, avatar and a novel view (IV-C2)."""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from realhead.avatar import Avatar
from realhead.capture.camera import Camera
from realhead.capture.capture import Capture, Frame, View
from realhead.condition.store import driving_view
from realhead.errors import RealheadError
from realhead.note import SYNTHETIC

CLIP_KINDS = (".mp4", ".gif")


@dataclass(frozen=True)
class DrivenFrame:
    """One timestep of a driven avatar.

    Attributes:
        view: The driving picture.
        frame: The parameters that moved the avatar.
        driver: The driving picture, [H, W, 3].
        avatar: The avatar seen by the driving camera, [H, W, 3].
        novel: The avatar seen from the side, [H, W, 3].
    """

    view: View
    frame: Frame
    driver: Float[Tensor, "h w 3"]
    avatar: Float[Tensor, "h w 3"]
    novel: Float[Tensor, "h w 3"]

    def side_by_side(self) -> np.ndarray:
        """Driver, avatar and novel view as one uint8 picture."""
        return to_uint8(torch.cat([self.driver, self.avatar, self.novel], 1))


def relative_frame(frame: Frame, driver_neutral: Frame, avatar_neutral: Frame) -> Frame:
    """Transfers the difference to the driver's neutral onto the avatar's own neutral (for another person's clip)."""
    expression = avatar_neutral.expression + frame.expression - driver_neutral.expression
    jaw = avatar_neutral.pose[2] + frame.pose[2] - driver_neutral.pose[2]
    pose = frame.pose.clone()
    pose[2] = jaw
    return replace(frame, expression=expression, pose=pose, smirk=None)


def orbited(camera: Camera, frame: Frame, azimuth: float) -> Camera:
    """The camera moved around the head by `azimuth` radians about the vertical axis."""
    turn = torch.eye(4)
    turn[:3, :3] = roma.rotvec_to_rotmat(torch.tensor([0.0, azimuth, 0.0]))
    to_head, back = torch.eye(4), torch.eye(4)
    to_head[:3, 3], back[:3, 3] = -frame.translation, frame.translation
    return replace(camera, cam_from_world=camera.cam_from_world @ back @ turn.T @ to_head)


def driven_frames(
    avatar: Avatar,
    capture: Capture,
    *,
    split: str = "all",
    mouth: bool = True,
    relative: bool = False,
    novel_azimuth: float = math.radians(35),
) -> Iterator[DrivenFrame]:
    """Drives an avatar by a capture's frontal pictures, one timestep at a time.

    Args:
        avatar: Who is moved.
        capture: Who moves.
        split: Which timesteps.
        mouth: Whether the mouth map is used; without, the 3DMM alone moves the mouth.
        relative: Transfer expression differences instead of expressions; right for another person's clip. Across people
            the mouth map carries the driver's teeth and lips along (the paper's limitation).
        novel_azimuth: How far the novel view turns around the head, radians.
    """
    if capture.head.hash != avatar.head.hash:
        raise RealheadError(f"{capture.folder} was tracked with another head than the avatar's: track it again.")
    rest = avatar.neutral.to("cpu")
    for timestep in sorted({t for t, _ in capture.keys(split)}):
        view = driving_view(capture, timestep)
        frame = relative_frame(view.frame, capture.neutral, rest) if relative else view.frame
        gaussians_mouth = avatar.mouth_map(view) if mouth else None
        cameras = view.camera, orbited(view.camera, frame, novel_azimuth)
        own, novel = (avatar.render(frame, camera, gaussians_mouth).cpu() for camera in cameras)
        yield DrivenFrame(view, frame, view.image(), own, novel)


def drive(
    avatar: Avatar, capture: Capture, out: str | Path, *, fps: int = 25, progress: bool = True, **options
) -> Path:
    """Writes the side-by-side clip (driver | avatar | novel view).

    Args:
        avatar: Who is moved.
        capture: Who moves.
        out: An .mp4 (or .gif) path.
        fps: Frames a second.
        progress: Whether a bar is shown on stderr.
        **options: As in `driven_frames`.

    Raises:
        RealheadError: As `write_video`, or the capture has another head than the avatar.
    """
    total = len({t for t, _ in capture.keys(options.get("split", "all"))})
    frames = driven_frames(avatar, capture, **options)
    bar = tqdm(frames, total=total, desc="driving", disable=not progress, file=sys.stderr, leave=False)
    return write_video((frame.side_by_side() for frame in bar), out, fps)


def write_video(pictures: Iterable[np.ndarray], out: str | Path, fps: int = 25) -> Path:
    """Writes uint8 pictures to a clip; the file appears when it is complete. It is marked as synthetic media.

    Args:
        pictures: [H, W, 3] each.
        out: An .mp4 or .gif path; its folder is made.
        fps: Frames a second, at least 1.

    Raises:
        RealheadError: Neither .mp4 nor .gif, no frames a second, or a clip that could not be written in full.
    """
    out = Path(out)
    if out.suffix not in CLIP_KINDS:
        raise RealheadError(f"{out} is no name for a clip: end it with {' or '.join(CLIP_KINDS)}.")
    if fps < 1:
        raise RealheadError(f"A clip of {fps} frames a second cannot be made: it must be at least 1.")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}{out.name}")
    try:
        (_write_mp4 if out.suffix == ".mp4" else _write_gif)(pictures, temporary, fps)
        os.replace(temporary, out)
    except OSError as error:
        raise RealheadError(
            f"{out} could not be written in full: free some space or choose another folder, and run the command again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return out


def _write_gif(pictures: Iterable[np.ndarray], path: Path, fps: int) -> None:
    """In memory first: the writer leaves tracebacks behind when a disk is full."""
    import imageio.v2 as imageio

    content = BytesIO()
    with imageio.get_writer(content, format="gif", duration=1000 / fps) as writer:
        for picture in pictures:
            writer.append_data(picture)
    comment = b"\x21\xfe" + bytes([len(SYNTHETIC)]) + SYNTHETIC.encode() + b"\x00"
    path.write_bytes(content.getvalue()[:-1] + comment + b"\x3b")  # before the trailer


def _write_mp4(pictures: Iterable[np.ndarray], path: Path, fps: int) -> None:
    """Counts what arrived in the file: a full disk at the end of a clip is an error of ffmpeg that nobody raises."""
    import imageio.v2 as imageio

    marked = ["-metadata", f"comment={SYNTHETIC}"]
    options = {"macro_block_size": 2, "ffmpeg_log_level": "fatal", "output_params": marked}
    count = 0
    with imageio.get_writer(path, fps=fps, **options) as writer:
        for picture in pictures:
            writer.append_data(picture)
            count += 1
    if _stored_frames(path) != count:
        raise OSError(errno.EIO, "not all frames were stored", str(path))


def _stored_frames(path: Path) -> int:
    import av

    try:
        with av.open(str(path)) as clip:
            return clip.streams.video[0].frames
    except av.FFmpegError:
        return -1


def to_uint8(image: Float[Tensor, "h w 3"]) -> np.ndarray:
    """A picture in [0, 1] as uint8."""
    return (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
