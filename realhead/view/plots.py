"""Figures for notebooks and reports: picture grids, UV maps, histograms. Every function returns its figure.

Figures are closed for pyplot before they are returned, so a notebook shows each once: as the value of its cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from realhead.errors import RealheadError
from realhead.view.attributes import Attribute, attributes
from realhead.view.overlays import picture
from realhead.view.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from realhead.splatting.gaussians import Gaussians
    from realhead.view.attributes import Surface

INCHES = 2.0
DPI = 96


def grid(
    images: Sequence | Mapping,
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    row_labels: Sequence[str] | None = None,
    inches: float = INCHES,
) -> Figure:
    """Pictures side by side, in rows, each with its label above.

    Args:
        images: pictures [H, W, 3], [H, W] or [3, H, W] in [0, 1]; or a mapping from label to picture.
        labels: one per picture; fewer than pictures label the first row only.
        columns: pictures per row; all in one row up to six without it.
        row_labels: one per row, at its left.
        inches: height of a picture.

    Raises:
        RealheadError: for no pictures.
    """
    import matplotlib.pyplot as plt

    if isinstance(images, Mapping):
        labels, images = list(images), list(images.values())
    pictures = [picture(image) for image in images]
    if not pictures:
        raise RealheadError("A grid needs at least one picture.")
    columns = min(columns or 6, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    aspect = float(np.median([p.shape[1] / p.shape[0] for p in pictures]))
    size = (inches * aspect * columns, inches * rows * (1.0 + 0.12 * bool(labels)))
    figure, axes = plt.subplots(rows, columns, figsize=size, dpi=DPI, squeeze=False, layout="constrained")
    for i, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if i >= len(pictures):
            axis.set_visible(False)
            continue
        axis.imshow(pictures[i], interpolation="nearest" if pictures[i].shape[0] < 100 else "antialiased")
        if labels is not None and i < len(labels):
            axis.set_title(labels[i], fontsize=9)
        if row_labels is not None and i % columns == 0 and i // columns < len(row_labels):
            axis.set_ylabel(row_labels[i // columns], fontsize=9)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    plt.close(figure)
    return figure


def uv_maps(maps: Mapping[str, object], mask=None, **options) -> Figure:
    """Maps in UV space with the range of their values.

    Args:
        maps: label -> [C, R, R]; C = 3 is shown as colour, C = 1 as grey. Values in [0, 1] are shown as they are,
            signed ones so that 0 becomes mid-grey; the label says which.
        mask: bool [R, R]; texels outside are white.
        options: as in `grid`.
    """
    shown = {}
    for label, values in maps.items():
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float32)
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 1:
            limit = max(abs(low), abs(high), 1e-9)
            array = array / (2 * limit) + 0.5
            label = f"{label} (±{limit:.3g})"
        image = picture(array)
        if mask is not None:
            outside = ~np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask, dtype=bool)
            image = np.where(outside[..., None], 1.0, image)
        shown[label] = image
    return grid(shown, **options)


def histograms(gaussians: Gaussians, surface: Surface | None = None, columns: int = 3) -> PlotlyFigure:
    """What values the Gaussians' attributes take, as a live plotly figure (`histogram_picture` is a still one)."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    found = attributes(gaussians, surface)
    rows = math.ceil(len(found) / columns)
    titles = [f"{name} [{a.unit}]" if a.unit else name for name, a in found.items()]
    figure = make_subplots(rows, columns, subplot_titles=titles)
    for i, (name, attribute) in enumerate(found.items()):
        counts, edges = _counts(attribute)
        bars = go.Bar(x=np.sqrt(edges[1:] * edges[:-1]) if attribute.logarithmic else (edges[1:] + edges[:-1]) / 2,
                      y=counts, width=np.diff(edges), name=name, marker_color=PALETTE[i % len(PALETTE)])  # fmt: skip
        figure.add_trace(bars, row=i // columns + 1, col=i % columns + 1)
        if attribute.logarithmic:
            figure.update_xaxes(type="log", row=i // columns + 1, col=i % columns + 1)
    figure.update_layout(showlegend=False, bargap=0, height=220 * rows, margin={"l": 40, "r": 10, "t": 30, "b": 30},
                         template="plotly_white", title_text=None)  # fmt: skip
    return figure


def histogram_picture(gaussians: Gaussians, surface: Surface | None = None, columns: int = 3) -> Figure:
    """The same histograms as `histograms`, with matplotlib."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    found = attributes(gaussians, surface)
    rows = math.ceil(len(found) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 1.8 * rows), dpi=DPI, squeeze=False,
                                layout="constrained")  # fmt: skip
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for i, (axis, (name, attribute)) in enumerate(zip(axes.flat, found.items(), strict=False)):
        counts, edges = _counts(attribute)
        axis.stairs(counts, edges, fill=True, color=PALETTE[i % len(PALETTE)])
        if attribute.logarithmic:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        axis.set_title(f"{name} [{attribute.unit}]" if attribute.unit else name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


def curves(
    lines: Mapping[str, Sequence[float]], *, x: Sequence[float] | None = None, xlabel: str = "step", ylabel: str = "",
    logarithmic: bool = False,
) -> Figure:  # fmt: skip
    """Lines over a common axis (losses over steps, errors over frames), named at their ends."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5.5, 2.6), dpi=DPI, layout="constrained")
    for i, (name, values) in enumerate(lines.items()):
        along = np.arange(len(values)) if x is None else np.asarray(x)
        axis.plot(along, values, color=PALETTE[i % len(PALETTE)], label=name, linewidth=1.5)
    axis.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure


def _counts(attribute: Attribute, bins: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Histogram between the attribute's limits: counts [bins] and edges [bins + 1]."""
    low, high = attribute.limits()
    if attribute.logarithmic:
        edges = np.geomspace(max(low, 1e-6), max(high, 2e-6), bins + 1)
    else:
        edges = np.linspace(low, high, bins + 1)
    return np.histogram(attribute.values, edges)
