"""Clips, frame by frame: any frame rate becomes an even one by the frames' own timestamps, and nothing fills memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realhead.errors import TrackingError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".ogv"})


@dataclass(frozen=True)
class ClipFrame:
    """One frame of an evenly resampled clip.

    Attributes:
        index: Number in the resampled clip.
        time: Seconds since the first frame.
        image: sRGB, upright, uint8 [H, W, 3].
    """

    index: int
    time: float
    image: np.ndarray


def read_clip(path: str | Path, fps: float = 25.0, longest: float | None = None) -> Iterator[ClipFrame]:
    """Streams a clip at an even rate: each tick gets the frame whose time is nearest.

    Args:
        path: A video file that FFmpeg reads.
        fps: Frames per second wanted; frames are repeated or left out, never blended.
        longest: Stop after so many seconds.

    Yields:
        Frames in order.

    Raises:
        TrackingError: The file is absent, damaged or holds no picture.
    """
    previous: tuple[float, np.ndarray] | None = None
    index = 0
    for time, image in _decoded(Path(path)):
        if previous is not None:
            # Ticks that lie nearer to the previous frame than to this one belong to it.
            while index / fps < (previous[0] + time) / 2:
                if longest is not None and index / fps > longest:
                    return
                yield ClipFrame(index, index / fps, previous[1])
                index += 1
        previous = (time, image)
    if previous is None:
        raise TrackingError(f"{path} holds no video frame: check that it plays, or record it again.")
    while index / fps <= previous[0] + 1e-6 and (longest is None or index / fps <= longest):
        yield ClipFrame(index, index / fps, previous[1])
        index += 1


def _decoded(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Frames with their times from zero on, as the file stores them."""
    import av

    if not path.is_file():
        raise TrackingError(f"{path} does not exist: give the path of a video.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrackingError(f"{path} holds no video: give a clip with pictures.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate, start, last = float(stream.average_rate or 25), None, -1.0
            for count, frame in enumerate(container.decode(stream)):
                time = count / rate if frame.time is None else frame.time
                start = time if start is None else start
                if time - start <= last:  # a broken timestamp must not stop the clock
                    continue
                last = time - start
                yield last, _upright(frame)
    except av.error.FFmpegError as error:
        raise TrackingError(f"{path} cannot be read as a video ({error.strerror}): save it again as MP4.") from error


def _upright(frame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image
