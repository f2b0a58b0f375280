"""From photographs to a driven avatar in one call: track, enroll, drive (paper, V-D)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realhead.avatar import Avatar
from realhead.capture.capture import Capture
from realhead.config import EnrollConfig
from realhead.device import on_best_device
from realhead.driving import drive, relative_frame
from realhead.enrollment import enroll
from realhead.model.checkpoint import load_prior
from realhead.model.prior import Prior
from realhead.tracking import track

log = logging.getLogger(__name__)

CAUTION = (
    "Another person's clip drives the avatar: the result may look real, yet its mouth region carries features of the "
    "driver and does not show how the person in the photographs really looks (paper, Ethical Impact Statement). Use it "
    "with the consent of both."
)
VIEWER_FRAMES = 40
"""Frames of the driver in the HTML viewer, evenly spread."""


@dataclass(frozen=True)
class Likeness:
    """What was made of a person's photographs.

    Attributes:
        avatar: The avatar.
        capture: The tracked photographs.
        folder: Where photographs/, avatar.safetensors, avatar.ply and viewer.html lie.
        clip: The side-by-side clip, or None where nobody drives.
        viewer: The HTML viewer.
    """

    avatar: Avatar
    capture: Capture
    folder: Path
    clip: Path | None
    viewer: Path | None = None


def avatar_from_photographs(
    photographs: Sequence[str | Path],
    out: str | Path,
    driver: str | Path | None = None,
    prior: Prior | str | Path = "laptop",
    *,
    own: bool = False,
    size: int = 256,
    seed: int = 0,
    config: EnrollConfig | None = None,
    progress: bool = True,
) -> Likeness:
    """Makes an avatar from photographs of one person and lets a video, or a capture, move it.

    A finished step is kept: run it again after an interruption and it goes on.

    Args:
        photographs: One to five pictures of the person.
        out: Folder for everything that is made.
        driver: A video, "webcam", or a capture folder, that moves the avatar.
        prior: A prior, or what `load_prior` takes.
        own: Whether the driver shows the person of the photographs: its expressions are then taken as they are.
            Otherwise they are transferred as differences to the driver's own neutral face, and a caution is logged.
        size: Side of the tracked pictures in pixels; the prior's training size is best.
        seed: Seed of the enrollment.
        config: Steps and rates; the default also fits a colour transform: photographs are unlike the training data.
        progress: Whether bars are shown on stderr.

    Raises:
        RealheadError: No face, two faces, an unreadable file, a prior of another head.
    """
    out = Path(out)
    prior = prior if isinstance(prior, Prior) else load_prior(prior)
    options = {"head": prior.head, "size": size, "progress": progress}
    capture = _tracked([Path(path) for path in photographs], out / "photographs", options)
    moving = None if driver is None else _driver(Path(driver), out / "driver", options)
    config = config or EnrollConfig(affine_colour=True)
    enrolled = enroll(on_best_device(prior), capture, capture.views(), seed, config, progress=progress)
    avatar = enrolled.to("cpu")
    avatar.save(out / "avatar.safetensors")
    avatar.gaussians(avatar.neutral).save_ply(out / "avatar.ply")
    clip = None
    if moving is not None:
        if not own:
            log.warning(CAUTION)
        clip = drive(enrolled, moving, out / "clip.mp4", relative=not own, progress=progress)
    return Likeness(avatar, capture, out, clip, _viewer(avatar, moving, out / "viewer.html", own))


def _viewer(avatar: Avatar, moving: Capture | None, path: Path, own: bool) -> Path:
    """Writes the page that shows the avatar from all sides; it plays the driver's frames if there is one."""
    from realhead.view.html import write_html

    frames = None
    if moving is not None:
        chosen = moving.frames[:: max(1, -(-len(moving.frames) // VIEWER_FRAMES))]
        frames = chosen if own else [relative_frame(f, moving.neutral, avatar.neutral) for f in chosen]
    write_html(avatar, path, frames)
    return path


def _driver(path: Path, out: Path, options: dict) -> Capture:
    return Capture.open(path, options["head"]) if path.is_dir() else _tracked([path], out, options)


def _tracked(files: list[Path], out: Path, options: dict) -> Capture:
    """Tracks files, unless the folder holds just these, tracked since they were last changed."""
    done = out / "realhead.json"
    if done.is_file() and all(file.is_file() for file in files):
        capture = Capture.open(out, options["head"])
        same = capture.info.get("source", {}).get("files") == [file.name for file in files]
        if same and max(file.stat().st_mtime for file in files) <= done.stat().st_mtime:
            log.info("%s is kept", out)
            return capture
    return track(files, out, **options)
