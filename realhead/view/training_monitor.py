"""Watch a training run in the browser with nerfview, kept at arm's length.

nerfview 0.1.3 ends the whole process (`os._exit`) when the render function raises, takes a TypeError from inside it for
an old signature, interrupts renders through `sys.settrace` (which slows Python down and blinds debuggers), and starts
with 2048-pixel stills, which a CPU renders for many seconds. The adapter therefore never lets an exception out: an
error becomes a picture with its text, and the next picture is tried as usual. Nothing is traced, and stills are at most
512 pixels high on the CPU. The training loop owns the Gaussians; the monitor reads whatever was given last.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realhead.errors import RealheadError
from realhead.view.server import kernel_server, prepare, quiet, start_server, stop_server

if TYPE_CHECKING:
    from realhead.capture import Camera
    from realhead.splatting.gaussians import Gaussians

Render = Callable[["Gaussians", "Camera"], object]

MAX_CPU_PIXELS = 512
PIXELS_PER_STEP = 256 * 256

logger = logging.getLogger(__name__)


class TrainingMonitor:
    """Shows the newest Gaussians of a run: `monitor.update(step, gaussians)` inside the loop.

    Usable as a context manager, and as the value of a notebook cell.
    """

    def __init__(
        self, render: Render | None = None, port: int = 0, in_kernel: bool = True, max_pixels: int = 0
    ) -> None:
        """Start the server and nerfview's panels.

        Args:
            render: from Gaussians and camera to a picture [H, W, 3]; `realhead.rendering.render` without it.
            port: 0 takes a free port.
            in_kernel: share the notebook kernel's one server.
            max_pixels: height of a still; 512 on the CPU and 1024 on CUDA without it.

        Raises:
            RealheadError: if nerfview or what it needs is not installed.
        """
        viewer_class = _viewer_class()
        self._render = render or _default_render
        self._gaussians: Gaussians | None = None
        self._lock = threading.Lock()
        self._error: str | None = None
        self._last_step: tuple[float, int] | None = None
        self.server = kernel_server(port) if in_kernel else start_server(port)
        folder = Path(tempfile.gettempdir()) / "realhead-monitor"
        with quiet():
            self.viewer = viewer_class(self.server, self.draw, output_dir=folder, mode="training")
        prepare(self.server)  # nerfview's theme brings the share button back
        self.limit_resolution(max_pixels or _default_pixels())

    @property
    def url(self) -> str:
        """Where the monitor is, on this machine only."""
        return f"http://127.0.0.1:{self.server.get_port()}"

    @property
    def error(self) -> str | None:
        """What went wrong in the last picture, or None."""
        return self._error

    @property
    def paused(self) -> bool:
        """Whether somebody pressed Pause: the training loop should wait."""
        return self.viewer.state == "paused"

    def limit_resolution(self, pixels: int) -> None:
        """Height of stills at most `pixels`."""
        state, handle = self.viewer.render_tab_state, self.viewer._rendering_tab_handles.get("viewer_res_slider")
        state.viewer_res = pixels
        if handle is not None:
            handle.max, handle.value = max(pixels, 64), pixels

    def update(self, step: int, gaussians: Gaussians) -> None:
        """Give the newest Gaussians; never raises. Waits only while somebody is turning the head in the browser."""
        with self._lock:
            self._gaussians = gaussians
        now = time.monotonic()
        try:
            if self._last_step is not None:
                seconds = max(now - self._last_step[0], 1e-6)
                steps = max(step - self._last_step[1], 1)
                self.viewer.render_tab_state.num_train_rays_per_sec = steps * PIXELS_PER_STEP / seconds
                self.viewer.update(step, PIXELS_PER_STEP * steps)
        except Exception as error:  # a monitor must not end the run that it watches
            logger.warning("the training monitor could not update: %s", error)
        self._last_step = (now, step)

    def draw(self, camera_state, render_tab_state) -> np.ndarray:
        """nerfview's render function: uint8 [H, W, 3], whatever happens."""
        width, height = _size(render_tab_state)
        try:
            with self._lock:
                gaussians = self._gaussians
            if gaussians is None:
                return message_picture("Waiting for the first step", width, height)
            camera = camera_from(camera_state, width, height)
            picture = _uint8(self._render(gaussians, camera), width, height)
        except Exception as error:  # outside of here it would end the process
            logger.exception("the training monitor could not render")
            self._error = f"{type(error).__name__}: {error}"
            return message_picture(self._error, width, height)
        self._error = None
        return picture

    def stop(self) -> None:
        """End nerfview's threads and the server."""
        for renderer in list(self.viewer._renderers.values()):
            renderer.running = False
            renderer.join(timeout=1.0)
        stop_server(self.server)

    def __enter__(self) -> TrainingMonitor:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.url}" width="100%" height="560" style="border:1px solid #ddd"></iframe>'


def camera_from(camera_state, width: int, height: int) -> Camera:
    """nerfview's camera (OpenCV axes, world_from_cam, vertical fov) as ours."""
    import torch

    from realhead.capture import Camera

    world_from_cam = torch.as_tensor(np.asarray(camera_state.c2w, dtype=np.float32))
    focal = height / (2 * math.tan(float(camera_state.fov) / 2))
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K, torch.linalg.inv(world_from_cam), width, height, "monitor")


def message_picture(text: str, width: int, height: int) -> np.ndarray:
    """A text on white, uint8 [H, W, 3]; wrapped to the width."""
    import textwrap

    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "white")
    lines = textwrap.fill(text[:600], max(width // 7, 8))
    ImageDraw.Draw(image).multiline_text((6, 6), lines, fill=(160, 40, 0))
    return np.asarray(image)


def _viewer_class() -> type:
    """nerfview's viewer without its tracing."""
    try:
        from nerfview import Viewer
    except ImportError as error:
        raise RealheadError(
            f"The training monitor needs nerfview with splines and scipy ({error}): pip install nerfview splines scipy."
        ) from None

    class UntracedViewer(Viewer):
        """Renders to the end: with small stills that is quick enough."""

        def _connect_client(self, client) -> None:
            super()._connect_client(client)
            self._renderers[client.client_id]._may_interrupt_trace = lambda frame, event, arg: None

    return UntracedViewer


def _default_render(gaussians: Gaussians, camera: Camera):
    import torch

    from realhead.rendering import render

    with torch.no_grad():
        return render(gaussians, camera)[0]


def _default_pixels() -> int:
    import torch

    return 1024 if torch.cuda.is_available() else MAX_CPU_PIXELS


def _size(render_tab_state) -> tuple[int, int]:
    """(width, height) that nerfview asks for, at least 16 x 16."""
    prefix = "render" if getattr(render_tab_state, "preview_render", False) else "viewer"
    return tuple(max(int(getattr(render_tab_state, f"{prefix}_{side}")), 16) for side in ("width", "height"))


def _uint8(picture, width: int, height: int) -> np.ndarray:
    """The render's result as uint8 [H, W, 3] of the asked size."""
    from realhead.view.overlays import picture as as_picture

    image = (as_picture(picture) * 255).round().astype(np.uint8)
    if image.shape[:2] != (height, width):
        raise RealheadError(f"The render function gave {image.shape[1]}x{image.shape[0]}, asked for {width}x{height}.")
    return image
