"""The last step of tracking: fitted parameters and cut-out pictures in the shape that a capture wants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from realhead.errors import TrackingError
from realhead.tracking.crop import Crop
from realhead.tracking.landmark_head import NECK, ROOT, State
from realhead.tracking.matting import Matting, foreground, on_white

if TYPE_CHECKING:
    from realhead.capture.camera import Camera
    from realhead.capture.capture import Frame
    from realhead.capture.writer import CaptureWriter
    from realhead.head.model import Head
    from realhead.tracking.run import TrackOptions

ENGINE = "MediaPipe face_landmarker.task, its three networks by LiteRT"
NOTE = "tracked from pictures of a real person; keep and share it with that person's consent only"


def writer_for(
    out: Path, head: Head, cameras: list[Camera], person: str, sequence: str, tracking: str, source: dict
) -> CaptureWriter:
    """The one writer of captures, with its folder made."""
    from realhead.capture.writer import CaptureWriter

    try:
        return CaptureWriter(out, head, cameras, person=person, sequence=sequence, tracking=tracking, source=source)
    except OSError as error:
        raise TrackingError(f"{out} cannot be written ({error.strerror}): choose another folder with --out.") from error


def rest_joints(head: Head, shape: np.ndarray) -> np.ndarray:
    """The joints of a person at rest, metres, [5, 3]."""
    joints = head.joints(torch.from_numpy(shape)[None].float(), torch.zeros(1, head.num_expression))
    return joints[0].double().numpy()


def turned_by_neck(state: State, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lets the neck make the head's turn, so that the shoulders stay upright as they do in pictures.

    The fit turns everything about the root joint; the same turn of the head about the neck joint, with another
    translation, moves the face in exactly the same way.

    Args:
        state: A fitted state.
        joints: The person's joints at rest, [5, 3].

    Returns:
        Pose [5, 3] (axis-angle) and translation [3].
    """
    pose = state.pose()
    pose[NECK], pose[ROOT] = pose[ROOT], 0
    lever = joints[ROOT] - joints[NECK]
    return pose, state.translation + lever - state.rotation @ lever


def frame_of(timestep: int, shape: np.ndarray, state: State, joints: np.ndarray, shift: np.ndarray) -> Frame:
    """A fitted state as a frame of a capture.

    Args:
        timestep: Number of the frame.
        shape: Identity coefficients.
        state: The fitted state.
        joints: The person's joints at rest, [5, 3].
        shift: Where the world's origin lies in the axes of the fit, metres, [3].
    """
    from realhead.capture.capture import Frame

    pose, translation = turned_by_neck(state, joints)
    arrays = (shape, state.expression, pose, translation - shift)
    return Frame(timestep, *(torch.from_numpy(np.ascontiguousarray(a)).float() for a in arrays))


def camera_at(K: np.ndarray, centre: np.ndarray, size: int, name: str) -> Camera:
    """A camera that looks along -z with y up."""
    from realhead.capture.camera import Camera

    cam_from_world = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ torch.from_numpy(centre).float()
    return Camera(torch.from_numpy(K), cam_from_world, size, size, name)


def cut_out(
    image: np.ndarray, crop: Crop, size: int, matting: Matting, alpha: np.ndarray | None, options: TrackOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Picture on white (uint8 [size, size, 3]) and mask (uint8 [size, size]) of a crop."""
    square, inside = crop.apply(image, size)
    own = None if alpha is None else crop.apply(alpha, size)[0]
    if own is not None and options.matting is None:
        matting = "own"
    colours, mask = foreground(square, matting, own)
    mask = mask * inside
    return on_white(colours, mask), (mask * 255).round().astype(np.uint8)
