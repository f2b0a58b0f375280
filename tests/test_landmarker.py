"""Landmarker: the public photograph of an astronaut, turned, scaled, doubled and emptied."""

import numpy as np
import pytest

from realhead.assets import asset
from realhead.errors import AssetError, TrackingError
from realhead.head.actions import ARKIT_NAMES
from realhead.tracking.region import Region, cut, region_of

try:
    asset("face_landmarker.task", fetch=False)
    present = True
except AssetError:
    present = False
needs_networks = pytest.mark.skipif(not present, reason="face_landmarker.task is not fetched")

# Points of MediaPipe 0.10.35 itself on skimage.data.astronaut(): eye corners, nose tip, mouth corners, chin, irises.
INDICES = [33, 133, 362, 263, 1, 61, 291, 152, 468, 473]
MEDIAPIPE = np.array(
    [
        [195.3, 100.6],
        [213.6, 103.6],
        [236.4, 104.9],
        [255.3, 103.8],
        [223.5, 131.1],
        [202.3, 139.2],
        [244.5, 140.6],
        [221.4, 177.4],
        [203.5, 101.1],
        [246.0, 103.5],
    ]
)  # pixels


@pytest.fixture(scope="module")
def picture():
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="module")
def landmarker():
    from realhead.tracking.landmarker import Landmarker

    return Landmarker()


@pytest.fixture(scope="module")
def face(landmarker, picture):
    return landmarker.detect_one(picture)


@needs_networks
def test_points_agree_with_mediapipe(face):
    error = np.linalg.norm(face.points[INDICES, :2] - MEDIAPIPE, axis=1) / face.size
    assert error.mean() < 0.009 and error.max() < 0.02


@needs_networks
def test_smile_is_read(face):
    scores = dict(zip(ARKIT_NAMES, face.scores, strict=True))
    assert face.scores.shape == (52,) and scores["mouthSmileLeft"] > 0.7 and scores["mouthSmileRight"] > 0.7
    assert scores["jawOpen"] < 0.2 and scores["eyeBlinkLeft"] < 0.2 and scores["tongueOut"] == 0
    assert face.presence > 0.99 and face.detections == 1


@needs_networks
@pytest.mark.parametrize("turns", [1, 3])
def test_turned_picture_gives_turned_points(landmarker, picture, face, turns):
    # A lying face is beyond the detector, so the crop of the upright one is turned with the picture.
    turned = np.rot90(picture, turns)
    x, y = face.points[:, 0], face.points[:, 1]
    expected = np.stack((y, 512 - x) if turns == 1 else (512 - y, x), 1)
    start = landmarker._read(turned, region_of(np.concatenate((expected, face.points[:, 2:]), 1)))
    assert np.linalg.norm(start.points[:, :2] - expected, axis=1).mean() < 0.006 * face.size


@needs_networks
def test_larger_picture_gives_the_same_points(landmarker, picture, face):
    large = landmarker.detect_one(picture.repeat(3, 0).repeat(3, 1))
    assert np.linalg.norm(large.points[:, :2] / 3 - face.points[:, :2], axis=1).mean() < 0.01 * face.size


@needs_networks
def test_follow_finds_a_moved_face_and_loses_an_absent_one(landmarker, picture, face):
    moved = landmarker.follow(np.roll(picture, (4, -6), (0, 1)), face)
    np.testing.assert_allclose(moved.points[:, :2].mean(0) - face.points[:, :2].mean(0), (-6, 4), atol=1)
    assert landmarker.follow(np.zeros_like(picture), face) is None


@needs_networks
def test_no_face_and_two_faces_are_clear_sentences(landmarker, picture):
    with pytest.raises(TrackingError, match="No face was found in empty.png"):
        landmarker.detect_one(np.full((300, 200, 3), 128, np.uint8), "empty.png")
    with pytest.raises(TrackingError, match="2 faces"):
        landmarker.detect_one(np.concatenate((picture[:300], picture[:300]), 1))


@needs_networks
def test_small_face_in_a_large_picture_is_found(landmarker, picture, face):
    large = np.full((2000, 3000, 3), 90, np.uint8)
    large[1200:1712, 400:912] = picture
    found = landmarker.detect_one(large)
    assert np.linalg.norm(found.points[:, :2] - face.points[:, :2] - (400, 1200), axis=1).mean() < 0.01 * face.size


def test_cut_copies_turns_and_averages():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_allclose(cut(image, Region(25, 20, 20, 0.0), 20), image[10:30, 15:35], atol=1e-3)
    quarter = cut(image, Region(25, 20, 20, np.pi / 2), 20)
    np.testing.assert_allclose(quarter, np.rot90(image[10:30, 15:35]), atol=1e-2)
    halved = cut(image, Region(25, 20, 20, 0.0), 10)
    expected = image[10:30, 15:35].reshape(10, 2, 10, 2, 3).mean((1, 3))
    assert np.abs(halved - expected).mean() < 12  # bilinear samples of noise, not the exact mean
    assert cut(image, Region(-50, -50, 20, 0.0), 4).max() == 0
