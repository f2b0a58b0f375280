"""Ways in which data may be wrong, each as the change that would put it right, and how well each explains pictures.

If undoing a mistake makes the mesh fit far better, the mistake was made. The measure is the distance between detected
and predicted landmarks, in units of the distance between the eyes; without landmarks, how the mesh fills the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from realhead.capture.camera import Camera
from realhead.capture.frame import Frame
from realhead.checking.evidence import Exhibit, mask_at, predict
from realhead.head.model import Head

NOWHERE = 10.0
"""Error of a mesh that is behind the camera or far out of the picture."""


@dataclass(frozen=True)
class Hypothesis:
    """A mistake and how to undo it.

    Attributes:
        name: The fault's name.
        says: What is wrong, in words.
        mend: What to do.
        frame: Puts parameters right.
        camera: Puts a camera right.
        mirror: Whether pictures are mirrored.
        head: The head that the parameters really belong to.
    """

    name: str
    says: str
    mend: str
    frame: Callable[[Frame], Frame] = lambda frame: frame
    camera: Callable[[Camera], Camera] = lambda camera: camera
    mirror: bool = False
    head: Head | None = None


AS_IS = Hypothesis("as it is", "", "")


def flipped_principal_point(camera: Camera) -> Camera:
    """The camera with cy counted from the other border."""
    K = camera.K.clone()
    K[1, 2] = camera.height - K[1, 2]
    return replace(camera, K=K)


def other_axes(camera: Camera) -> Camera:
    """The camera with its y and z axis negated."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    return replace(camera, cam_from_world=flip @ camera.cam_from_world)


def nearer(scale: float) -> Callable[[Camera], Camera]:
    """Cameras in a world that was made larger by a factor."""

    def change(camera: Camera) -> Camera:
        pose = camera.cam_from_world.clone()
        pose[:3, 3] /= scale
        return replace(camera, cam_from_world=pose)

    return change


def other_side(camera: Camera) -> Camera:
    """The camera in a world that is turned by half a turn about its vertical axis."""
    return replace(camera, cam_from_world=camera.cam_from_world @ torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])))


def radians(frame: Frame) -> Frame:
    """Rotations that were stored in degrees."""
    return replace(frame, pose=frame.pose * (math.pi / 180))


def known_hypotheses() -> list[Hypothesis]:
    """All but wrong editions, which depend on the user's files."""
    found = [
        Hypothesis(
            "flipped principal point", "cy is counted from the other border of the picture",
            "store h - cy in VHAP's layout (cy as OpenCV has it anywhere else)", camera=flipped_principal_point,
        ),
        Hypothesis(
            "OpenCV/OpenGL mix-up", "the camera matrices have the axes of the other convention",
            "negate the second and third column of every transform_matrix (VHAP's are OpenGL, INSTA's are OpenCV)",
            camera=other_axes,
        ),
        Hypothesis(
            "cameras behind the head", "all cameras stand behind the head: they would see its back",
            "turn the world by half a turn about the vertical axis (the head looks to +z)", camera=other_side,
        ),
        Hypothesis(
            "mirrored faces", "the pictures are mirrored left to right",
            "mirror pictures and masks (video software and selfie cameras do it), or the parameters", mirror=True,
        ),
        Hypothesis(
            "degrees for radians", "rotations are stored in degrees", "multiply them by pi / 180", frame=radians
        ),
    ]  # fmt: skip
    for scale in (4, 5):
        found.append(
            Hypothesis(
                f"mesh scale x{scale}", f"lengths are {scale} times too large (a FLAME mesh scaled by {scale})",
                f"divide translations, of cameras and of the head, by {scale}: units are metres",
                frame=lambda f, s=scale: replace(f, translation=f.translation / s), camera=nearer(scale),
            )
        )  # fmt: skip
    return found


def errors(exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head, hypothesis: Hypothesis) -> np.ndarray:
    """How badly a hypothesis explains each picture, [number of exhibits]; units of the distance between the eyes."""
    used = hypothesis.head or head
    return np.array([_error(exhibit, frames[exhibit.shot.timestep], used, hypothesis) for exhibit in exhibits])


def _error(exhibit: Exhibit, frame: Frame, head: Head, hypothesis: Hypothesis) -> float:
    camera = hypothesis.camera(exhibit.shot.camera)
    xy, depth, marks = predict(head, hypothesis.frame(frame), camera)
    if np.median(depth) <= 0:
        return NOWHERE
    if hypothesis.mirror:
        xy, marks = _mirrored(xy, camera.width), _mirrored(marks, camera.width)[mirror_partner(head)]
    if exhibit.points is not None:
        wanted = exhibit.points[head.landmarks["mediapipe"][2].numpy()]
        gap = np.linalg.norm(marks - wanted, axis=1).mean() / exhibit.interocular
        return float(min(gap, NOWHERE))
    return _mask_error(exhibit.mask, xy, depth, head)


def _mirrored(xy: np.ndarray, width: int) -> np.ndarray:
    return np.stack([width - xy[:, 0], xy[:, 1]], 1)


def mirror_partner(head: Head) -> np.ndarray:
    """The landmark on the other side of the face, for each of the 105."""
    marks = head.landmark_positions(head.v_template[None], "mediapipe")[0].double().numpy()
    flipped = marks * np.array([-1, 1, 1])
    return np.linalg.norm(flipped[:, None] - marks[None], axis=2).argmin(1)


def _mask_error(mask: np.ndarray, xy: np.ndarray, depth: np.ndarray, head: Head) -> float:
    """One minus how well box and vertices of the head (without the neck) lie in the mask's; in [0, 2]."""
    skin = head.regions["skin"].numpy() & ~head.regions["neck"].numpy()
    points = xy[skin & (depth > 0)]
    rows, columns = np.nonzero(mask > 127)
    if not len(points) or not len(rows):
        return 2.0
    inside = mask_at(mask, points).mean()
    wide = np.ptp(points[:, 0]) / max(1.0, np.ptp(columns))
    return float(1 - inside) + float(max(0.0, 0.5 - wide))


def rhythm(exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head, shift: int) -> tuple[float, int]:
    """How far the landmarks' movement differs from the parameters' of so many frames later.

    What a landmarker always sees differently from the mesh is taken out per camera and landmark, so that a shift of
    one frame shows.

    Returns:
        Median over pictures (a landmarker sometimes sees a face where none is) of the RMS over landmarks, in units of
        the distance between the eyes, and the number of pictures that were compared.
    """
    by_camera: dict[str, list[np.ndarray]] = {}
    order = sorted(frames)
    place = {t: k for k, t in enumerate(order)}
    number = head.landmarks["mediapipe"][2].numpy()
    for exhibit in exhibits:
        at = place[exhibit.shot.timestep] + shift
        if exhibit.points is None or not 0 <= at < len(order):
            continue
        _, _, marks = predict(head, frames[order[at]], exhibit.shot.camera)
        gap = (marks - exhibit.points[number]) / exhibit.interocular
        by_camera.setdefault(exhibit.shot.camera.name, []).append(gap)
    parts = [np.stack(gaps) - np.median(gaps, 0) for gaps in by_camera.values() if len(gaps) > 2]
    if not parts:
        return float("nan"), 0
    joined = np.concatenate(parts)
    return float(np.median(np.sqrt(np.square(joined).sum(2).mean(1)))), len(joined)
