"""Generating captures: they open, they are the same twice, a stopped run goes on, bad requests are refused."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from realhead.capture.capture import Capture
from realhead.capture.openheads import generate as module
from realhead.capture.openheads.generate import Job, generate
from realhead.capture.openheads.sizes import Size
from realhead.capture.writer import CaptureWriter
from realhead.errors import RealheadError

TINY = Size(1, 0, ("SEN-01-cramp_small_danger",), 2, 40, 48, strands=0.03)
ADD = CaptureWriter.add
WILD = Size(0, 1, ("FREE",), None, 40, 40, wild=True, frames=3, strands=0.03)


def make(folder: Path, size: Size = TINY, seed: int = 2, tracking: str = "studio") -> Path:
    module._make_person(Job(folder, seed, size, tracking), lambda number: None)
    return folder / f"p{seed:04d}" / size.sequences[0]


def digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".npz":  # zip archives carry the time of writing
            sha.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        elif path.suffix == ".npz":
            with np.load(path) as file:
                sha.update(b"".join(file[k].tobytes() for k in sorted(file.files)))
    return sha.hexdigest()


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return Capture.open(make(tmp_path_factory.mktemp("tiny")))


def test_capture_opens_with_all_views_and_splits(capture):
    assert capture.person == "p0002" and capture.timesteps[0] == 0 and len(capture.timesteps) == 2
    assert len(capture.keys("all")) == 32
    assert {len(capture.keys(s)) for s in ("train", "val", "test")} == {15, 1, 16}
    assert capture.info["tracking"] == "studio" and capture.info["source"]["generator"] == "OpenHeads"


def test_first_timestep_is_neutral(capture):
    assert capture.neutral.timestep == 0
    assert float(capture.frame(0).expression.abs().max()) < 0.15


def test_projected_mesh_lies_on_the_mask(capture):
    """Cameras and parameters belong to the pictures: face vertices fall on the head in every view."""
    for name in ("02", "08", "13"):
        view = capture.view(0, name)
        vertices = capture.head(**view.frame.parameters())[0][capture.head.regions["face"]]
        xy, _ = view.camera.project(vertices)
        column, row = xy[:, 0].long().clamp(0, 39), xy[:, 1].long().clamp(0, 47)
        assert float((view.mask()[row, column] > 0.5).float().mean()) > 0.97


def test_background_is_white_and_the_head_is_not(capture):
    view = capture.view(0, "08")
    image, mask = view.image(), view.mask()
    assert float(image[mask == 0].min()) == 1.0
    assert float(image[mask == 1].mean()) < 0.8
    assert 0.2 < float(mask.mean()) < 0.8


def test_same_seed_gives_the_same_bytes(capture, tmp_path):
    assert digest(make(tmp_path)) == digest(capture.folder)


class Killed(BaseException):
    """What a killed process looks like from inside."""


def kill_after(monkeypatch, pictures: int) -> list[str]:
    """Kills the generator while it writes the picture after so many; returns the list of what is written."""
    written = []

    def watched(self, frame, camera, image, mask):
        if len(written) == pictures:
            (self.folder / "fg_masks" / ".00000_99.png").write_bytes(b"half a picture")
            raise Killed
        written.append(f"{frame.timestep:05d}_{camera.name}")
        ADD(self, frame, camera, image, mask)

    monkeypatch.setattr(CaptureWriter, "add", watched)
    return written


@pytest.mark.parametrize("size, tracking", [(TINY, "studio"), (WILD, "wild")])
def test_stopped_run_loses_the_picture_in_work_only(size, tracking, tmp_path, monkeypatch):
    whole = make(tmp_path / "whole", size, tracking=tracking)
    total = len(list((whole / "images").iterdir()))
    first = kill_after(monkeypatch, total - 2)
    with pytest.raises(Killed):
        make(tmp_path / "killed", size, tracking=tracking)
    rest = kill_after(monkeypatch, total)
    folder = make(tmp_path / "killed", size, tracking=tracking)
    assert len(rest) == 2 and not set(rest) & set(first)
    (folder / "fg_masks" / ".00000_99.png").unlink()
    assert digest(folder) == digest(whole)


def test_finished_captures_are_kept_and_those_of_another_job_made_again(tmp_path, monkeypatch):
    folder = make(tmp_path)
    before = (folder / "realhead.json").stat().st_mtime_ns
    make(tmp_path)
    assert (folder / "realhead.json").stat().st_mtime_ns == before
    (folder / "realhead.json").unlink()
    written = kill_after(monkeypatch, 99)
    make(tmp_path)
    assert len(written) == 32, "without the mark of the same job nothing can be trusted"


def test_wild_capture_has_one_camera_and_its_own_noise(tmp_path):
    wild = Capture.open(make(tmp_path, WILD, tracking="wild"))
    assert list(wild.cameras) == ["00"] and wild.timesteps == [0, 1, 2]
    assert wild.info["tracking"] == "wild"
    assert float(wild.view(0, "00").image()[0, 0].min()) == 1.0


def test_wild_capture_keeps_the_photographs_with_their_background(tmp_path):
    folder = make(tmp_path, WILD, tracking="wild")
    wild = Capture.open(folder)
    raw = [np.asarray(Image.open(folder / "raw" / f"{t:05d}.jpg")).astype(float) / 255 for t in (0, 1)]
    image, mask = wild.view(0, "00").image().numpy(), wild.view(0, "00").mask().numpy()
    assert np.abs(raw[0] - raw[1])[mask == 0].mean() < 0.05, "the room stands still"
    assert raw[0][mask == 0].mean() < 0.97 and (image[mask == 0] == 1).all()
    assert np.abs(raw[0] - image)[mask == 1].mean() < 0.03, "the person is the same in both"


def test_generate_writes_the_people_and_who_is_held_out(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(module, "_make_person", lambda job, count: made.append(job.seed))
    generate(tmp_path, "laptop", people=3, seed=4, processes=1)
    assert made == [40000, 40001, 40002]
    assert module.read_split(tmp_path) == {"p40002"}


def test_bad_requests_are_refused_in_one_sentence(tmp_path):
    for arguments in ({"size": "huge"}, {"size": "mini", "tracking": "perfect"}, {"size": "mini", "people": 0}):
        with pytest.raises(RealheadError) as error:
            generate(tmp_path / "out", **arguments)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(job, count):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_make_person", full)
    with pytest.raises(RealheadError, match="disk .* is full"):
        generate(tmp_path, "mini", processes=1)
