"""The viewer's panels. Each holds viser handles and offers plain values; none of them computes anything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realhead.view.attributes import COLOURINGS
from realhead.view.controls import ANGLES, action_sliders
from realhead.view.splats import numpy

if TYPE_CHECKING:
    import viser

    from realhead.capture import Camera
    from realhead.head.model import Head
    from realhead.splatting.gaussians import Gaussians

FRUSTUM_COLOUR = (0, 114, 178)


class ExpressionPanel:
    """Sliders for actions, jaw, gaze and neck, the sequence's timestep, and a reset button."""

    def __init__(self, server: viser.ViserServer, head: Head, num_frames: int, changed: Callable[[], None]) -> None:
        gui = server.gui
        self._timestep = self._mouth = None
        if num_frames > 0:
            self._timestep = gui.add_slider("Timestep", min=0, max=max(num_frames - 1, 1), step=1, initial_value=0)
            self._mouth = gui.add_checkbox(
                "Mouth map of the picture",
                False,
                hint="Used while no slider below is moved.",
            )
            for handle in (self._timestep, self._mouth):
                handle.on_update(lambda _: changed())
            self._last = num_frames - 1
        self._sliders = action_sliders(head)
        self._actions: list[viser.GuiSliderHandle] = []
        self._angles: dict[str, viser.GuiSliderHandle] = {}
        groups = dict.fromkeys([*(angle.group for angle in ANGLES), *(slider.group for slider in self._sliders)])
        for group in groups:
            with gui.add_folder(group):
                for angle in (angle for angle in ANGLES if angle.group == group):
                    self._angles[angle.label] = gui.add_slider(
                        f"{angle.label}, °", min=angle.low, max=angle.high, step=0.5, initial_value=0
                    )
                for slider in (slider for slider in self._sliders if slider.group == group):
                    self._actions.append(
                        gui.add_slider(slider.label, min=slider.low, max=slider.high, step=0.02, initial_value=0.0)
                    )
        self._sliders.sort(key=lambda slider: list(groups).index(slider.group))
        for handle in (*self._angles.values(), *self._actions):
            handle.on_update(lambda _: changed())
        gui.add_button("Reset the expression").on_click(lambda _: self.reset())

    @property
    def timestep(self) -> int:
        """Index of the frame the sliders start from."""
        return 0 if self._timestep is None else min(int(self._timestep.value), self._last)

    @property
    def mouth_map(self) -> bool:
        """Whether the driving picture's mouth map is wanted."""
        return self._mouth is not None and bool(self._mouth.value)

    @property
    def actions(self) -> dict[str, float]:
        """Score by action name, zeros left out."""
        pairs = zip(self._sliders, self._actions, strict=True)
        return {name: float(handle.value) for slider, handle in pairs if handle.value for name in slider.actions}

    @property
    def angles(self) -> dict[str, float]:
        """Degrees by label, zeros left out."""
        return {label: float(handle.value) for label, handle in self._angles.items() if handle.value}

    def set(self, label: str, value: float) -> None:
        """Move a slider from code; its callback runs as if a hand had moved it."""
        labels = {slider.label: handle for slider, handle in zip(self._sliders, self._actions, strict=True)}
        (labels | self._angles)[label].value = value

    def reset(self) -> None:
        """All sliders back to zero."""
        for handle in (*self._angles.values(), *self._actions):
            if handle.value:
                handle.value = 0.0


class LookPanel:
    """Colouring, mesh, filters, saving, and a line for trouble."""

    def __init__(
        self,
        server: viser.ViserServer,
        largest_scale: float,
        changed: Callable[[], None],
        gaussians: Callable[[], Gaussians],
    ) -> None:
        gui, self._gaussians = server.gui, gaussians
        self._colouring = gui.add_dropdown("Colour by", COLOURINGS, initial_value="colour")
        self._legend = gui.add_markdown("")
        self._splats = gui.add_checkbox("Gaussians", True)
        self._mesh = gui.add_dropdown("Mesh", ("off", "wireframe", "solid"), initial_value="off")
        with gui.add_folder("Show only"):
            self._opacity = gui.add_slider("Opacity at least", min=0.0, max=1.0, step=0.01, initial_value=0.0)
            top = float(np.ceil(largest_scale * 10) / 10)
            self._scale = gui.add_slider("Largest scale to, mm", min=0.0, max=top, step=0.1, initial_value=top)
            self._top = top
        for handle in (self._colouring, self._splats, self._mesh, self._opacity, self._scale):
            handle.on_update(lambda _: changed())
        gui.add_button("Save these Gaussians as .ply").on_click(self._save)
        self._trouble = gui.add_markdown("", visible=False)

    @property
    def colouring(self) -> str:
        """One of `COLOURINGS`."""
        return self._colouring.value

    @colouring.setter
    def colouring(self, name: str) -> None:
        self._colouring.value = name

    @property
    def mesh(self) -> str:
        """off, wireframe or solid."""
        return self._mesh.value

    @mesh.setter
    def mesh(self, style: str) -> None:
        self._mesh.value = style

    @property
    def splats(self) -> bool:
        """Whether the Gaussians are drawn at all."""
        return bool(self._splats.value)

    @property
    def min_opacity(self) -> float:
        """Gaussians below this opacity are hidden."""
        return float(self._opacity.value)

    @min_opacity.setter
    def min_opacity(self, value: float) -> None:
        self._opacity.value = value

    @property
    def max_scale(self) -> float:
        """Gaussians with a larger scale (mm) are hidden; the slider's end means no limit."""
        return np.inf if self._scale.value >= self._top else float(self._scale.value)

    def explain(self, legend: str, shown: int, total: int) -> None:
        """Say what the colours mean and how many Gaussians are left."""
        self._legend.content = f"{legend}\n\n{shown:,} of {total:,} Gaussians"

    def say(self, trouble: str | None) -> None:
        """Show an error, or take it away."""
        self._trouble.content = f"**This did not work.** {trouble}" if trouble else ""
        self._trouble.visible = bool(trouble)

    def _save(self, event: viser.GuiEvent) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "head.ply"
            self._gaussians().save_ply(path)
            event.client.send_file_download("head.ply", path.read_bytes())


class InspectPanel:
    """What is known about the clicked Gaussian."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._text = server.gui.add_markdown("Click on the head to inspect the Gaussian you see there.")

    @property
    def text(self) -> str:
        """The Markdown that is shown."""
        return self._text.content

    def write(self, markdown: str) -> None:
        """Show a description."""
        self._text.content = markdown


class CameraPanel:
    """The capture's cameras as frusta; a click on one, or its name in the list, moves the eye there."""

    def __init__(self, server: viser.ViserServer, cameras: list[Camera], target: np.ndarray) -> None:
        self._target = target
        self._visible = server.gui.add_checkbox("Show cameras", False)
        names = [camera.name for camera in cameras]
        self._jump = server.gui.add_dropdown("Look through", ("my own", *names), initial_value="my own")
        self._frusta = [self._frustum(server, camera) for camera in cameras]
        by_name = dict(zip(names, cameras, strict=True))

        @self._visible.on_update
        def _(_) -> None:
            for frustum in self._frusta:
                frustum.visible = self._visible.value

        @self._jump.on_update
        def _(event: viser.GuiEvent) -> None:
            for name, frustum in zip(names, self._frusta, strict=True):  # the one looked through would frame the view
                frustum.visible = self._visible.value and name != self._jump.value
            if event.client is not None and self._jump.value in by_name:
                self.jump(event.client, by_name[self._jump.value])

    def _frustum(self, server: viser.ViserServer, camera: Camera) -> viser.CameraFrustumHandle:
        from viser.transforms import SO3

        world_from_cam = np.linalg.inv(numpy(camera.cam_from_world))
        frustum = server.scene.add_camera_frustum(
            f"/cameras/{camera.name}",
            fov=field_of_view(camera),
            aspect=camera.width / camera.height,
            scale=0.04,
            thickness=1.5,
            thickness_units="screen",
            color=FRUSTUM_COLOUR,
            visible=False,
            wxyz=SO3.from_matrix(world_from_cam[:3, :3]).wxyz,
            position=world_from_cam[:3, 3],
        )
        frustum.on_click(lambda event: self.jump(event.client, camera))
        return frustum

    def jump(self, client: viser.ClientHandle, camera: Camera) -> None:
        """Put a client's eye where the camera is, with its direction, up and vertical field of view."""
        world_from_cam = np.linalg.inv(numpy(camera.cam_from_world))
        position, down, forward = world_from_cam[:3, 3], world_from_cam[:3, 1], world_from_cam[:3, 2]
        distance = max(float((self._target - position) @ forward), 0.1)
        with client.atomic():
            client.camera.up_direction = -down
            client.camera.position = position
            client.camera.look_at = position + distance * forward
            client.camera.fov = field_of_view(camera)


def field_of_view(camera: Camera) -> float:
    """Vertical field of view in radians (viser's fov)."""
    return float(2 * np.arctan2(camera.height / 2, float(camera.K[1, 1])))
