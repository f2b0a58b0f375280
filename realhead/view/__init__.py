"""Looking at heads: the live viewer, offline pages, notebook helpers and figures. Names load when used."""

from __future__ import annotations

import importlib

_HOMES = {
    "view": "viewer",
    "show": "notebook",
    "live": "viewer",
    "write_html": "html",
    "grid": "plots",
    "uv_maps": "plots",
    "curves": "plots",
    "histograms": "plots",
    "histogram_picture": "plots",
    "draw_points": "overlays",
    "draw_mesh": "overlays",
    "residual_map": "overlays",
    "colour_by": "attributes",
    "identity_panel": "widgets",
    "expression_panel": "widgets",
    "SliderPanel": "widgets",
    "TrainingMonitor": "training_monitor",
    "Webcam": "webcam",
    "VideoSource": "webcam",
}

__all__ = [*_HOMES]  # noqa: PLE0604  the keys are strings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'realhead.view' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"realhead.view.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
