"""One HTML file with an avatar in it: turn it with the mouse, scrub through expressions; no server, no request, no GPU.

viser's client and recorder do the work. What is ours keeps the file small, because 100 frames of 12,000 Gaussians are
40 MB as they are: the head's rigid motion travels as one pose of the scene node; the rest is rounded to what the eye
can see (0.1 mm; covariances to 6 bits of mantissa), and a Gaussian that has not moved visibly keeps its former bytes,
which the compressor then finds again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realhead.errors import RealheadError
from realhead.view.attributes import Surface
from realhead.view.controls import action_sliders, edited_frame
from realhead.view.embedding import portable
from realhead.view.recording import SplatState, rigid_motion
from realhead.view.server import start_server, stop_server
from realhead.view.splats import UNITS_PER_METRE, add_splats, baked_colour, numpy, splat_arrays
from realhead.view.thinning import groups, merge

if TYPE_CHECKING:
    from realhead.avatar import Avatar
    from realhead.capture import Frame
    from realhead.splatting.gaussians import Gaussians

logger = logging.getLogger(__name__)


def write_html(
    avatar: Avatar,
    path: str | Path,
    frames: Sequence[Frame] | None = None,
    *,
    labels: Sequence[str] | None = None,
    max_gaussians: int = 16_000,
    frames_per_second: float = 10.0,
    title: str = "realhead avatar",
) -> int:
    """Write the avatar in all frames into one self-contained page with play button and scrubber.

    Args:
        avatar: whose Gaussians to show.
        path: the .html file; its folder is made.
        frames: what the scrubber runs through; a tour of expressions and a turn of the head without it.
        labels: a caption per frame, shown above the head; only meaningful with `frames`.
        max_gaussians: neighbours are merged until so many are left.
        frames_per_second: speed of the playback.
        title: of the page.

    Returns:
        The file's size in bytes.

    Raises:
        RealheadError: for no frames, labels that do not fit, or a file that cannot be written.
    """
    if frames is None:
        frames, labels = expression_tour(avatar)
    frames = list(frames)
    if not frames:
        raise RealheadError("An HTML page needs at least one frame: pass frames=[avatar.neutral].")
    if labels is not None and len(labels) != len(frames):
        raise RealheadError(f"There are {len(frames)} frames but {len(labels)} labels: pass one per frame, or none.")
    html = _record(avatar, frames, labels, max_gaussians, 1.0 / frames_per_second)
    size = _write(Path(path), portable(html, title))
    logger.info("%s: %d frames, %.2f MB", path, len(frames), size / 1e6)
    return size


def expression_tour(avatar: Avatar, steps: int = 3) -> tuple[list[Frame], list[str]]:
    """Neutral, then each expression in and out in `2 * steps` frames, then a turn of the head: frames and captions."""
    stops: list[tuple[str, dict, dict]] = [("Jaw open", {}, {"Jaw open": 18.0})]
    wanted = ("Smile", "Pucker", "Brows up", "Blink", "Frown", "Nose wrinkle")
    sliders = {slider.label: slider for slider in action_sliders(avatar.head)}
    chosen = [sliders[name] for name in wanted if name in sliders] or list(sliders.values())[:5]
    stops += [(slider.label, dict.fromkeys(slider.actions, slider.high), {}) for slider in chosen]
    stops += [("Look left", {}, {"Look to the left": 25.0}), ("Turn left", {}, {"Turn to the left": 25.0}),
              ("Turn right", {}, {"Turn to the left": -25.0})]  # fmt: skip
    frames, labels = [avatar.neutral], ["Neutral"]
    for label, actions, angles in stops:
        for i in range(1, 2 * steps + 1):
            amount = float(np.sin(np.pi * i / (2 * steps)))
            frames.append(
                edited_frame(
                    avatar.head,
                    avatar.neutral,
                    {name: amount * value for name, value in actions.items()},
                    {name: amount * value for name, value in angles.items()},
                )
            )
            labels.append(label if amount > 0.05 else "Neutral")
    return frames, labels


def _record(avatar: Avatar, frames: list[Frame], labels: Sequence[str] | None, maximum: int, pause: float) -> str:
    first = _gaussians(avatar, frames[0])
    assigned = groups(first, _surface(avatar, frames[0], len(first.means)), maximum)
    base = merge(first, assigned)
    server = start_server()
    try:
        state, handle = _first_splats(server, base)
        middle = np.median(numpy(base.means), axis=0)
        place_camera(server, numpy(base.means))
        top = float(numpy(base.means)[:, 1].max()) + 0.03
        label = None
        if labels is not None:
            label = server.scene.add_label("/caption", labels[0], position=(middle[0], top, middle[2]))
        recorder = server.get_scene_serializer()
        for i, frame in enumerate(frames):
            moved = merge(_gaussians(avatar, frame), assigned) if i else base
            rotation, shift = rigid_motion(numpy(base.means), numpy(moved.means))
            _send(handle, state, moved, rotation, shift)
            if label is not None:
                label.text = labels[i]
            recorder.insert_sleep(pause)
        return recorder.as_html()
    finally:
        stop_server(server)


def _first_splats(server, base: Gaussians) -> tuple[SplatState, object]:
    """The node with its first, already rounded bytes (changing them later would store them twice)."""
    draft = add_splats(server.scene, "/head", base)
    state = SplatState(draft.buffer.copy())
    draft.remove()
    handle = server.scene.add_gaussian_splats("/head", *state.arrays(), scale=1.0 / UNITS_PER_METRE)
    return state, handle


def _send(handle, state: SplatState, moved: Gaussians, rotation: np.ndarray, shift: np.ndarray) -> None:
    """Queue one frame: the rigid motion as the node's pose, what is left as rows of the buffer."""
    from viser.transforms import SO3

    means = (numpy(moved.means) - shift) @ rotation
    covars = rotation.T @ numpy(moved.covars) @ rotation
    arrays = splat_arrays(moved, baked_colour(moved, rotation))
    new = state.buffer.copy()
    handle._pack_centers(new, means * UNITS_PER_METRE)
    handle._pack_covariances(new, covars * UNITS_PER_METRE**2)
    handle._pack_rgba(new, rgbs=arrays.rgbs, opacities=arrays.opacities)
    handle.buffer = state.advance(new).copy()
    handle.wxyz, handle.position = SO3.from_matrix(rotation).wxyz, shift


def place_camera(server, means: np.ndarray) -> None:
    """Start in front of points [N, 3], near enough to fill the window."""
    low, high = np.percentile(means, [1, 99], axis=0)
    middle, size = (low + high) / 2, float((high - low)[:2].max())
    camera = server.initial_camera
    camera.fov, camera.near, camera.up = 0.5, 0.02, (0.0, 1.0, 0.0)
    camera.look_at, camera.position = tuple(middle), tuple(middle + [0.0, 0.0, 0.7 * size / np.tan(0.25) + 0.1])


def _gaussians(avatar: Avatar, frame: Frame) -> Gaussians:
    import torch

    with torch.no_grad():
        return avatar.gaussians(frame)


def _surface(avatar: Avatar, frame: Frame, count: int) -> Surface | None:
    surface = Surface.of(avatar, replace(frame, shape=avatar.neutral.shape))
    return surface if len(surface.face) == count else None


def _write(path: Path, html: str) -> int:
    """Write beside, then rename: a half-written page is never left."""
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(html, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise RealheadError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    return path.stat().st_size
