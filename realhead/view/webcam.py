"""Pictures from a webcam in the notebook, or from a clip with the same interface.

    camera = Webcam()          # a cell that shows the camera and a Start button; or VideoSource("clip.mp4")
    async for frame in camera:                      # the newest picture each time; old ones are dropped, never queued
        avatar.render(tracker(frame.image), ...)
        if frame.index == 100: break

The browser asks for consent; pictures travel to the kernel as JPEG buffers over Jupyter's own authenticated connection,
stay in memory, and are forgotten when the next one comes. With ipykernel >= 7 they arrive while a cell is running.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from realhead.errors import RealheadError
from realhead.tracking.video import ClipFrame, read_clip

LARGEST_BYTES = 8_000_000
LARGEST_SIDE = 4096
POLL_SECONDS = 0.005

logger = logging.getLogger(__name__)


class NewestFrame:
    """A mailbox for one picture, safe between threads: a new one replaces the old one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: ClipFrame | None = None
        self._finished = False

    def put(self, frame: ClipFrame) -> None:
        """Replace the picture."""
        with self._changed:
            self._frame = frame
            self._changed.notify_all()

    def finish(self) -> None:
        """No more pictures will come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Whether the source has ended."""
        return self._finished

    def latest(self) -> ClipFrame | None:
        """The newest picture, or None before the first."""
        return self._frame

    def wait(self, after: int = -1, timeout: float = 10.0) -> ClipFrame | None:
        """Block until there is a picture newer than index `after`; None at the end or after `timeout` seconds."""

        def ready() -> bool:
            return self._finished or (self._frame is not None and self._frame.index > after)

        with self._changed:
            self._changed.wait_for(ready, timeout)
            return self._frame if self._frame is not None and self._frame.index > after else None

    async def newer(self) -> AsyncIterator[ClipFrame]:
        """Each picture that is newest when asked for, until the source ends; lets other cells and callbacks run."""
        seen = -1
        while True:
            finished, frame = self._finished, self._frame  # in this order: what came before the end is not lost
            if frame is not None and frame.index > seen:
                seen = frame.index
                yield frame
            elif finished:
                return
            await asyncio.sleep(POLL_SECONDS)


class Webcam(anywidget.AnyWidget):
    """The camera of the computer on which the browser runs. Needs a page at localhost or over https."""

    _esm = Path(__file__).parent / "webcam.js"
    width = traitlets.Int(320).tag(sync=True)
    height = traitlets.Int(240).tag(sync=True)
    frames_per_second = traitlets.Float(15.0).tag(sync=True)
    quality = traitlets.Float(0.85).tag(sync=True)
    state = traitlets.Unicode("stopped").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)

    def __init__(self, width: int = 320, height: int = 240, frames_per_second: float = 15.0, **options) -> None:
        """Make the widget; show it as the value of a cell and press Start.

        Args:
            width: of the pictures, in pixels (the camera's picture is cropped to the shape).
            height: of the pictures, in pixels.
            frames_per_second: at most so many are sent.
            options: further traits.

        Raises:
            RealheadError: for a size or rate out of range.
        """
        self._newest, self._received = NewestFrame(), 0
        if not (16 <= width <= LARGEST_SIDE and 16 <= height <= LARGEST_SIDE and 0.1 <= frames_per_second <= 60):
            raise RealheadError("A webcam takes 16 to 4096 pixels a side and 0.1 to 60 frames per second.")
        super().__init__(width=width, height=height, frames_per_second=frames_per_second, **options)
        self.on_msg(self._receive)

    @property
    def received(self) -> int:
        """How many pictures have come so far."""
        return self._received

    def latest(self) -> ClipFrame | None:
        """The newest picture, or None before the first."""
        return self._newest.latest()

    def wait(self, after: int = -1, timeout: float = 10.0) -> ClipFrame | None:
        """Block until there is a picture newer than index `after`; None after `timeout` seconds (needs ipykernel 7)."""
        return self._newest.wait(after, timeout)

    def __aiter__(self) -> AsyncIterator[ClipFrame]:
        return self._newest.newer()

    def start(self) -> None:
        """Start from code; the browser may still ask the user."""
        self.send({"type": "start"})

    def stop(self) -> None:
        """Switch the camera off."""
        self.send({"type": "stop"})

    def close(self) -> None:
        """Switch the camera off, end waiting loops and forget the widget."""
        self.stop()
        self._newest.finish()
        super().close()

    def _receive(self, _widget, content, buffers) -> None:
        """Runs in Jupyter's message thread: decode, replace, acknowledge (the browser keeps two under way)."""
        if not isinstance(content, dict) or content.get("type") != "frame":
            return
        try:
            if len(buffers) == 1:
                image = decode_jpeg(bytes(buffers[0]))
                self._newest.put(ClipFrame(self._received, float(content.get("time", 0.0)), image))
                self._received += 1
        except (RealheadError, TypeError, ValueError) as error:
            logger.warning("a webcam picture was dropped: %s", error)
        finally:
            self.send({"type": "ack", "number": content.get("number")})


class VideoSource:
    """A clip with the webcam's interface, for people without a camera and for tests.

    Use as a context manager, or call `stop()`.
    """

    def __init__(self, path: str | Path, frames_per_second: float = 15.0, loop: bool = False) -> None:
        """Open a clip; it plays in real time from the first `latest`, `wait` or `async for` on.

        Args:
            path: of the clip.
            frames_per_second: at which pictures come.
            loop: begin again at the end.

        Raises:
            RealheadError: if the file is absent.
        """
        if not Path(path).is_file():
            raise RealheadError(f"{path} does not exist: give the path of a video.")
        self.path, self.frames_per_second, self.loop = Path(path), frames_per_second, loop
        self.state, self.message = "stopped", ""
        self._newest, self._stopped = NewestFrame(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to play; playing twice is no error."""
        if self._thread is None:
            self.state = "running"
            self._thread = threading.Thread(target=self._play, daemon=True, name="realhead-video")
            self._thread.start()

    def stop(self) -> None:
        """Stop playing and end waiting loops."""
        self._stopped.set()
        self._newest.finish()

    close = stop

    def latest(self) -> ClipFrame | None:
        """The newest picture, or None before the first."""
        self.start()
        return self._newest.latest()

    def wait(self, after: int = -1, timeout: float = 10.0) -> ClipFrame | None:
        """Block until there is a picture newer than index `after`; None at the end or after `timeout` seconds."""
        self.start()
        return self._newest.wait(after, timeout)

    def __aiter__(self) -> AsyncIterator[ClipFrame]:
        self.start()
        return self._newest.newer()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _play(self) -> None:
        started, count = time.monotonic(), 0
        try:
            while not self._stopped.is_set():
                for frame in read_clip(self.path, self.frames_per_second):
                    due = started + count / self.frames_per_second
                    if self._stopped.wait(max(due - time.monotonic(), 0.0)):
                        return
                    self._newest.put(ClipFrame(count, count / self.frames_per_second, frame.image))
                    count += 1
                if not self.loop:
                    break
        except RealheadError as error:
            self.state, self.message = "error", str(error)
            logger.warning("%s", error)
        else:
            self.state = "stopped"
        finally:
            self._newest.finish()


def decode_jpeg(data: bytes) -> np.ndarray:
    """A JPEG from the browser as uint8 [H, W, 3].

    Raises:
        RealheadError: for data that is too large or no JPEG.
    """
    from PIL import Image, UnidentifiedImageError

    if len(data) > LARGEST_BYTES:
        raise RealheadError(f"A webcam picture has {len(data)} bytes, more than {LARGEST_BYTES}: lower the quality.")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if max(image.size) > LARGEST_SIDE:
                raise RealheadError(f"A webcam picture is {image.size} pixels large: at most {LARGEST_SIDE} a side.")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise RealheadError(f"A webcam picture is no JPEG ({error}): run the cell again.") from None
