"""SMIRK's expressions for a capture, kept beside it in `smirk/`: what the paper's expression maps are made of.

The capture's geometry may be of another FLAME edition: SMIRK's coefficients are FLAME 2020's and enter as position
offsets of FLAME 2020's own mesh only, which has the same vertices (`realhead.condition.expression`).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import torch

from realhead.capture.capture import Capture
from realhead.capture.files import read_npz, require_file
from realhead.condition.store import driving_view
from realhead.errors import CaptureError, RealheadError
from realhead.model.smirk import SmirkEncoder, smirk_crop

log = logging.getLogger(__name__)


@torch.no_grad()
def add_smirk(capture: Capture, network: SmirkEncoder, landmarker) -> tuple[Path, list[str]]:
    """Runs SMIRK on the frontal picture of every timestep; results of pictures that did not change are kept.

    Args:
        capture: The capture.
        network: SMIRK's encoders.
        landmarker: Finds the face (`realhead.tracking.landmarker.Landmarker`).

    Returns:
        The folder with one .npz a timestep, and a sentence for each timestep without.
    """
    from tqdm import tqdm

    folder, failures = capture.folder / "smirk", []
    folder.mkdir(exist_ok=True)
    for timestep in tqdm(capture.timesteps, unit="frame", desc="SMIRK", mininterval=1.0):
        path = capture.smirk_file(timestep)
        try:
            view = driving_view(capture, timestep)
            picture = _identity(view.image_path)
            if _made_of(path, picture):
                continue
            image = (view.image() * 255).round().byte().numpy()
            face = landmarker.detect_one(image, str(view.image_path))
        except RealheadError as error:
            failures.append(str(error))
            continue
        crop = torch.from_numpy(smirk_crop(image, face.points)).permute(2, 0, 1)[None]
        seen = network(crop)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez(temporary, expression=seen.expression[0].numpy(), jaw=seen.jaw[0].numpy(),
                 eyelids=seen.eyelids[0].numpy(), shape=seen.shape[0].numpy(), picture=picture)  # fmt: skip
        os.replace(temporary, path)
    for sentence in failures[:20]:
        log.warning("no expression: %s", sentence)
    return folder, failures


def _identity(picture: Path) -> np.ndarray:
    """Size and time of a picture, which change with it."""
    stat = require_file(picture).stat()
    return np.array([stat.st_size, stat.st_mtime_ns])


def _made_of(path: Path, picture: np.ndarray) -> bool:
    try:
        return np.array_equal(read_npz(path, only=("picture",)).get("picture"), picture)
    except CaptureError:
        return False
