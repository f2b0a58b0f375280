"""Where the landmarker sees the head's landmarks: a little beside the places that the head's embedding names.

The network was trained on hand-marked pictures, so its nose tip, chin or upper lid is not exactly ours, and the same
mistake in everybody's face turns everybody's head: fitted heads looked down by three degrees. The mean mistake is taken
away; `tools/calibrate_landmarks.py` measures it on synthetic people, whose truth is known. On real photographs and
clips, which had no part in it, landmarks lie closer too (results/tracking, with freer brows).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

FILE = Path(__file__).resolve().parents[2] / "data" / "landmark_offsets.json"


def landmark_offsets(head, indices: np.ndarray, file: Path = FILE) -> Float[np.ndarray, "l 3"]:
    """Offsets of the landmarks on the head at rest, in its frontal plane, metres; zero for heads not measured.

    Args:
        head: The head; offsets belong to one embedding and one mesh, so they are kept by the head's hash.
        indices: Which of MediaPipe's points the landmarks are, as in `LandmarkHead.indices`.
        file: Where the offsets are kept.
    """
    offsets = np.zeros((len(indices), 3))
    if file.exists():
        measured = json.loads(file.read_text())
        if measured["head_hash"] == head.hash and measured["indices"] == indices.tolist():
            offsets[:, :2] = np.array(measured["offsets_mm"]) / 1000
    return offsets
