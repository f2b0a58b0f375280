"""Tracking one to five photographs: each becomes a timestep with a camera of its own, the head at the origin."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

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
from realhead.tracking.observation import report
from realhead.tracking.observe import check_face, check_fit, observation_of
from realhead.tracking.occlusion import check_covered
from realhead.tracking.pictures import Picture

if TYPE_CHECKING:
    from realhead.head.model import Head
    from realhead.tracking.run import TrackOptions

log = logging.getLogger(__name__)


def track_photographs(pictures: list[Picture], out: Path, head: Head, options: TrackOptions, name: str) -> None:
    """Tracks photographs of one person; nothing is written before all of them are fitted and cut out.

    Args:
        pictures: The photographs.
        out: Folder of the capture.
        head: Head to fit.
        options: How.
        name: The person's name when the options have none.
    """
    landmarker, reduced = Landmarker(), LandmarkHead(head)
    warnings, observations = [], []
    for number, picture in enumerate(pictures):
        face = landmarker.detect_one(picture.image, picture.name)
        warnings += check_face(face, picture.image, picture.name)
        warnings += check_covered(landmarker, picture.image, face, picture.name)
        size = picture.image.shape[1::-1]
        observations.append(
            observation_of(head, face.scores, reduced.measure(face.points), size, camera=number, focal=picture.focal)
        )
    fitter = Fitter(reduced)
    fit = fitter.fit(observations)
    for picture, state, errors in zip(pictures, fit.states, fit.errors):
        warnings += check_fit(state.rotation, errors, picture.name)
    for warning in warnings:
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
        "files": [p.name for p in pictures],
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
