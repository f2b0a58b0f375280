"""A camera of this machine: its pictures with their times, and a recording of them to be tracked as a clip.

The notebooks' `realhead.view.webcam.Webcam` reads the camera of the browser instead. Nothing leaves the machine; a
recording lies in a temporary folder and is removed when its capture stands.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from realhead.errors import TrackingError
from realhead.tracking.video import ClipFrame

log = logging.getLogger(__name__)

SECONDS = 10.0
"""Length of a recording when nobody says."""
WIDTH, HEIGHT, RATE = 640, 480, 30
PATIENCE = 5.0
"""Seconds that a camera may take to give its first picture, or the next."""
_MILLISECONDS = 1000


def webcam_number(source: str | Path) -> int | None:
    """Number of the camera that a source names ("webcam" is 0, "webcam:1" is 1), or None for anything else."""
    match = re.fullmatch(r"webcam(?::(\d{1,2}))?", str(source))
    return None if match is None else int(match[1] or 0)


def webcam_frames(number: int = 0, seconds: float | None = None) -> Iterator[ClipFrame]:
    """Pictures of a camera as they come; the camera is switched off when the loop ends.

    Args:
        number: Which camera of the machine.
        seconds: How long; without end when None.

    Yields:
        Frames with the time since the first.

    Raises:
        TrackingError: There is no such camera, it is busy or denied, or it stops giving pictures.
    """
    camera = _opened(number)
    try:
        start, index, last = None, 0, time.monotonic()
        while True:
            good, picture = camera.read()
            now = time.monotonic()
            if not good:
                if now - last > PATIENCE:
                    raise TrackingError(
                        f"Camera {number} gives no pictures: close other programs that use it, or plug it in again."
                    )
                time.sleep(0.01)
                continue
            start, last = now if start is None else start, now
            if seconds is not None and now - start > seconds:
                return
            yield ClipFrame(index, now - start, np.ascontiguousarray(picture[..., ::-1]))
            index += 1
    finally:
        camera.release()


def record(path: Path, number: int = 0, seconds: float | None = None, progress: bool = True) -> Path:
    """Records a camera into a file, each picture at the time when it came; Ctrl-C ends the recording early.

    Args:
        path: The file, .mp4.
        number: Which camera of the machine.
        seconds: How long; `SECONDS` when None.
        progress: Whether a bar is drawn on stderr.

    Raises:
        TrackingError: As `webcam_frames`; or not one picture came.
    """
    seconds = seconds or SECONDS
    log.info("Recording camera %d for %g s: look into it with a calm face first, then move and talk.", number, seconds)
    frames = webcam_frames(number, seconds)
    try:
        with tqdm(total=round(seconds, 1), unit="s", desc="webcam", disable=not progress) as bar:
            _encode(path, frames, bar)
    except KeyboardInterrupt:
        log.info("The recording was ended.")
    finally:
        frames.close()
    if not path.is_file():
        raise TrackingError(f"Nothing was recorded by camera {number}: let it run for some seconds.")
    return path


def _encode(path: Path, frames: Iterator[ClipFrame], bar: tqdm) -> None:
    """Writes frames at their own times, nearly without loss."""
    import av

    container = stream = None
    last = -1
    try:
        for frame in frames:
            height, width = (extent // 2 * 2 for extent in frame.image.shape[:2])  # H.264 takes even sides
            if container is None:
                container = av.open(str(path), "w")
                stream = container.add_stream("libx264", rate=RATE)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "14", "preset": "ultrafast"}
                stream.codec_context.time_base = Fraction(1, _MILLISECONDS)
            picture = av.VideoFrame.from_ndarray(frame.image[:height, :width], format="rgb24")
            last = picture.pts = max(last + 1, round(frame.time * _MILLISECONDS))
            picture.time_base = Fraction(1, _MILLISECONDS)
            container.mux(stream.encode(picture))
            bar.update(round(frame.time, 3) - bar.n)
    finally:
        if container is not None:
            container.mux(stream.encode(None))
            container.close()


def _opened(number: int):
    """The camera, or a sentence that says why not."""
    import cv2

    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)  # what it would print is said below in one sentence
    camera = cv2.VideoCapture(number)
    if camera.isOpened():
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, WIDTH)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited
        return camera
    camera.release()
    raise TrackingError(_why_not(number))


def _why_not(number: int) -> str:
    device = Path(f"/dev/video{number}")
    if sys.platform.startswith("linux") and not device.exists():
        return f"This machine has no camera {number} ({device} is absent): plug one in, or give photographs or a video."
    if sys.platform.startswith("linux") and not _readable(device):
        return f"Camera {number} is denied ({device} may not be read): add your user to the group `video`."
    return (
        f"Camera {number} is busy, denied or absent: close other programs that use it and allow the terminal to use "
        "the camera in the system's privacy settings."
    )


def _readable(device: Path) -> bool:
    import os

    return os.access(device, os.R_OK | os.W_OK)
