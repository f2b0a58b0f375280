"""From photographs, clips and webcam frames to captures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realhead.tracking.run import TrackOptions, track
    from realhead.tracking.stream import StreamTracker, Tracked

_HOMES = {"track": "run", "TrackOptions": "run", "StreamTracker": "stream", "Tracked": "stream"}

__all__ = ["StreamTracker", "TrackOptions", "Tracked", "track"]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"realhead.tracking.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
