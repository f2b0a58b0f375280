"""Tracking a video file: two passes over it, so that neither its length nor its pictures fill memory.

First pass: landmarks of every frame. Some frames that differ most give identity and focal length; every frame is then
fitted with those, and the parameters are smoothed over time. Second pass: crop, matting, writing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from realhead.errors import TrackingError
from realhead.tracking.assemble import (
    ENGINE,
    NOTE,
    camera_at,
    cut_out,
    frame_of,
    rest_joints,
    turned_by_neck,
    writer_for,
)
from realhead.tracking.crop import crop_of, steady_crop
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import ROOT, LandmarkHead, State
from realhead.tracking.landmarker import Face, Landmarker
from realhead.tracking.observation import Observation, report
from realhead.tracking.observe import STEEPEST, check_face, observation_of, turn_of
from realhead.tracking.occlusion import check_covered
from realhead.tracking.resting import resting_scores, without_rest
from realhead.tracking.smoothing import smooth
from realhead.tracking.video import ClipFrame, read_clip

if TYPE_CHECKING:
    from realhead.head.model import Head
    from realhead.tracking.run import TrackOptions

log = logging.getLogger(__name__)

CALIBRATION_FRAMES = 14
MOST_COMPARED = 2000
"""Frames among which the ones that differ most are looked for."""
COVERED_EVERY = 25
"""In every n-th frame it is looked whether something covers the face."""
LEAST_SHARE = 0.1
"""Share of frames with a usable face below which a clip is refused."""


@dataclass(frozen=True)
class Seen:
    """What the first pass keeps of a clip: only what the fit reads, so an hour of video takes less than 500 MB.

    Attributes:
        measured: Landmarks and their trust, by frame number; frames without a usable face are absent.
        scores: Action scores of the same frames, [52] each.
        lost: Numbers of the frames without a usable face.
        size: Width and height of the pictures.
        warnings: Sentences about the clip.
    """

    measured: dict[int, tuple[np.ndarray, np.ndarray]]
    scores: dict[int, np.ndarray]
    lost: tuple[int, ...]
    size: tuple[int, int]
    warnings: tuple[str, ...]

    def observations(self, head: Head, rest: np.ndarray | float = 0.0) -> Mapping[int, Observation]:
        """What the fit reads of every frame, with the scores of the person's resting face taken away."""
        return _Observations(self, head, rest)

    def rest(self) -> np.ndarray:
        """Scores of the person's resting face, [52]."""
        return resting_scores(np.stack(list(self.scores.values())))


class _Observations(Mapping):
    """Observations by frame number, each made when it is asked for."""

    def __init__(self, seen: Seen, head: Head, rest: np.ndarray | float):
        self._seen, self._head, self._rest = seen, head, rest

    def __getitem__(self, index: int) -> Observation:
        seen = self._seen
        scores = without_rest(seen.scores[index], self._rest)
        return observation_of(self._head, scores, seen.measured[index], seen.size)

    def __iter__(self) -> Iterator[int]:
        return iter(self._seen.measured)

    def __len__(self) -> int:
        return len(self._seen.measured)


@dataclass(frozen=True)
class ClipFit:
    """A clip's fit.

    Attributes:
        focal: Focal length in pixels.
        shape: Identity coefficients.
        states: One state per frame number, not smoothed.
    """

    focal: float
    shape: np.ndarray
    states: dict[int, State]


def track_clip(path: Path, out: Path, head: Head, options: TrackOptions) -> None:
    """Tracks a video file into a capture folder.

    Raises:
        TrackingError: The file cannot be read, or fewer than one frame in ten shows a usable face.
    """
    reduced = LandmarkHead(head)
    seen = watch(path, reduced, options)
    observations, fitter = seen.observations(head, seen.rest()), Fitter(reduced)
    fit = fit_clip(observations, fitter, options.progress)
    fit, turned = without_profiles(fit, path.name)
    states = smooth(fit.states)
    errors = [fitter.errors(observations[i], s, fit.shape, fit.focal) for i, s in states.items()]
    source = {
        "kind": "clip",
        "engine": ENGINE,
        "note": NOTE,
        "files": [path.name],
        "fps": options.fps,
        "lost_frames": sorted({*seen.lost, *(i for i in observations if i not in states)}),
        "landmark_error_percent": {k: round(v, 3) for k, v in report(fitter, errors).items()},
        "warnings": [*seen.warnings, *turned],
    }
    for sentence in source["warnings"]:
        log.warning(sentence)
    _write(path, out, head, options, seen.size, replace(fit, states=states), source)


def fit_clip(observations: Mapping[int, Observation], fitter: Fitter, progress: bool = False) -> ClipFit:
    """Fits every frame of a clip: identity and focal length by frames that differ most, then one frame at a time.

    Args:
        observations: By frame number.
        fitter: Of the head.
        progress: Whether a bar is drawn on stderr.
    """
    chosen = spread_frames(observations, CALIBRATION_FRAMES)
    calibration = fitter.fit([observations[i] for i in chosen])
    focal = float(calibration.focals[0])
    states: dict[int, State] = {}
    previous = None
    for index, observation in tqdm(observations.items(), desc="fit", unit="frame", disable=not progress):
        near = previous is not None and index - previous <= 3
        start = states[previous] if near else None
        states[index] = fitter.refit(observation, calibration.shape, focal, start, lean=calibration.lean)[0]
        previous = index
    return ClipFit(focal, calibration.shape, states)


def without_profiles(fit: ClipFit, name: str) -> tuple[ClipFit, list[str]]:
    """Leaves out the frames in which the head is turned by more than 60 degrees, and says which.

    Raises:
        TrackingError: Hardly a frame remains.
    """
    kept = {i: state for i, state in fit.states.items() if turn_of(state.rotation) <= STEEPEST}
    left_out = len(fit.states) - len(kept)
    if len(kept) < LEAST_SHARE * len(fit.states):
        raise TrackingError(
            f"The head is turned by more than 60 degrees in {left_out} of {len(fit.states)} frames of {name}: use a "
            "clip in which the face looks towards the camera."
        )
    sentence = f"{left_out} frames of {name} are left out: the head is turned by more than 60 degrees there."
    return replace(fit, states=kept), [sentence] if left_out else []


def watch(path: Path, reduced: LandmarkHead, options: TrackOptions) -> Seen:
    """First pass: finds the face in every frame."""
    landmarker = Landmarker()
    measured: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    scores: dict[int, np.ndarray] = {}
    lost, warned, previous, size = [], {}, None, (0, 0)
    frames = read_clip(path, options.fps, options.longest)
    for frame in tqdm(frames, desc="landmarks", unit="frame", disable=not options.progress):
        size = frame.image.shape[1::-1]
        previous = face = _next_face(landmarker, frame, previous, path.name)
        name = f"{path.name} at {frame.time:.1f} s"
        try:
            sentences = [] if face is None else check_face(face, frame.image, name)
            if face is not None and frame.index % COVERED_EVERY == 0:
                sentences += check_covered(landmarker, frame.image, face, name)
        except TrackingError as error:
            face, sentences = None, [str(error)]
        for sentence in sentences:  # times and sizes differ from frame to frame
            first, count = warned.get(kind := re.sub(r"\d+(\.\d+)?", "", sentence), (sentence, 0))
            warned[kind] = first, count + 1
        if face is None:
            lost.append(frame.index)
        else:
            points, trust = reduced.measure(face.points)
            measured[frame.index] = (points.astype(np.float32), trust.astype(np.float32))
            scores[frame.index] = face.scores
    warnings = [first if count == 1 else f"{first} So it is in {count} frames." for first, count in warned.values()]
    if len(scores) < LEAST_SHARE * (len(scores) + len(lost)) or not scores:
        reason = f" ({warnings[0].rstrip('.')})" if warnings else ""
        raise TrackingError(
            f"A usable face was found in {len(scores)} of {len(scores) + len(lost)} frames of {path.name}{reason}: use "
            "a clip in which one well-lit face looks into the camera."
        )
    return Seen(measured, scores, tuple(lost), size, tuple(warnings))


def _next_face(landmarker: Landmarker, frame: ClipFrame, previous: Face | None, name: str) -> Face | None:
    """Follows the face, or looks for it everywhere."""
    face = None if previous is None else landmarker.follow(frame.image, previous)
    if face is not None:
        return face
    found = landmarker.detect(frame.image)
    if len(found) > 1 and found[1].size > found[0].size / 3:
        raise TrackingError(
            f"{len(found)} faces were found in {name} at {frame.time:.1f} s: cut the clip so that only one person is "
            "seen."
        )
    return found[0] if found else None


def spread_frames(observations: Mapping[int, Observation], count: int) -> list[int]:
    """Frames that differ most from each other in head pose and mouth: farthest points, the calmest first."""
    indices = list(observations)[:: -(-len(observations) // MOST_COMPARED)]
    features, unrest = [], []
    for observation in (observations[i] for i in indices):
        unrest.append(observation.expression.sum() + observation.jaw[0])
        p = observation.points - observation.points.mean(0)
        features.append(np.append((p / np.abs(p).mean()).reshape(-1), observation.expression))
    features = np.stack(features)
    chosen = [int(np.argmin(unrest))]
    distance = np.linalg.norm(features - features[chosen[0]], axis=1)
    while len(chosen) < min(count, len(indices)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return [indices[i] for i in chosen]


def _write(path, out, head, options, size: tuple[int, int], fit: ClipFit, source: dict) -> None:
    """Second pass: pictures and masks."""
    width, height = size
    joints, states = rest_joints(head, fit.shape), fit.states
    middle = (width / 2, height / 2)
    crop = steady_crop([crop_of(s.rotation, s.translation, joints[ROOT], fit.focal, middle) for s in states.values()])
    shift = np.mean([turned_by_neck(s, joints)[1] for s in states.values()], axis=0)
    camera = camera_at(crop.intrinsics(fit.focal, width, height, options.size), -shift, options.size, "00")
    writer = writer_for(out, head, [camera], options.person or path.stem, path.stem, "wild", source)
    frames = read_clip(path, options.fps, options.longest)
    for frame in tqdm(frames, desc="pictures", unit="frame", total=len(states), disable=not options.progress):
        if frame.index not in states:
            continue
        state = states[frame.index]
        image, mask = cut_out(frame.image, crop, options.size, options.matting or "fast", None, options)
        writer.add(frame_of(frame.index, fit.shape, state, joints, shift), camera, image, mask)
    writer.close()
