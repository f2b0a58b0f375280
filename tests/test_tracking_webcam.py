"""The webcam as a source of tracking: a camera made up of pictures, and cameras that are absent, busy or denied."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from realhead.errors import TrackingError
from realhead.tracking import StreamTracker, run, track, webcam
from realhead.tracking.video import read_clip
from realhead.tracking.webcam import record, webcam_frames, webcam_number


class Camera:
    """Gives grey pictures that grow lighter, one after each pause of its own clock; then nothing more."""

    def __init__(self, monkeypatch, pauses, size=(48, 64)):
        self.pauses, self.size, self.count, self.released, self.now = list(pauses), size, 0, False, 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        monkeypatch.setattr(webcam, "time", clock)
        monkeypatch.setattr(webcam, "_opened", lambda number: self)

    def _sleep(self, seconds):
        self.now += seconds

    def read(self):
        if self.count == len(self.pauses):
            return False, None
        self.now += self.pauses[self.count]
        self.count += 1
        picture = np.full((*self.size, 3), 20 * self.count, np.uint8)
        picture[..., 0] = 0  # blue: OpenCV's order
        return True, picture

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    return Camera(monkeypatch, [0.0, 0.02, 0.02, 0.2, 0.02, 0.02, 0.02])


@pytest.mark.parametrize(
    "source, number", [("webcam", 0), ("webcam:1", 1), ("webcam.mp4", None), ("webcam:", None), ("me.jpg", None)]
)
def test_names_of_webcams(source, number):
    assert webcam_number(source) == number


def test_pictures_come_with_their_times_in_rgb_and_the_camera_is_switched_off(camera):
    frames = list(webcam_frames(0, seconds=0.25))
    assert camera.released and [f.index for f in frames] == list(range(len(frames))) and frames[0].time == 0
    assert frames[0].image[0, 0].tolist() == [20, 20, 0]
    assert frames[3].time - frames[2].time == pytest.approx(0.2) and frames[-1].time <= 0.25


def test_camera_that_stops_is_a_clear_sentence(camera):
    with pytest.raises(TrackingError, match="gives no pictures"):
        list(webcam_frames(0))
    assert camera.released


def test_recording_keeps_the_times_of_uneven_pictures(camera, tmp_path):
    path = record(tmp_path / "webcam.mp4", 0, seconds=0.27, progress=False)
    levels = [round(float(f.image[..., 0].mean()) / 20) for f in read_clip(path, fps=50)]
    # The third picture stood for 0.2 s: at 50 ticks a second it is repeated about ten times.
    assert levels.count(3) + levels.count(4) >= 8 and levels == sorted(levels) and levels[0] == 1


def test_interrupted_recording_is_kept(monkeypatch, tmp_path):
    Camera(monkeypatch, [0.01] * 50)
    monkeypatch.setattr(webcam, "webcam_frames", lambda n, s: _then_interrupt(webcam_frames(n, s)))
    path = record(tmp_path / "webcam.mp4", 0, seconds=5, progress=False)
    assert len(list(read_clip(path))) > 1


def _then_interrupt(frames):
    for frame in frames:
        if frame.index == 10:
            raise KeyboardInterrupt
        yield frame


def test_absent_denied_and_busy_cameras_are_told_apart(monkeypatch, tmp_path):
    with pytest.raises(TrackingError, match="no camera 99"):
        next(webcam_frames(99))
    monkeypatch.setattr(webcam.Path, "exists", lambda self: True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "denied" in webcam._why_not(3) and "group" in webcam._why_not(3)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert "busy" in webcam._why_not(3)


def test_track_records_and_leaves_nothing_but_the_capture(monkeypatch, tmp_path):
    asked = []

    def recorded(path, number, seconds, progress):
        path.write_bytes(b"clip")
        asked.append((path, number, seconds))
        return path

    def tracked(path, out, head, options):
        assert path.read_bytes() == b"clip"
        raise TrackingError("no face")

    monkeypatch.setattr(run, "record", recorded)
    monkeypatch.setattr("realhead.tracking.clip.track_clip", tracked)
    with pytest.raises(TrackingError, match="no face"):
        track("webcam:2", tmp_path / "out", longest=3.0, progress=False)
    assert asked[0][1:] == (2, 3.0) and not asked[0][0].parent.exists()
    with pytest.raises(TrackingError, match="alone"):
        track(["webcam", "a.jpg"], tmp_path / "out")


def test_command_line_says_it_in_one_sentence(capsys, tmp_path):
    from realhead.cli import main

    assert main(["track", "webcam:99", "--out", str(tmp_path / "out")]) == 2
    assert "no camera 99" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_stream_follows_pictures_and_shows_its_latency(monkeypatch):
    tracker = StreamTracker.__new__(StreamTracker)  # without networks: only the loop is looked at
    from collections import deque

    tracker._took = deque(maxlen=3)
    assert np.isnan(tracker.latency)
    monkeypatch.setattr(StreamTracker, "__call__", lambda self, image: self._took.append(image.mean() / 10) or "seen")
    pictures = [np.full((2, 2, 3), v, np.uint8) for v in (10, 20, 30, 40)]
    assert list(tracker.follow(pictures)) == ["seen"] * 4 and tracker.latency == pytest.approx(3.0)
