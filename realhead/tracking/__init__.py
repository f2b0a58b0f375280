"""From photographs, clips and webcam frames to captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realhead.tracking.run import TrackOptions, track

__all__ = ["TrackOptions", "track"]


def __getattr__(name: str):
    if name in __all__:
        from realhead.tracking import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
