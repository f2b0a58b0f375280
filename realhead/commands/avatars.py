"""Commands that make an avatar, move it, show it and give it away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from realhead.commands.arguments import AvatarPath, CapturePath, OptionalPath, Out, PriorName


def enroll(
    capture: CapturePath,
    out: Out,
    prior: PriorName = "laptop",
    shots: int = 3,
    affine_colour: bool = False,
    seed: int = 0,
) -> None:
    """Makes an avatar from a few neutral pictures of a capture.

    Args:
        capture: Capture folder (from `realhead data`, `track` or `import`).
        out: The avatar's file, as me.safetensors.
        prior: Prior to start from: laptop, or a path.
        shots: Pictures to fit: 1 frontal, 3 with both sides, 0 the encoder's guess.
        affine_colour: Also fit a colour transform, for pictures unlike the training data.
        seed: Seed of anything random.
    """
    from realhead.capture import Capture
    from realhead.config import EnrollConfig
    from realhead.device import on_best_device
    from realhead.enrollment import enroll
    from realhead.model.checkpoint import load_prior

    pictures, config = Capture.open(capture), EnrollConfig(affine_colour=affine_colour)
    print(enroll(on_best_device(load_prior(prior)), pictures, shots, seed, config, progress=True).save(out))


def drive(
    avatar: AvatarPath,
    capture: CapturePath,
    out: Out,
    fps: int = 25,
    relative: bool = False,
    no_mouth: bool = False,
) -> None:
    """Moves an avatar by a capture: driver, avatar and a novel view side by side.

    Args:
        avatar: Avatar file.
        capture: Capture folder of the driver.
        out: Clip to write, .mp4 or .gif.
        fps: Frames a second.
        relative: Transfer differences to neutral; right for another person's clip.
        no_mouth: Leave out the mouth map; the head model alone moves the mouth.
    """
    from realhead.avatar import Avatar
    from realhead.capture import Capture
    from realhead.device import best_device
    from realhead.driving import drive

    loaded = Avatar.load(avatar).to(best_device())
    print(drive(loaded, Capture.open(capture), out, fps=fps, relative=relative, mouth=not no_mouth))


def avatar(
    photographs: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO...")],
    out: Out,
    drive: OptionalPath = None,
    own: bool = False,
    prior: PriorName = "laptop",
    size: int = 256,
    seed: int = 0,
) -> None:
    """Makes an avatar from photographs of one person, and lets a video move it: track, enroll and drive in one.

    Args:
        photographs: One to five photographs of the person.
        out: Folder for the avatar, its .ply, the clip and an HTML viewer.
        drive: What moves the avatar: a video, a capture folder, or webcam (recorded for ten seconds).
        own: It shows the person of the photographs; without it, differences to the driver's neutral face are taken.
        prior: Prior to start from: laptop, or a path.
        size: Side of the tracked pictures in pixels; the prior's training size is best.
        seed: Seed of the enrollment.
    """
    from realhead.likeness import avatar_from_photographs

    made = avatar_from_photographs(photographs, out, drive, prior, own=own, size=size, seed=seed)
    for path in (made.folder / "avatar.safetensors", made.clip, made.viewer):
        if path:
            print(path)


def view(
    avatar: AvatarPath,
    capture: OptionalPath = None,
    port: Annotated[int, arg(metavar="PORT")] = 0,
    no_browser: bool = False,
    out: OptionalPath = None,
) -> None:
    """Shows an avatar's Gaussians in the browser, with expression sliders, on this machine only.

    Args:
        avatar: Avatar file.
        capture: Capture folder; adds its cameras and its frames to play.
        port: Port on 127.0.0.1; 0 takes a free one.
        no_browser: Print the address and open no tab.
        out: Serve nothing, but write one .html file with a scrubber that opens without a server.
    """
    from realhead.avatar import Avatar
    from realhead.capture import Capture
    from realhead.view.html import write_html
    from realhead.view.viewer import view

    loaded, opened = Avatar.load(avatar), Capture.open(capture) if capture else None
    if out is not None:
        write_html(loaded, out, opened.frames if opened else None)
        print(out)
        return
    viewer = view(loaded, opened, port, not no_browser)
    print(f"{viewer.url}  (Ctrl-C stops)", flush=True)
    viewer.wait()


def export(
    avatar: AvatarPath,
    out: Out,
    capture: OptionalPath = None,
    timestep: Annotated[int | None, arg(metavar="INT")] = None,
) -> None:
    """Writes an avatar's Gaussians as a degree-3 3DGS .ply that other viewers read.

    Args:
        avatar: Avatar file.
        out: File to write, as head.ply.
        capture: Capture folder whose frame is taken; without it the avatar is neutral.
        timestep: Which frame of the capture; its neutral one without a number.
    """
    from realhead.avatar import Avatar

    loaded = Avatar.load(avatar)
    loaded.gaussians(_frame(loaded, capture, timestep)).save_ply(out)
    print(out)


def _frame(avatar, capture, timestep):
    from realhead.capture import Capture
    from realhead.errors import RealheadError

    if capture is None:
        if timestep is not None:
            raise RealheadError("--timestep names a frame of a capture: say which with --capture.")
        return avatar.neutral
    opened = Capture.open(capture)
    if timestep is None:
        return opened.neutral
    for frame in opened.frames:
        if frame.timestep == timestep:
            return frame
    known = [frame.timestep for frame in opened.frames]
    raise RealheadError(f"{capture} has no timestep {timestep}: choose one from {min(known)} to {max(known)}.")
