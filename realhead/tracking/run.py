"""`track`: photographs or a clip of one person become a capture, like any other.

    landmarks and scores -> fit of the head -> crop -> matting -> images, masks and parameters on disk

Photographs: each is a timestep with a camera of its own, and the head rests at the origin. A clip: one still camera;
the world is moved so that the head's mean translation is zero. The camera looks along -z, y is up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from realhead.errors import TrackingError
from realhead.tracking.matting import Matting
from realhead.tracking.pictures import PICTURE_SUFFIXES
from realhead.tracking.video import VIDEO_SUFFIXES
from realhead.tracking.webcam import record, webcam_number

if TYPE_CHECKING:
    from realhead.capture import Capture
    from realhead.head.model import Head

MOST_PICTURES = 5


@dataclass(frozen=True)
class TrackOptions:
    """How pictures become a capture."""

    size: int = 512
    """Side of the capture's pictures in pixels."""
    fps: float = 25.0
    """Frames per second of a clip's capture."""
    matting: Matting | None = None
    """How the background goes; None: the picture's own alpha, else fine for photographs and fast for clips."""
    longest: float | None = None
    """Seconds of a clip to use, or of a webcam to record (then ten when None)."""
    person: str | None = None
    """The person's name; default: the first file's stem."""
    progress: bool = True
    """Whether bars are drawn on stderr."""


def track(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    head: Head | None = None,
    options: TrackOptions | None = None,
    **changes,
) -> Capture:
    """Tracks one person in one to five photographs, in one video file, or before a webcam.

    Args:
        sources: Paths of photographs, or of one video; or "webcam" ("webcam:1" is the machine's second camera), which
            is recorded first.
        out: Folder of the capture; must not hold a finished one.
        head: Head to fit; the free head when None.
        options: How.
        **changes: Fields of `TrackOptions` by name, as `size=256`.

    Returns:
        The capture. Its `info["source"]` holds the landmark errors per part of the face (per cent of the inter-ocular
        distance), the frames without a face or the photographs that were left out, and the warnings.

    Raises:
        TrackingError: No face, two faces, a face too small, cut or turned away, a damaged or unknown file, a camera
            that is absent, busy or denied.
        CaptureError: `out` holds a finished capture.
    """
    from realhead.capture import Capture
    from realhead.errors import CaptureError
    from realhead.head import load_head
    from realhead.tracking.clip import track_clip
    from realhead.tracking.photographs import track_photographs

    paths = [Path(p) for p in ([sources] if isinstance(sources, str | Path) else sources)]
    kind = _kind(paths)
    options = replace(options or TrackOptions(), **changes)
    if (Path(out) / "realhead.json").exists():
        raise CaptureError(f"{out} holds a finished capture: choose another folder or remove it first.")
    if not 64 <= options.size <= 2048:
        raise TrackingError(f"Pictures of {options.size} pixels a side cannot be made: choose a size from 64 to 2048.")
    head = head or load_head("open")
    if kind == "webcam":
        _track_webcam(webcam_number(paths[0]), Path(out), head, options)
    elif kind == "photographs":
        track_photographs(paths, Path(out), head, options, paths[0].stem)
    else:
        track_clip(paths[0], Path(out), head, options)
    return Capture.open(out, head)


def _track_webcam(number: int, out: Path, head: Head, options: TrackOptions) -> None:
    """Records, tracks the recording, and removes it."""
    from realhead.tracking.clip import track_clip

    with tempfile.TemporaryDirectory(prefix="realhead-") as folder:
        recording = record(Path(folder) / "webcam.mp4", number, options.longest, options.progress)
        track_clip(recording, out, head, options)


def _kind(paths: list[Path]) -> str:
    if not paths:
        raise TrackingError("Nothing to track: give one to five photographs, one video file, or webcam.")
    if any(webcam_number(path) is not None for path in paths):
        if len(paths) > 1:
            raise TrackingError("A webcam is tracked alone: give `webcam` and no files.")
        return "webcam"
    for path in paths:
        if not path.is_file():
            raise TrackingError(f"{path} does not exist: give the paths of photographs or of one video.")
        if path.suffix.lower() not in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
            raise TrackingError(f"{path} is neither a photograph nor a video by its name: use .jpg, .png or .mp4.")
    videos = [p for p in paths if p.suffix.lower() in VIDEO_SUFFIXES]
    if videos and len(paths) > 1:
        raise TrackingError(f"{videos[0].name} is a video: track it alone, or give one to five photographs.")
    if len(paths) > MOST_PICTURES:
        raise TrackingError(f"{len(paths)} photographs are more than {MOST_PICTURES}: choose the sharpest ones.")
    return "clip" if videos else "photographs"
