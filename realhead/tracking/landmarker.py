"""Face landmarks and expression scores: the three networks of MediaPipe's face landmarker, run by LiteRT alone.

detector (128 x 128) -> box and six points -> turned square crop -> mesh (256 x 256) -> 478 points -> 52 action scores.

No smoothing, no GL, nothing leaves the machine. Against MediaPipe's own graph one step differs on purpose: the crop is
cut again around the points of the first pass (MediaPipe does so for video only), and large faces are averaged down
instead of being sampled, so that a photograph gets the same points at any resolution.
"""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass, replace

import numpy as np

from realhead.errors import TrackingError
from realhead.tracking.region import CROP_MARGIN, LEFT_EYE_OUTER, RIGHT_EYE_OUTER, Region, cut, region_of, roll

NUM_POINTS = 478
DETECTOR_SIZE, CROP_SIZE = 128, 256
SMALLEST_SCORE = 0.5

BLENDSHAPE_POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
"""The 146 points that the score network reads."""


@dataclass(frozen=True)
class Face:
    """One located face.

    Attributes:
        points: 478 points: x and y in pixels (centres at integer + 0.5), z in the same scale, smaller is nearer,
            float32 [478, 3].
        scores: Action scores in [0, 1] in the order of `realhead.head.actions.ARKIT_NAMES`, float32 [52]. MediaPipe
            has no score for the tongue: the last one is 0.
        presence: Confidence in [0, 1] that the crop shows a face.
        detections: Number of faces that the detector found in the picture (0: it was not asked).
        region: The crop that the points were found in.
    """

    points: np.ndarray
    scores: np.ndarray
    presence: float
    detections: int
    region: Region

    @property
    def size(self) -> float:
        """Height of the face from forehead to chin in pixels."""
        return float(np.linalg.norm(self.points[10, :2] - self.points[152, :2]))

    @property
    def interocular(self) -> float:
        """Distance of the outer eye corners in pixels."""
        return float(np.linalg.norm(self.points[RIGHT_EYE_OUTER, :2] - self.points[LEFT_EYE_OUTER, :2]))


class Landmarker:
    """The three networks; not safe for use by two threads at once."""

    def __init__(self, num_threads: int = 1):
        """Loads the networks.

        Args:
            num_threads: Threads per network.

        Raises:
            AssetError: The weights are absent and cannot be fetched.
        """
        networks = _networks()
        self._detector = Network(networks["face_detector.tflite"], num_threads)
        self._mesh = Network(networks["face_landmarks_detector.tflite"], num_threads)
        self._actions = Network(networks["face_blendshapes.tflite"], num_threads)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Finds all faces of a picture.

        Args:
            image: RGB, uint8 [H, W, 3].

        Returns:
            Faces, largest first; empty when there is none.
        """
        coarse, middle, fine = _tiles(image)
        regions = self._regions(image, coarse + middle) or self._regions(image, fine)
        faces: list[Face] = []
        for region in regions:
            face = self._read(image, region)
            if face.presence >= SMALLEST_SCORE:
                # A face is found again in the crop around its own points; a fold of cloth is not.
                face = self._read(image, region_of(face.points))
            if face.presence >= SMALLEST_SCORE and not any(_same(face, other) for other in faces):
                faces.append(face)
        return sorted((replace(face, detections=len(faces)) for face in faces), key=lambda face: -face.size)

    def detect_one(self, image: np.ndarray, name: str = "the picture") -> Face:
        """Finds the one face of a picture.

        Args:
            image: RGB, uint8 [H, W, 3].
            name: What to call the picture in an error.

        Raises:
            TrackingError: There is no face, or a second one of at least a third of the first one's size.
        """
        faces = self.detect(image)
        if not faces:
            raise TrackingError(
                f"No face was found in {name}: use a sharp, well-lit picture in which one face looks into the camera."
            )
        rivals = [face for face in faces if face.size >= faces[0].size / 3]
        if len(rivals) > 1:
            raise TrackingError(
                f"{len(rivals)} faces were found in {name}: crop it so that only one person is in the picture."
            )
        return faces[0]

    def follow(self, image: np.ndarray, previous: Face) -> Face | None:
        """Finds a face again near its last place, without the detector.

        Args:
            image: RGB, uint8 [H, W, 3], the frame after the one of `previous`.
            previous: The face there.

        Returns:
            The face, or None when it is lost.
        """
        face = self._read(image, region_of(previous.points))
        return face if face.presence >= SMALLEST_SCORE else None

    def reread(self, image: np.ndarray, face: Face, turn: float, scale: float) -> Face:
        """Reads a face once more, in a crop turned by `turn` radians and `scale` times as large."""
        region = region_of(face.points)
        return self._read(image, replace(region, angle=region.angle + turn, size=region.size * scale))

    def _regions(self, image: np.ndarray, squares: list[Region]) -> list[Region]:
        """Likely faces in some squares of the picture, each found once, best first."""
        found = [self._boxes(image, square) for square in squares]
        boxes, points, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        regions = []
        for box, (right_eye, left_eye, *_) in _merge(boxes, points, scores):
            centre, size = (box[:2] + box[2:]) / 2, CROP_MARGIN * float(max(box[2:] - box[:2]))
            regions.append(Region(float(centre[0]), float(centre[1]), size, roll(right_eye, left_eye)))
        return regions

    def _boxes(self, image: np.ndarray, square: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs the detector on an upright square: boxes [n, 4], six points each [n, 6, 2], in pixels, scores [n]."""
        crop = cut(image, square, DETECTOR_SIZE) / 127.5 - 1
        raw, logits = self._detector(crop[None].astype(np.float32))
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        likely = scores >= SMALLEST_SCORE
        values = raw.reshape(-1, 16)[likely] / DETECTOR_SIZE
        centres = _anchors()[likely]
        middles, halves = values[:, :2] + centres, values[:, 2:4] / 2
        boxes = np.concatenate([middles - halves, middles + halves], 1)
        points = values[:, 4:].reshape(-1, 6, 2) + centres[:, None]
        corner = np.array([square.x, square.y]) - square.size / 2
        return boxes * square.size + np.tile(corner, 2), points * square.size + corner, scores[likely]

    def _read(self, image: np.ndarray, region: Region) -> Face:
        """Runs mesh and score networks on one crop."""
        crop = cut(image, region, CROP_SIZE) / np.float32(255)
        raw, presence = self._mesh(crop[None])[:2]
        local = raw.reshape(NUM_POINTS, 3) / CROP_SIZE
        transform = region.image_from_crop()
        points = np.empty((NUM_POINTS, 3), np.float32)
        points[:, :2] = local[:, :2] @ transform[:, :2].T + transform[:, 2]
        points[:, 2] = local[:, 2] * region.size
        (scores,) = self._actions(points[None, list(BLENDSHAPE_POINTS), :2])
        confidence = 1 / (1 + np.exp(-float(presence.reshape(-1)[0])))
        # MediaPipe's first score is "_neutral"; it has none for the tongue.
        actions = np.append(scores.reshape(-1)[1:], 0).astype(np.float32)
        return Face(points, actions, confidence, 0, region)


def _tiles(image: np.ndarray) -> tuple[list[Region], list[Region], list[Region]]:
    """The whole picture, squares of half and squares of a quarter of its longer side: the detector sees 128 pixels
    only, and misses a face of less than an eighth of what it is shown."""
    height, width = image.shape[:2]
    side = max(height, width)
    levels = []
    for parts in (1, 2, 4):
        size = side / parts
        counts = [max(1, int(np.ceil(2 * extent / size - 1))) for extent in (width, height)]
        x, y = (
            np.linspace(min(size, extent) / 2, extent - min(size, extent) / 2, count) if count > 1 else [extent / 2]
            for extent, count in zip((width, height), counts, strict=True)
        )
        levels.append([Region(float(u), float(v), size, 0.0) for v in y for u in x])
    return tuple(levels)


def _same(a: Face, b: Face) -> bool:
    distance = np.linalg.norm(a.points[:, :2].mean(0) - b.points[:, :2].mean(0))
    return bool(distance < 0.4 * max(a.size, b.size))


@functools.cache
def _anchors() -> np.ndarray:
    """Centres of the detector's 896 anchors in the unit square: two per cell of 16 x 16, six per cell of 8 x 8."""
    centres = []
    for cells, per_cell in ((16, 2), (8, 6)):
        line = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
        centres.append(np.repeat(grid, per_cell, 0))
    return np.concatenate(centres).astype(np.float32)


def _merge(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray, overlap: float = 0.3):
    """Joins detections that overlap into their mean, weighted by score (best first)."""
    order = list(np.argsort(-scores))
    merged = []
    while order:
        best = boxes[order[0]]
        group = [i for i in order if _iou(best, boxes[i]) > overlap] or order[:1]
        weights = scores[group] / scores[group].sum()
        merged.append((weights @ boxes[group], np.einsum("g,gkc->kc", weights, points[group])))
        order = [i for i in order if i not in group]
    return merged


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner + 1e-9))


@functools.cache
def _networks() -> dict[str, bytes]:
    from realhead.assets import asset

    with zipfile.ZipFile(asset("face_landmarker.task")) as task:
        return {name: task.read(name) for name in task.namelist() if name.endswith(".tflite")}


class Network:
    """One tflite network as a function of one array."""

    def __init__(self, content: bytes, num_threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [d["index"] for d in self._interpreter.get_output_details()]

    def __call__(self, array: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
