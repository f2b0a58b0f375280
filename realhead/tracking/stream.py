"""Tracking one frame at a time: webcam, file or frames pushed by a notebook.

Every frame is answered at once, from itself and what came before: no frame is held back. The first frames calibrate
the person (identity, focal length, the resting scores of a neutral face); until then the mean head is fitted. A lost
face gives a result without parameters, and is looked for in the whole picture until it returns.
"""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.errors import TrackingError
from realhead.tracking.assemble import camera_at, frame_of, rest_joints
from realhead.tracking.crop import Crop, crop_of
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import ROOT, LandmarkHead, State, rotation_matrix, rotation_vector
from realhead.tracking.landmarker import Face, Landmarker
from realhead.tracking.observation import FitOptions, Observation
from realhead.tracking.observe import SMALLEST_FACE, observation_of
from realhead.tracking.resting import resting_scores, without_rest
from realhead.tracking.smoothing import ALIKE

if TYPE_CHECKING:
    from realhead.capture.camera import Camera
    from realhead.capture.capture import Frame
    from realhead.head.model import Head
    from realhead.head.uv import UVMap

CALIBRATION_FRAMES = 12
CALIBRATION_TURN = np.radians(25)
SEARCH_EVERY = 3
"""A lost face is looked for in every n-th frame: the search takes longer than a frame."""

LATENCY_FRAMES = 50
CROP_PIXELS = 256
"""Side of the picture that mouth maps are made of, as in the captures that the shipped prior learned from."""

Status = Literal["calibrating", "tracking", "lost"]


@dataclass(frozen=True)
class Tracked:
    """Answer to one frame.

    Attributes:
        status: "calibrating" while the person is not known yet, "tracking", or "lost".
        frame: Head parameters, or None where the face is lost.
        camera: The camera of the whole picture; None where the face is lost.
        crop: The square that a capture would cut out of the picture; None where the face is lost.
        face: What the landmarker found, or None.
        image: The picture, uint8 [H, W, 3].
        seconds: Time from receiving the picture to this answer.
        error: Median landmark error in inter-ocular distances.
    """

    status: Status
    frame: Frame | None
    camera: Camera | None
    crop: Crop | None
    face: Face | None
    image: np.ndarray
    seconds: float
    error: float
    _head: Head

    @cached_property
    def vertices(self) -> Float[Tensor, "v 3"]:
        """Posed mesh in world space, metres."""
        if self.frame is None:
            raise TrackingError("The face is lost in this frame, so it has no mesh: check `tracked.frame` first.")
        with torch.no_grad():
            return self._head(**self.frame.parameters())[0]

    def mouth_map(self, uv_map: UVMap, kind: str = "gradient") -> Float[Tensor, "c r r"] | None:
        """The driving picture's mouth map, or None where the face is lost (an avatar then goes without).

        It is made of the crop, as captures' are: gradients depend on the scale, and are divided by the largest one.
        """
        if self.frame is None:
            return None
        from realhead.condition.mouth import mouth_map

        square = self.crop.apply(self.image, CROP_PIXELS)[0]
        K = self.crop.intrinsics(float(self.camera.K[0, 0]), self.camera.width, self.camera.height, CROP_PIXELS)
        camera = replace(self.camera, K=torch.from_numpy(K), width=CROP_PIXELS, height=CROP_PIXELS)
        return mouth_map(torch.from_numpy(square.astype(np.float32) / 255), self.vertices, camera, uv_map, kind)


class StreamTracker:
    """Tracks a face frame by frame; call it with one picture after the other, or let it follow a source.

    Example:
        tracker = StreamTracker()
        for tracked in tracker.follow("webcam"):
            print(tracked.status, tracker.latency)
    """

    def __init__(self, head: Head | None = None, *, focal: float | None = None, smoothing: bool = True):
        """Loads the networks and the head.

        Args:
            head: Head to fit; the free head when None.
            focal: Focal length of the camera in pixels; found by the calibration when None.
            smoothing: Whether small changes from frame to frame, which are noise, are damped.
        """
        from realhead.head import load_head

        self.head = head or load_head("open")
        self.smoothing = smoothing
        self._focal_given = focal
        self._took: deque[float] = deque(maxlen=LATENCY_FRAMES)
        self._landmarker = Landmarker()
        self._reduced = LandmarkHead(self.head)
        self._fitter = Fitter(self._reduced)
        self.calibrate()

    def calibrate(self) -> None:
        """Starts the neutral calibration: the next frames with a frontal face are taken as the person's rest."""
        self._seen: list[tuple[Face, tuple[np.ndarray, np.ndarray]]] = []
        self._rest = np.zeros(52, np.float32)
        self._shape = np.zeros(self._reduced.num_shape)
        self._joints = rest_joints(self.head, self._shape)
        self._focal: float | None = self._focal_given
        self._lean: np.ndarray | None = None
        self.calibrated = False
        self._forget()

    def follow(
        self, source: str | Path | Iterable, *, fps: float = 25.0, seconds: float | None = None
    ) -> Iterator[Tracked]:
        """Tracks every frame of a source.

        Args:
            source: "webcam" (or "webcam:1"), a video file, or pictures: uint8 [H, W, 3] or things that have one as
                `image`, as `read_clip` yields.
            fps: Frames per second taken of a file.
            seconds: How long.

        Yields:
            One answer per frame.
        """
        for frame in _frames_of(source, fps, seconds):
            yield self(getattr(frame, "image", frame))

    @property
    def latency(self) -> float:
        """Median time from receiving a picture to its answer over the last frames, seconds; NaN before the first."""
        return float(np.median(self._took)) if self._took else float("nan")

    def _forget(self) -> None:
        self._face: Face | None = None
        self._state: State | None = None
        self._lost_frames = 0
        self._timestep = 0 if not self.calibrated else self._timestep

    def __call__(self, image: np.ndarray) -> Tracked:
        """Tracks the next frame.

        Args:
            image: sRGB, uint8 [H, W, 3]; all frames of a stream have one size.

        Raises:
            TrackingError: The picture is not uint8 RGB.
        """
        start = clock.perf_counter()
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise TrackingError(f"A frame of shape {image.shape} and type {image.dtype} came: push uint8 [H, W, 3].")
        self._timestep += 1
        self._face = self._find(image)
        if self._face is None:
            self._state = None
            return Tracked("lost", None, None, None, None, image, self._since(start), float("nan"), self.head)
        measured = self._reduced.measure(self._face.points)
        size = image.shape[1::-1]
        if not self.calibrated:
            self._collect(self._face, measured, size)
        observation = observation_of(self.head, without_rest(self._face.scores, self._rest), measured, size)
        state, errors = self._fit(observation)
        frame = frame_of(self._timestep - 1, self._shape, state, self._joints, np.zeros(3))
        focal, middle = self._focal_now(size), (size[0] / 2, size[1] / 2)
        K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], np.float32)
        camera = replace(camera_at(K, np.zeros(3), 1, "00"), width=size[0], height=size[1])
        crop = crop_of(state.rotation, state.translation, self._joints[ROOT], focal, middle)
        status: Status = "tracking" if self.calibrated else "calibrating"
        error = float(np.median(errors))
        return Tracked(status, frame, camera, crop, self._face, image, self._since(start), error, self.head)

    def _since(self, start: float) -> float:
        self._took.append(clock.perf_counter() - start)
        return self._took[-1]

    def _find(self, image: np.ndarray) -> Face | None:
        """The face near its last place, else the largest of the picture."""
        if self._face is not None:
            face = self._landmarker.follow(image, self._face)
            if face is not None and face.size >= SMALLEST_FACE:
                self._lost_frames = 0
                return face
        self._lost_frames += 1
        if self._lost_frames > 1 and self._lost_frames % SEARCH_EVERY:
            return None
        found = [face for face in self._landmarker.detect(image) if face.size >= SMALLEST_FACE]
        if found:
            self._lost_frames = 0
        return found[0] if found else None

    def _collect(self, face: Face, measured: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> None:
        """Gathers calm frontal frames; with enough of them the person is known."""
        rough = self._fitter.start(observation_of(self.head, face.scores, measured, size), self._focal_now(size))
        if np.arccos(np.clip(rough.rotation[2, 2], -1, 1)) > CALIBRATION_TURN:
            return
        self._seen.append((face, measured))
        if len(self._seen) < CALIBRATION_FRAMES:
            return
        self._rest = resting_scores(np.stack([f.scores for f, _ in self._seen]), quantile=0.5)
        observations = [
            observation_of(self.head, without_rest(f.scores, self._rest), m, size, focal=self._focal_given)
            for f, m in self._seen[:: max(1, CALIBRATION_FRAMES // 6)]
        ]
        fit = self._fitter.fit(observations)
        self._shape, self._focal, self._lean, self.calibrated = fit.shape, float(fit.focals[0]), fit.lean, True
        self._joints = rest_joints(self.head, self._shape)
        self._state, self._seen = None, []

    def _focal_now(self, size: tuple[int, int]) -> float:
        return self._focal or FitOptions().focal * max(size)

    def _fit(self, observation: Observation) -> tuple[State, np.ndarray]:
        focal = self._focal_now((int(observation.extent), 0))
        state, errors = self._fitter.refit(observation, self._shape, focal, self._state, 3, self._lean)
        if self.smoothing and self._state is not None:
            state = damped(self._state, state)
        self._state = state
        return state, errors


def _frames_of(source: str | Path | Iterable, fps: float, seconds: float | None) -> Iterable:
    from realhead.tracking.video import read_clip
    from realhead.tracking.webcam import webcam_frames, webcam_number

    if not isinstance(source, str | Path):
        return source
    number = webcam_number(source)
    return read_clip(source, fps, seconds) if number is None else webcam_frames(number, seconds)


def damped(previous: State, current: State) -> State:
    """Damps changes that are as small as noise and lets larger ones pass at once: no delay for blinks and plosives."""
    turn = rotation_vector(current.rotation @ previous.rotation.T)
    share = _passing(np.linalg.norm(turn), "rotation")
    moved = {
        name: getattr(previous, name)
        + _passing(np.abs(getattr(current, name) - getattr(previous, name)), name)
        * (getattr(current, name) - getattr(previous, name))
        for name in ("translation", "expression", "jaw", "gaze")
    }
    return replace(current, rotation=rotation_matrix(share * turn) @ previous.rotation, **moved)


def _passing(change: np.ndarray | float, name: str) -> np.ndarray | float:
    """Share of a change that is believed: a fifth for tiny ones, all of it beyond twice the noise."""
    return 0.2 + 0.8 * (1 - np.exp(-0.5 * (np.asarray(change) / ALIKE[name]) ** 2))
