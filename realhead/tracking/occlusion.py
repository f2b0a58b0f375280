"""Is something before the face: sunglasses, a hand or a mask over the mouth?

The network always answers with a whole face. What it sees it finds again in the same place when the crop is turned and
scaled a little; what it only imagines wanders. On four photographs, lips that are seen wandered by 0.9 to 1.4 % of the
inter-ocular distance, lips behind a painted hand or mask by 3.3 to 6.6 %. Eyes behind dark glasses are imagined better
(2.2 to 4.7 %, against 1.4 to 1.9 %), so that their darkness is looked at as well.
"""

from __future__ import annotations

import numpy as np

from realhead.tracking.landmarker import Face, Landmarker
from realhead.tracking.observation import GROUPS

TURNS, SCALES = (-0.25, 0.25), (0.85, 1.15)
"""How the crop is changed, radians and factors."""
WANDERING = 0.024
"""Standard deviation in inter-ocular distances beyond which a part of the face counts as covered."""
DARK = 0.35
"""Brightness of the eyes in brightnesses of the cheeks, below which they count as covered."""
CHEEKS = (50, 205, 280, 425)
LIPS = GROUPS["outer lips"] + GROUPS["inner lips"]


def covered_parts(landmarker: Landmarker, image: np.ndarray, face: Face) -> list[str]:
    """Parts of a face that are covered: "eyes", "mouth", both or none.

    Args:
        landmarker: Who found the face.
        image: RGB, uint8 [H, W, 3].
        face: The face in it.
    """
    again = [landmarker.reread(image, face, turn, scale).points[:, :2] for turn in TURNS for scale in SCALES]
    spread = np.linalg.norm(np.stack(again) - np.mean(again, axis=0), axis=-1).mean(0) / face.interocular
    wanders = {
        part: spread[list(points)].mean() > WANDERING for part, points in (("eyes", GROUPS["eyes"]), ("mouth", LIPS))
    }
    wanders["eyes"] |= _brightness(image, face, GROUPS["eyes"]) < DARK * _brightness(image, face, CHEEKS)
    return [part for part, covered in wanders.items() if covered]


def check_covered(landmarker: Landmarker, image: np.ndarray, face: Face, name: str) -> list[str]:
    """A sentence for each covered part of a face."""
    return [
        f"Something seems to cover the {part} of the face in {name} (a hand, glasses, hair): what it hides is guessed; "
        "use a picture that shows the whole face."
        for part in covered_parts(landmarker, image, face)
    ]


def _brightness(image: np.ndarray, face: Face, points: tuple[int, ...]) -> float:
    """Mean value of the picture at some points of a face."""
    x, y = face.points[list(points), :2].astype(int).T
    height, width = image.shape[:2]
    return float(image[y.clip(0, height - 1), x.clip(0, width - 1)].mean())
