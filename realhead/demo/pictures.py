"""Pictures that the demo shows: views of a frame, mixed avatars, rows of pictures as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from realhead.avatar import Avatar
from realhead.capture.camera import Camera
from realhead.capture.capture import Capture, View
from realhead.driving import orbited, to_uint8
from realhead.evaluation import render_views
from realhead.evaluation.views import ScoredView

VISIBLE = 0.36
"""Radians, and at one metre metres, that a portrait shows; the head takes two thirds of it."""


def portrait_camera(avatar: Avatar, azimuth: float = 0.0, size: int = 256) -> Camera:
    """A camera before the neutral face, as far away as the studio's."""
    with torch.no_grad():
        vertices = avatar.head(**avatar.neutral.parameters())[0]
    above_neck = vertices[avatar.head.regions["face"] | avatar.head.regions["scalp"]]
    middle = (above_neck.amin(0) + above_neck.amax(0)) / 2
    target = (0.0, float(middle[1]) - 0.01, float(middle[2]))
    return Camera.orbit(azimuth, distance=1.0, target=target, fov=VISIBLE, size=size)


def spread(capture: Capture) -> list[View]:
    """Front and sides of the frame with the most expression."""
    frame = max(capture.frames, key=lambda f: f.effort)
    names = dict.fromkeys([capture.frontal_camera(frame), *capture.side_cameras(frame)])
    return [capture.view(frame.timestep, name) for name in names]


def rendered(avatar: Avatar, capture: Capture, views: Sequence[View]) -> Tensor:
    """The avatar in place of the person in some pictures, [B, H, W, 3]."""
    return render_views(avatar, [ScoredView(capture, view) for view in views])


def turned(avatar: Avatar, view: View, azimuth: float = 0.6) -> list[Tensor]:
    """The avatar in a view's frame, seen from both sides at `azimuth` radians."""
    mouth = avatar.mouth_map(view)
    return [avatar.render(view.frame, orbited(view.camera, view.frame, a), mouth) for a in (-azimuth, azimuth)]


def save_rows(path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
    """Rows of equally large pictures as one JPEG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = to_uint8(torch.cat([torch.cat(list(row), 1) for row in rows], 0))
    Image.fromarray(pixels).save(path, quality=90)
    return path
