"""Slider panels for notebooks: identity interpolation and expression editing beside a picture.

A panel takes a function from slider values to a picture and shows what it returns. Renders run one at a time in a
worker thread and always with the newest values, so dragging a slider never queues pictures. In a stored or executed
notebook, where nobody drags, the first picture is what remains: the panel's static fallback.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from realhead.errors import RealheadError
from realhead.view.controls import ANGLES, action_sliders, edited_frame
from realhead.view.overlays import picture

if TYPE_CHECKING:
    from torch import Tensor

    from realhead.avatar import Avatar
    from realhead.capture import Camera, Frame

Render = Callable[[dict[str, float]], object]

SHORT_LIST = ("Jaw open", "Smile", "Pucker", "Blink", "Brows up", "Brows down", "Look to the left", "Turn to the left")

logger = logging.getLogger(__name__)


class SliderPanel:
    """Sliders by name, a picture, and an error line; as the value of a cell it draws itself."""

    def __init__(self, render: Render, sliders: Mapping[str, tuple[float, float, float]], columns: int = 2) -> None:
        """Build the panel and render its first picture.

        Args:
            render: from {name: value} to a picture [H, W, 3] (float in [0, 1] or uint8, tensor or array).
            sliders: name -> (low, high, value).
            columns: sliders stand in so many columns.
        """
        import ipywidgets as widgets

        if not sliders:
            raise RealheadError("A slider panel needs at least one slider.")
        self._render = render
        self.error: str | None = None
        self._wanted, self._settled, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._busy = False
        layout = widgets.Layout(width="320px")
        self.sliders = {
            name: widgets.FloatSlider(
                value,
                min=low,
                max=high,
                step=(high - low) / 100,
                description=name,
                layout=layout,
                style={"description_width": "130px"},
                readout_format=".2f",
            )
            for name, (low, high, value) in sliders.items()
        }
        self._start = {name: slider.value for name, slider in self.sliders.items()}
        self._image = widgets.Image(format="png")
        self._trouble = widgets.HTML()
        reset = widgets.Button(description="Reset", layout=widgets.Layout(width="100px"))
        reset.on_click(lambda _: self.reset())
        for slider in self.sliders.values():
            slider.observe(lambda _: self.refresh(), names="value")
        self._draw()
        columns_layout = widgets.Layout(grid_template_columns=f"repeat({columns}, 330px)")
        grid = widgets.GridBox([*self.sliders.values()], layout=columns_layout)
        own_size = widgets.Layout(align_items="flex-start")  # else the picture is stretched to the cell
        self.widget = widgets.VBox([self._image, grid, reset, self._trouble], layout=own_size)

    @property
    def values(self) -> dict[str, float]:
        """Where the sliders stand."""
        return {name: float(slider.value) for name, slider in self.sliders.items()}

    @property
    def png(self) -> bytes:
        """The picture that is shown now."""
        return bytes(self._image.value)

    def refresh(self) -> None:
        """Ask for a new picture; many requests while one is being rendered become one."""
        self._settled.clear()
        with self._lock:
            self._wanted.set()
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, daemon=True, name="realhead-sliders").start()

    def settle(self, timeout: float = 60.0) -> bool:
        """Wait until the picture agrees with the sliders; False after `timeout` seconds."""
        with self._lock:
            if not self._busy:
                return True
        return self._settled.wait(timeout)

    def reset(self) -> None:
        """All sliders back to where they started."""
        for name, slider in self.sliders.items():
            slider.value = self._start[name]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted.is_set():
                    self._busy = False
                    self._settled.set()
                    return
                self._wanted.clear()
            self._draw()

    def _draw(self) -> None:
        try:
            self._image.value, self.error = to_png(self._render(self.values)), None
        except Exception as error:  # shown under the picture; the next move of a slider may well work
            logger.exception("the panel could not render its picture")
            self.error = f"{type(error).__name__}: {error}"
        import html

        self._trouble.value = f"<b>This did not work.</b> {html.escape(self.error)}" if self.error else ""

    def _repr_mimebundle_(self, **options) -> dict:
        """The live widget, and the picture for everything that shows no widgets."""
        from base64 import b64encode

        bundle = self.widget._repr_mimebundle_(**options) or {}
        bundle.pop("text/plain", None)
        return {**bundle, "image/png": b64encode(self.png).decode("ascii"), "text/plain": f"SliderPanel({self.values})"}


def identity_panel(
    render: Callable[[Tensor], object], identities: Sequence[Tensor], names: Sequence[str] | None = None
) -> SliderPanel:
    """Mix identities: one slider per person, weights normalised to sum one.

    Args:
        render: from the mixed identity (same shape as each of `identities`) to a picture.
        identities: what is mixed linearly: shape coefficients, latent codes or feature maps, one per person.
        names: one per person.
    """
    names = list(names or (f"Person {i + 1}" for i in range(len(identities))))
    if len(names) != len(identities) or not identities:
        count = len(identities)
        raise RealheadError(f"There are {count} identities but {len(names)} names: pass one name per identity.")

    def draw(values: dict[str, float]):
        weights = np.array([values[name] for name in names])
        weights = weights / weights.sum() if weights.sum() > 1e-6 else np.full(len(names), 1 / len(names))
        return render(sum(float(w) * identity for w, identity in zip(weights, identities, strict=True)))

    return SliderPanel(draw, {name: (0.0, 1.0, float(i == 0)) for i, name in enumerate(names)})


def expression_panel(
    avatar: Avatar, camera: Camera, frame: Frame | None = None, labels: Sequence[str] | None = None
) -> SliderPanel:
    """Edit an avatar's expression, jaw, gaze and neck.

    Args:
        avatar: to be rendered with `avatar.render`.
        camera: where to look from; a small picture (256 pixels) keeps up with the sliders.
        frame: to start from; the neutral one without it.
        labels: which sliders to show, by their label in `realhead.view.controls`; a short selection without it.
    """
    base = avatar.neutral if frame is None else frame
    actions = {slider.label: slider for slider in action_sliders(avatar.head)}
    angles = {angle.label: angle for angle in ANGLES}
    if labels is None:
        labels = [label for label in SHORT_LIST if label in actions or label in angles]
        labels += [label for label in actions if label not in labels][: max(0, 8 - len(labels))]
    unknown = [label for label in labels if label not in actions and label not in angles]
    if unknown:
        raise RealheadError(f"There is no slider '{unknown[0]}': choose from {', '.join([*actions, *angles])}.")

    def draw(values: dict[str, float]):
        scores = {name: value for label, value in values.items() if label in actions for name in actions[label].actions}
        turned = {label: value for label, value in values.items() if label in angles}
        return avatar.render(edited_frame(avatar.head, base, scores, turned), camera)

    ranges = {label: actions.get(label) or angles[label] for label in labels}
    return SliderPanel(draw, {label: (item.low, item.high, 0.0) for label, item in ranges.items()})


def to_png(image) -> bytes:
    """A picture (see `overlays.picture`) as PNG bytes."""
    from PIL import Image

    stream = BytesIO()
    Image.fromarray((picture(image) * 255).round().astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
