"""What pictures say about parameters: landmarks that were detected, and masks, beside what the mesh predicts.

Nothing here decides. A `Shot` that was looked at becomes an `Exhibit`; `predict` says where a hypothesis puts the mesh.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from realhead.capture.camera import Camera
from realhead.capture.frame import Frame
from realhead.errors import AssetError, CaptureError
from realhead.head.model import Head
from realhead.importing.recording import Recording, Shot

log = logging.getLogger(__name__)

CAMERAS, TIMESTEPS = 5, 5
"""How many of each are looked at; a single camera gives its pictures to more timesteps."""


@dataclass(frozen=True)
class Exhibit:
    """A picture that was looked at.

    Attributes:
        shot: Which one.
        image: uint8 [H, W, 3].
        mask: uint8 [H, W].
        points: MediaPipe's 478 points in pixels, [478, 2], or None where no face was found.
    """

    shot: Shot
    image: np.ndarray
    mask: np.ndarray
    points: np.ndarray | None

    @property
    def interocular(self) -> float:
        """Distance of the outer eye corners in pixels; a tenth of the width where no face was found."""
        if self.points is None:
            return self.image.shape[1] / 10
        return float(np.linalg.norm(self.points[33] - self.points[263]))


def choose(recording: Recording) -> list[Shot]:
    """Pictures spread over cameras and time; neighbouring timesteps come in pairs, which shows who is out of step."""
    cameras = sorted({shot.camera.name for shot in recording.shots})
    timesteps = sorted({shot.timestep for shot in recording.shots})
    count = TIMESTEPS if len(cameras) > 1 else CAMERAS * TIMESTEPS
    kept_cameras = {cameras[k] for k in _spread(len(cameras), CAMERAS)}
    kept_times = {timesteps[k] for k in _spread(len(timesteps), count)}
    return [s for s in recording.shots if s.camera.name in kept_cameras and s.timestep in kept_times]


def _spread(total: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, total - 1, min(total, wanted)).round().astype(int).tolist()))


def gather(recording: Recording, shots: Iterable[Shot]) -> tuple[list[Exhibit], list[str]]:
    """Looks at pictures.

    Returns:
        What was seen, and a sentence for every picture that cannot be read.
    """
    landmarker, exhibits, broken = _landmarker(), [], []
    for shot in shots:
        try:
            image, mask = recording.picture(shot)
        except CaptureError as error:
            broken.append(str(error))
            continue
        faces = landmarker.detect(image) if landmarker is not None else []
        points = faces[0].points[:, :2].astype(np.float64) if len(faces) == 1 else None
        exhibits.append(Exhibit(shot, image, mask, points))
    return exhibits, broken


def _landmarker():
    """The landmark networks, or None where they cannot be had: masks must do then."""
    from realhead.tracking.landmarker import Landmarker

    try:
        return Landmarker()
    except AssetError as error:
        log.warning("faces are not looked for: %s", error)
        return None


@torch.no_grad()
def predict(head: Head, frame: Frame, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where parameters and camera put the mesh.

    Returns:
        Pixels of all vertices [V, 2], their depths [V], pixels of MediaPipe's 105 landmarks [105, 2].
    """
    vertices = head(**frame.parameters())
    xy, depth = camera.project(vertices[0])
    marks, _ = camera.project(head.landmark_positions(vertices, "mediapipe")[0])
    return tuple(np.nan_to_num(t.double().numpy(), nan=1e6, posinf=1e6, neginf=-1e6) for t in (xy, depth, marks))


def mask_at(mask: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Mask in [0, 1] at pixel positions; 0 outside of the picture."""
    column, row = np.floor(xy).astype(np.int64).T
    height, width = mask.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    values = np.zeros(len(xy))
    values[inside] = mask[row[inside], column[inside]] / 255
    return values
