"""From photographs to a driven avatar; the tracker is replaced by painted captures, it has tests of its own."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from evaluation_data import ENROLL, make_people, tiny_prior

from realhead import likeness
from realhead.avatar import Avatar
from realhead.capture import Capture
from realhead.errors import TrackingError
from realhead.likeness import avatar_from_photographs
from realhead.note import SYNTHETIC


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A capture of one frame by one camera, and one of two frames."""
    root = tmp_path_factory.mktemp("painted")
    make_people(root / "photo", people=("anna",), test=(), timesteps=1, views=1)
    make_people(root / "video", people=("bela",), test=(), timesteps=2, views=1)
    return {".png": root / "photo" / "anna" / "one", ".mp4": root / "video" / "bela" / "two"}


@pytest.fixture
def tracked(monkeypatch, painted):
    """Paths that the tracker was asked for."""
    asked = []

    def track(files, out, *, head, size, progress):
        asked.append([file.name for file in files])
        if not files[0].is_file():
            raise TrackingError(f"{files[0]} does not exist.")
        shutil.copytree(painted[files[0].suffix], out)
        note = json.loads((out / "realhead.json").read_text())
        (out / "realhead.json").write_text(json.dumps(note | {"source": {"files": asked[-1]}}))
        return Capture.open(out, head)

    monkeypatch.setattr(likeness, "track", track)
    return asked


@pytest.fixture
def files(tmp_path):
    photo, video = tmp_path / "me.png", tmp_path / "me.mp4"
    for file in (photo, video):
        file.write_bytes(b"not looked at")
        os.utime(file, (1, 1))
    return photo, video


def make(photo, out, driver=None):
    return avatar_from_photographs([photo], out, driver, tiny_prior(), config=ENROLL, progress=False)


def test_everything_is_written_and_can_be_read_again(tracked, files, tmp_path):
    made = make(files[0], tmp_path / "out", files[1])
    assert tracked == [["me.png"], ["me.mp4"]]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"photographs", "driver", "avatar.safetensors", "avatar.ply", "clip.mp4", "viewer.html"}
    for export in ("avatar.safetensors", "avatar.ply", "clip.mp4", "viewer.html"):
        assert SYNTHETIC.encode() in (tmp_path / "out" / export).read_bytes(), export
    assert Avatar.load(tmp_path / "out" / "avatar.safetensors").info["pictures"] == made.avatar.info["pictures"]


def test_another_person_drives_by_differences_with_a_caution_and_oneself_without(
    tracked, files, tmp_path, monkeypatch, caplog
):
    asked = []
    monkeypatch.setattr(likeness, "drive", lambda avatar, capture, out, **options: asked.append(options["relative"]))
    monkeypatch.setattr(likeness, "_viewer", lambda *_: None)
    with caplog.at_level("WARNING"):
        make(files[0], tmp_path / "cross", files[1])
    assert asked == [True] and "features of the driver" in caplog.text
    caplog.clear()
    avatar_from_photographs(
        [files[0]], tmp_path / "own", files[1], tiny_prior(), own=True, config=ENROLL, progress=False
    )
    assert asked == [True, False] and "driver" not in caplog.text


def test_without_a_driver_there_is_no_clip(tracked, files, tmp_path):
    assert make(files[0], tmp_path / "out").clip is None
    assert not (tmp_path / "out" / "clip.mp4").exists()


def test_finished_tracking_is_kept_until_the_photograph_changes(tracked, files, tmp_path):
    make(files[0], tmp_path / "out")
    make(files[0], tmp_path / "out")
    assert len(tracked) == 1
    os.utime(files[0])
    with pytest.raises(FileExistsError):  # the fake's copytree; the tracker refuses in a sentence
        make(files[0], tmp_path / "out")
    assert len(tracked) == 2


def test_a_capture_folder_drives_without_tracking(tracked, files, painted, tmp_path):
    assert make(files[0], tmp_path / "out", painted[".mp4"]).clip is not None
    assert tracked == [["me.png"]]


def test_a_missing_driver_is_told_before_anything_is_enrolled(tracked, files, tmp_path):
    with pytest.raises(TrackingError, match="nobody.mp4 does not exist"):
        make(files[0], tmp_path / "out", tmp_path / "nobody.mp4")
    assert not (tmp_path / "out" / "avatar.safetensors").exists()
