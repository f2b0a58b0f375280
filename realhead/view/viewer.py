"""The live viewer: an avatar's Gaussians in the browser, with sliders, mesh, cameras, colouring and click-to-inspect.

The browser draws the splats itself (no GPU needed here); this side recomputes the Gaussians when a slider moves. Slider
callbacks only say "something changed"; one worker thread does the work and always takes the newest state, so moving a
slider quickly never queues old positions.
"""

from __future__ import annotations

import logging
import threading
import webbrowser
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from realhead.view.attributes import Surface, colour_by, posed_vertices, scales
from realhead.view.controls import edited_frame
from realhead.view.notebook import still
from realhead.view.panels import CameraPanel, ExpressionPanel, InspectPanel, LookPanel
from realhead.view.picking import describe, ellipsoid, pick
from realhead.view.server import kernel_server, start_server, stop_server
from realhead.view.splats import add_splats, numpy, update_splats
from realhead.view.widgets import to_png

if TYPE_CHECKING:
    import viser
    from torch import Tensor

    from realhead.avatar import Avatar
    from realhead.capture import Capture, Frame
    from realhead.splatting.gaussians import Gaussians

SPLATS, MESH, CHOSEN = "/gaussians", "/mesh", "/chosen"
MESH_COLOUR, CHOSEN_COLOUR = (120, 160, 200), (213, 94, 0)

_living: list[Viewer] = []  # none, or the viewer on this kernel's server

logger = logging.getLogger(__name__)


def view(avatar: Avatar, capture: Capture | None = None, port: int = 0, open_browser: bool = True) -> Viewer:
    """Open the viewer on http://127.0.0.1; `viewer.wait()` blocks until Ctrl-C.

    Args:
        avatar: whose Gaussians to show.
        capture: adds its cameras as frusta and its frames as a sequence to play.
        port: 0 takes a free port; a busy one raises RealheadError.
        open_browser: open a tab.
    """
    viewer = Viewer(avatar, capture, start_server(port))
    if open_browser:
        webbrowser.open(viewer.url)
    return viewer


def live(avatar: Avatar, capture: Capture | None = None, height: int = 640) -> Viewer:
    """The viewer inside a notebook; as the value of a cell it draws itself. One server per kernel is kept.

    Args:
        avatar: whose Gaussians to show.
        capture: adds its cameras and frames.
        height: of the frame in pixels.
    """
    while _living:
        _living.pop().retire()  # its panels are emptied by kernel_server; its worker would wait for ever
    _living.append(Viewer(avatar, capture, kernel_server(), height=height))
    return _living[0]


class Viewer:
    """One avatar on one server. `refresh()` asks for new Gaussians; `frame` and `gaussians` are what is shown now."""

    def __init__(self, avatar: Avatar, capture: Capture | None, server: viser.ViserServer, height: int = 640) -> None:
        self.avatar, self.capture, self.server, self.height = avatar, capture, server, height
        self.frame: Frame = avatar.neutral
        self.gaussians: Gaussians = self._gaussians_of(self.frame)
        self.surface: Surface | None = self._surface_of(self.frame)
        self.viewpoint: np.ndarray | None = None
        self.shown = np.ones(len(self.gaussians.means), dtype=bool)
        self.chosen: int | None = None
        self.error: str | None = None
        self._changed, self._settled, self._stopped = threading.Event(), threading.Event(), threading.Event()
        self._scene_lock = threading.RLock()
        self._mesh_style, self._mouth_used = "off", False
        self._start_camera()
        self._build_panels()
        self.splats = add_splats(server.scene, SPLATS, self.gaussians)
        server.scene.on_click()(self._on_click)
        self._worker = threading.Thread(target=self._work, daemon=True, name="realhead-viewer")
        self._worker.start()
        self.refresh()

    @property
    def url(self) -> str:
        """Where the viewer is, on this machine only."""
        return f"http://127.0.0.1:{self.server.get_port()}"

    def refresh(self) -> None:
        """Something changed: bring the browser up to date soon."""
        self._settled.clear()
        self._changed.set()

    def settle(self, timeout: float = 60.0) -> bool:
        """Wait until the browser has been sent the newest state; False after `timeout` seconds."""
        return self._settled.wait(timeout)

    def wait(self) -> None:
        """Block until Ctrl-C, then stop."""
        try:
            while not self._stopped.wait(0.5):
                pass
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """Close the server and end the worker."""
        self.retire()
        stop_server(self.server)

    def retire(self) -> None:
        """End the worker and leave the server to others."""
        self._stopped.set()
        self._changed.set()
        self._worker.join(timeout=10.0)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _repr_mimebundle_(self, **_) -> dict:
        """The live page, and for every reader without this kernel a still picture."""
        frame = f'<iframe src="{self.url}" width="100%" height="{self.height}" style="border:1px solid #ddd"></iframe>'
        return {
            "text/html": f"{frame}<p>Live viewer at {self.url}; needs this kernel.</p>",
            "image/png": b64encode(to_png(still(self.gaussians))).decode("ascii"),
            "text/plain": "Viewer",
        }

    def _start_camera(self) -> None:
        middle = np.median(numpy(self.gaussians.means), axis=0)
        camera = self.server.initial_camera
        camera.look_at, camera.position = tuple(middle), tuple(middle + [0.0, 0.0, 0.75])
        camera.up, camera.fov, camera.near = (0.0, 1.0, 0.0), 0.5, 0.02

    def _build_panels(self) -> None:
        tabs = self.server.gui.add_tab_group()
        with tabs.add_tab("Expression"):
            frames = [] if self.capture is None else list(self.capture.frames)
            self.expression = ExpressionPanel(self.server, self.avatar.head, len(frames), self.refresh)
            self._frames = frames
        with tabs.add_tab("Look"):
            self.look = LookPanel(self.server, self._largest_scale(), self.refresh, lambda: self.gaussians)
        with tabs.add_tab("Inspect"):
            self.inspect = InspectPanel(self.server)
        if self.capture is not None:
            with tabs.add_tab("Cameras"):
                middle = np.median(numpy(self.gaussians.means), axis=0)
                self.cameras = CameraPanel(self.server, list(self.capture.cameras.values()), middle)

    def _largest_scale(self) -> float:
        return float(scales(self.gaussians)[:, 2].max()) * 1000

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._changed.wait()
            self._changed.clear()
            if self._stopped.is_set():
                return
            try:
                self._update()
                self.error = None
            except Exception as error:  # a wrong slider must not end the viewer: say it in the panel and go on
                logger.exception("the viewer could not follow its sliders")
                self.error = f"{type(error).__name__}: {error}"
            if self._stopped.is_set():
                return
            self.look.say(self.error)
            if not self._changed.is_set():
                self._settled.set()

    def _update(self) -> None:
        base = self._frames[self.expression.timestep] if self._frames else self.avatar.neutral
        base = replace(base, shape=self.avatar.neutral.shape)
        frame = edited_frame(self.avatar.head, base, self.expression.actions, self.expression.angles)
        mouth_wanted = self.expression.mouth_map and not (self.expression.actions or self.expression.angles)
        with self._scene_lock:
            if not _same(frame, self.frame) or mouth_wanted != self._mouth_used:
                gaussians = self._gaussians_of(frame, self._mouth_of(frame) if mouth_wanted else None)
                self.gaussians, self.surface, self.frame = gaussians, self._surface_of(frame), frame
                self._mouth_used = mouth_wanted
            self.viewpoint = self._viewpoint()
            colouring = colour_by(self.look.colouring, self.gaussians, self.surface, self.viewpoint)
            largest = scales(self.gaussians)[:, 2] * 1000
            self.shown = (numpy(self.gaussians.opacities) >= self.look.min_opacity) & (largest <= self.look.max_scale)
            self.look.explain(colouring.legend, int(self.shown.sum()), len(self.shown))
            self.splats.visible = self.look.splats
            update_splats(self.splats, self.gaussians, colouring.rgbs, self.shown)
            self._draw_mesh()
            self._draw_chosen()

    def _gaussians_of(self, frame: Frame, mouth: Tensor | None = None) -> Gaussians:
        import torch

        with torch.no_grad():
            return self.avatar.gaussians(frame, mouth)

    def _mouth_of(self, frame: Frame) -> Tensor:
        """The mouth map of the capture's frontal picture at this timestep."""
        from realhead.condition.store import driving_view

        return self.avatar.mouth_map(driving_view(self.capture, frame.timestep))

    def _surface_of(self, frame: Frame) -> Surface | None:
        surface = Surface.of(self.avatar, frame)
        return surface if len(surface.face) == len(self.gaussians.means) else None

    def _viewpoint(self) -> np.ndarray:
        """Where somebody's camera is now; the start camera before anyone has looked."""
        clients = list(self.server.get_clients().values())
        newest = max(clients, key=lambda client: client.camera.update_timestamp, default=None)
        if newest is None or newest.camera.update_timestamp == 0:
            return np.asarray(self.server.initial_camera.position, dtype=np.float32)
        return np.asarray(newest.camera.position, dtype=np.float32)

    def _draw_mesh(self) -> None:
        style = self.look.mesh
        if style == "off":
            if self._mesh_style != "off":
                self.server.scene.remove_by_name(MESH)
        else:
            vertices, faces = posed_vertices(self.avatar, self.frame), numpy(self.avatar.head.faces).astype(np.uint32)
            self.server.scene.add_mesh_simple(
                MESH, vertices, faces, color=MESH_COLOUR, wireframe=style == "wireframe", side="double"
            )
        self._mesh_style = style

    def _draw_chosen(self) -> None:
        if self.chosen is None or self.chosen >= len(self.gaussians.means):
            return
        vertices, faces = ellipsoid(self.gaussians, self.chosen)
        self.server.scene.add_mesh_simple(CHOSEN, vertices, faces, color=CHOSEN_COLOUR, wireframe=True)
        self.inspect.write(describe(self.gaussians, self.chosen, self.surface))

    def _on_click(self, event: viser.SceneClickEvent) -> None:
        with self._scene_lock:
            found = pick(self.gaussians, np.array(event.ray_origin), np.array(event.ray_direction), self.shown)
            self.chosen = found
            if found is None:
                self.server.scene.remove_by_name(CHOSEN)
                self.inspect.write("Nothing there: click on the head.")
            else:
                self._draw_chosen()


def _same(a: Frame, b: Frame) -> bool:
    return a is b or (
        a.timestep == b.timestep and bool((a.expression == b.expression).all()) and bool((a.pose == b.pose).all())
    )
