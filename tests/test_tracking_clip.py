"""Clips: profiles and covered faces are told, an hour does not fill memory, odd clips are read, nothing is sent."""

import socket
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from tracking_networks import needs_networks

from realhead.errors import TrackingError
from realhead.head import load_head
from realhead.tracking import clip, track
from realhead.tracking.clip import ClipFit, Seen, spread_frames, watch, without_profiles
from realhead.tracking.landmark_head import LandmarkHead, State, rotation_matrix
from realhead.tracking.landmarker import Face, Landmarker
from realhead.tracking.occlusion import check_covered, covered_parts
from realhead.tracking.overlay import landmark_overlay, region_mask, residual_overlay
from realhead.tracking.region import Region
from realhead.tracking.run import TrackOptions
from realhead.tracking.video import ClipFrame, read_clip


@pytest.fixture(scope="module")
def reduced():
    return LandmarkHead(load_head("open"))


@pytest.fixture(scope="module")
def landmarker():
    return Landmarker()


@pytest.fixture(scope="module")
def picture():
    from skimage.data import astronaut

    return astronaut()[:300, 60:380]


@pytest.fixture(scope="module")
def face(landmarker, picture):
    return landmarker.detect_one(picture)


def _state(yaw):
    return State(rotation_matrix(np.array([0, yaw, 0])), np.zeros(3), np.zeros(40), np.zeros(2), np.zeros(4))


def test_profiles_are_left_out_and_told():
    fit = ClipFit(900.0, np.zeros(3), {i: _state(np.radians(12 * i)) for i in range(8)})  # 0 to 84 degrees
    kept, sentences = without_profiles(fit, "a.mp4")
    assert list(kept.states) == [0, 1, 2, 3, 4, 5] and "2 frames of a.mp4" in sentences[0]
    assert without_profiles(kept, "a.mp4") == (kept, [])
    with pytest.raises(TrackingError, match="8 of 8 frames of a.mp4"):
        without_profiles(ClipFit(1.0, np.zeros(3), {i: _state(1.2) for i in range(8)}), "a.mp4")


def _painted(picture, face, part):
    import cv2

    painted, points, unit = picture.copy(), face.points[:, :2], face.interocular
    if part == "eyes":  # dark glasses
        for corners in ((33, 133), (362, 263)):
            x, y = points[list(corners)].mean(0)
            cv2.ellipse(painted, (int(x), int(y)), (int(0.34 * unit), int(0.26 * unit)), 0, 0, 360, (15, 15, 15), -1)
    else:  # four fingers
        x, y = points[[61, 291, 0, 17]].mean(0)
        for finger in range(4):
            spot = (int(x), int(y + (finger - 1.5) * 0.2 * unit))
            cv2.ellipse(painted, spot, (int(0.6 * unit), int(0.12 * unit)), 8, 0, 360, (200, 160, 140), -1)
    return painted


@needs_networks
@pytest.mark.parametrize("part", ["eyes", "mouth"])
def test_glasses_and_a_hand_are_seen(landmarker, picture, face, part):
    assert covered_parts(landmarker, picture, face) == []
    painted = _painted(picture, face, part)
    assert covered_parts(landmarker, painted, landmarker.detect_one(painted)) == [part]
    assert f"the {part} of the face in a.png" in check_covered(landmarker, painted, face, "a.png")[0]


@needs_networks
def test_photograph_opens_no_socket(picture, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert track(tmp_path / "a.png", tmp_path / "out", size=128, progress=False).frames


class _StillFace:
    """Finds the same face everywhere, at once."""

    def __init__(self):
        points = np.random.default_rng(0).uniform(100, 300, (478, 3)).astype(np.float32)
        self.face = Face(points, np.full(52, 0.1, np.float32), 1.0, 1, Region(200, 200, 300, 0.0))

    def detect(self, image):
        return [self.face]

    def follow(self, image, previous):
        return self.face


def test_an_hour_fits_into_memory(monkeypatch, reduced):
    frames = 1500
    monkeypatch.setattr(clip, "Landmarker", _StillFace)
    monkeypatch.setattr(clip, "check_face", lambda *_: [])
    monkeypatch.setattr(clip, "check_covered", lambda *_: [])
    still = np.zeros((480, 640, 3), np.uint8)
    monkeypatch.setattr(clip, "read_clip", lambda *_: (ClipFrame(i, i / 25, still.copy()) for i in range(frames)))
    tracemalloc.start()
    seen = watch(_Named("hour.mp4"), reduced, TrackOptions(progress=False))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(seen.measured) == frames and kept / frames < 4000  # bytes; an hour has 90,000 frames


class _Named:
    def __init__(self, name):
        self.name = name


def test_observations_are_made_when_asked_for_and_spread(reduced):
    rng = np.random.default_rng(0)
    measured = {i: (rng.normal(size=(len(reduced.indices), 3)) * 50, np.ones(len(reduced.indices))) for i in range(30)}
    scores = {i: np.full(52, 0.02 * i, np.float32) for i in range(30)}
    observations = Seen(measured, scores, (), (640, 480), ()).observations(load_head("open"))
    assert len(observations) == 30 and observations[3] is not observations[3]
    np.testing.assert_allclose(observations[3].points, measured[3][0][:, :2] - (320, 240))
    chosen = spread_frames(observations, 5)
    assert chosen[0] == 0 and len(set(chosen)) == 5  # the calmest first


def test_variable_frame_rate_is_resampled_by_time(tmp_path):
    import av

    times = [0, 40, 80, 400, 440, 480, 520]  # milliseconds: a pause of 0.32 s
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 30 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    numbers = [round(float(f.image.mean()) / 30) for f in read_clip(path, 25)]
    nearest = [int(np.abs(np.array(times) - 40 * tick).argmin()) for tick in range(len(numbers))]
    assert len(numbers) == 14 and sum(a != b for a, b in zip(numbers, nearest, strict=True)) <= 1  # one tick is a tie


def test_overlays_draw_where_they_are_told():
    grey = np.full((40, 60, 3), 100, np.uint8)
    points = np.array([[10.0, 20.0], [45.0, 20.0], [-9.0, 5.0]])
    drawn = landmark_overlay(grey, points, radius=3)
    changed = np.abs(drawn - 100 / 255).max(-1) > 0.05
    assert changed[20, 10] and changed[20, 45] and 40 < changed.sum() < 80
    residuals = residual_overlay(grey, points, np.array([0.0, 0.05, 0.0]), worst=0.03, radius=3)
    assert residuals[20, 10, 2] > 0.7 and residuals[20, 45, 0] > 0.7 and residuals[20, 45, 2] < 0.2


@needs_networks
def test_region_mask_is_below_the_mouth(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    capture = track(tmp_path / "a.png", tmp_path / "out", size=128, matting="none", progress=False)
    view = capture.views()[0]
    lips, beard = (region_mask(capture.head, view, name) for name in ("lips", "beard"))
    rows = np.arange(128) + 0.5
    middle = [float((mask.sum(1) * rows).sum() / mask.sum()) for mask in (lips, beard)]
    assert 20 < lips.sum() < 1000 and beard.sum() > lips.sum() and middle[1] > middle[0]
