"""Gaussians in a notebook cell: `show` is a snapshot that stays (`realhead.view.live` is a viewer with a kernel).

A snapshot is a whole page inside the cell (about 0.9 MB and up) and, for every reader that shows no frames, a still
picture by our own renderer. Stored notebooks keep the picture only.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realhead.view.embedding import inline_frame, portable
from realhead.view.html import place_camera
from realhead.view.server import start_server, stop_server
from realhead.view.splats import add_splats, baked_colour, numpy
from realhead.view.widgets import to_png

if TYPE_CHECKING:
    from realhead.splatting.gaussians import Gaussians


@dataclass(frozen=True)
class Snapshot:
    """Gaussians as a page and as a picture; as the value of a cell it draws itself."""

    html: str
    png: bytes
    height: int = 480

    def _repr_mimebundle_(self, **_) -> dict:
        return {
            "text/html": inline_frame(self.html, self.height),
            "image/png": b64encode(self.png).decode("ascii"),
            "text/plain": f"Snapshot({len(self.html) / 1e6:.1f} MB)",
        }


def show(gaussians: Gaussians, rgbs: np.ndarray | None = None, height: int = 480) -> Snapshot:
    """Gaussians to turn around in a cell, without a server once the cell has run.

    Args:
        gaussians: what to show.
        rgbs: [N, 3] colours in [0, 1] (see `realhead.view.attributes.colour_by`); `baked_colour` without it.
        height: of the frame in pixels.
    """
    server = start_server()
    try:
        add_splats(server.scene, "/gaussians", gaussians, rgbs)
        place_camera(server, numpy(gaussians.means))
        html = server.scene.as_html()
    finally:
        stop_server(server)
    return Snapshot(portable(html, "Gaussians"), to_png(still(gaussians, rgbs)), height)


def still(gaussians: Gaussians, rgbs: np.ndarray | None = None, size: int = 256) -> np.ndarray:
    """The Gaussians from the front by our own renderer, on white, [size, size, 3] in [0, 1]."""
    import torch

    from realhead.capture import Camera
    from realhead.rendering import render
    from realhead.splatting.gaussians import Gaussians
    from realhead.view.splats import SH_DEGREE_0

    means = numpy(gaussians.means)
    low, high = np.percentile(means, [1, 99], axis=0)
    middle, extent = (low + high) / 2, max(float((high - low)[:2].max()), 1e-3)
    distance = 4 * extent
    camera = Camera.orbit(0.0, distance=distance, target=tuple(middle.tolist()), fov=2 * np.arctan(0.16), size=size)
    colours = baked_colour(gaussians) if rgbs is None else np.asarray(rgbs, dtype=np.float32)
    sh = torch.zeros(len(means), 16, 3)
    sh[:, 0] = (torch.from_numpy(colours) - 0.5) / SH_DEGREE_0
    parts = (gaussians.means, gaussians.covars, gaussians.opacities)
    plain = Gaussians(*(torch.from_numpy(numpy(part)) for part in parts), sh)
    with torch.no_grad():
        return render(plain, camera)[0].clamp(0, 1).numpy()
