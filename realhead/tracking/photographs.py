"""Tracking one to five photographs: each becomes a timestep with a camera of its own, the head at the origin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
from realhead.tracking.crop import crop_of
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import ROOT, LandmarkHead
from realhead.tracking.landmarker import Landmarker
from realhead.tracking.observation import Observation, report
from realhead.tracking.observe import check_face, check_fit, check_turn, observation_of
from realhead.tracking.occlusion import check_covered
from realhead.tracking.pictures import Picture, read_picture

if TYPE_CHECKING:
    from realhead.head.model import Head
    from realhead.tracking.run import TrackOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Located:
    """A photograph with what the fit reads of it, and what is to be said of it."""

    picture: Picture
    observation: Observation
    warnings: list[str]


def track_photographs(paths: list[Path], out: Path, head: Head, options: TrackOptions, name: str) -> None:
    """Tracks photographs of one person; nothing is written before all of them are fitted and cut out.

    A photograph that cannot be used is left out, with a warning, as long as another one can.

    Args:
        paths: The photographs.
        out: Folder of the capture.
        head: Head to fit.
        options: How.
        name: The person's name when the options have none.

    Raises:
        TrackingError: None of them can be used; the sentence is the first one's.
    """
    reduced = LandmarkHead(head)
    fitter = Fitter(reduced)
    located, left_out = _located(paths, head, fitter)
    fit = fitter.fit([each.observation for each in located])
    pictures = [each.picture for each in located]
    warnings = [warning for each in located for warning in each.warnings]
    for picture, errors in zip(pictures, fit.errors):
        warnings += check_fit(errors, picture.name)
    for warning in (*left_out, *warnings):
        log.warning(warning)

    joints = rest_joints(head, fit.shape)
    results = []
    for number, (picture, state, focal) in enumerate(zip(pictures, fit.states, fit.focals)):
        height, width = picture.image.shape[:2]
        crop = crop_of(state.rotation, state.translation, joints[ROOT], focal, (width / 2, height / 2))
        K = crop.intrinsics(focal, width, height, options.size)
        shift = turned_by_neck(state, joints)[1]
        camera = camera_at(K, -shift, options.size, f"{number:02d}")
        frame = frame_of(number, fit.shape, state, joints, shift)
        image, mask = cut_out(picture.image, crop, options.size, options.matting or "fine", picture.alpha, options)
        results.append((frame, camera, image, mask))
    source = {
        "kind": "photographs",
        "files": [p.name for p in paths],
        "left_out": left_out,
        "engine": ENGINE,
        "focal_noted": [p.focal is not None for p in pictures],
        "landmark_error_percent": {k: round(v, 3) for k, v in report(fitter, fit.errors).items()},
        "warnings": warnings,
        "note": NOTE,
    }
    writer = writer_for(out, head, [r[1] for r in results], options.person or name, "photographs", "photo", source)
    for result in results:
        writer.add(*result)
    writer.close()


def _located(paths: list[Path], head: Head, fitter: Fitter) -> tuple[list[Located], list[str]]:
    """Photographs with a usable face, and a sentence for each of the others."""
    landmarker = Landmarker()
    located, left_out = [], []
    for path in paths:
        try:
            located.append(_locate(read_picture(path), len(located), landmarker, head, fitter))
        except TrackingError as error:
            left_out.append(str(error))
    if not located:
        raise TrackingError(left_out[0])
    return located, left_out


def _locate(picture: Picture, number: int, landmarker: Landmarker, head: Head, fitter: Fitter) -> Located:
    face = landmarker.detect_one(picture.image, picture.name)
    warnings = check_face(face, picture.image, picture.name)
    warnings += check_covered(landmarker, picture.image, face, picture.name)
    measured, size = fitter.head.measure(face.points), picture.image.shape[1::-1]
    observation = observation_of(head, face.scores, measured, size, camera=number, focal=picture.focal)
    check_turn(fitter.start(observation, fitter.options.focal * max(size)).rotation, picture.name)
    return Located(picture, observation, warnings)
