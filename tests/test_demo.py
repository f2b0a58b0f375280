"""The demo: stages run once, failures are said and not hidden, the page shows everything, numbers meet expectations."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from evaluation_data import ENROLL, QUICK, TINY, make_people, tiny_prior

from realhead import demo
from realhead.capture import Capture, CaptureSet
from realhead.config import LossConfig, TrainConfig
from realhead.demo import Demo, DemoConfig, Stage, run, stages
from realhead.demo.numbers import comparison, demo_numbers, write_expected
from realhead.demo.pictures import portrait_camera
from realhead.demo.stages import Outcome
from realhead.errors import RealheadError
from realhead.model.checkpoint import save_prior
from realhead.page import Section, write_page
from realhead.report.tables import Table

TRAIN = TrainConfig(
    preset="tiny", iterations=2, save_every=2, log_every=1, num_workers=0, prior=TINY, loss=LossConfig(perceptual=0)
)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Demo:
    """A demo on painted people, with an untrained prior."""
    folder = tmp_path_factory.mktemp("demo")
    people = make_people(folder / "data")
    for person in people.people("test"):
        clip = folder / "data" / person / stages.SPOKEN
        made = make_people(folder / "made", (person,), (), timesteps=2, views=1)
        shutil.copytree(made.folders[1], clip)
        info = json.loads((clip / "realhead.json").read_text()) | {"sequence": stages.SPOKEN}
        (clip / "realhead.json").write_text(json.dumps(info))
        shutil.rmtree(folder / "made")
    save_prior(tiny_prior(), folder / "prior.safetensors", {})
    config = replace(QUICK, shots=(0, 1, 3), pictured_people=2)
    return Demo(folder, DemoConfig(str(folder / "prior.safetensors"), train=TRAIN, enroll=ENROLL, evaluation=config))


@pytest.fixture
def two_stages(monkeypatch):
    """Two quick stages; returns the list of those that ran."""
    ran = []

    def make(name, required=False):
        def function(_):
            ran.append(name)
            if name == broken[0]:
                raise RealheadError("no weights <here>: fetch them.")
            return Outcome(f"did {name}")

        return Stage(name, f"Do {name}", function, 1, required)

    broken = [""]
    monkeypatch.setattr(demo, "STAGES", (make("first", True), make("second")))
    monkeypatch.setattr(demo, "_key", lambda _: "key")
    ran_and_broken = ran, broken
    return ran_and_broken


def test_finished_stages_are_not_run_again(two_stages, tmp_path):
    ran, _ = two_stages
    lines = []
    for force in (False, False, True):
        run(tmp_path, force=force, say=lines.append)
    assert ran == ["first", "second"] * 2
    assert lines.count("      done before") == 2 and any("--force" in line for line in lines)


def test_another_key_starts_afresh_and_spares_foreign_files(two_stages, tmp_path, monkeypatch):
    ran, _ = two_stages
    run(tmp_path, say=lambda _: None)
    (tmp_path / "mine.txt").write_text("keep")
    monkeypatch.setattr(demo, "_key", lambda _: "another")
    run(tmp_path, say=lambda _: None)
    assert ran == ["first", "second"] * 2 and (tmp_path / "mine.txt").exists()


def test_failed_optional_stage_is_said_and_tried_again(two_stages, tmp_path):
    ran, broken = two_stages
    broken[0], lines = "second", []
    page = run(tmp_path, say=lines.append)
    assert any("no weights <here>" in line for line in lines)
    assert "no weights &lt;here&gt;" in page.read_text()
    broken[0] = ""
    assert "This part did not work" not in run(tmp_path, say=lines.append).read_text()
    assert ran == ["first", "second", "second"]


def test_failed_required_stage_fails_the_demo_after_the_page(two_stages, tmp_path):
    two_stages[1][0] = "first"
    with pytest.raises(RealheadError, match="could not do first: no weights"):
        run(tmp_path, say=lambda _: None)
    assert (tmp_path / "index.html").exists()


def test_plan_names_every_stage_and_the_folder(two_stages, tmp_path):
    lines = []
    run(tmp_path, say=lines.append)
    assert "1. Do first" in lines[0] and "2. Do second" in lines[0] and str(tmp_path) in lines[0]
    assert str(tmp_path / "index.html") in lines[-1]


def test_training_stage_shows_curve_and_faces(small):
    outcome = stages.train_tiny(small)
    assert "2 steps" in outcome.text and all((small.folder / path).exists() for path, _ in outcome.pictures)


def test_enrollment_driving_and_numbers(small):
    for stage in (stages.enroll_people, stages.drive_people, stages.measure_people):
        outcome = stage(small)
        for path, caption in outcome.pictures + outcome.clips + outcome.links:
            assert (small.folder / path).stat().st_size > 500 and caption
    assert len(list((small.folder / "avatars").iterdir())) == 4  # two people, one and three shots
    numbers = demo_numbers(small.folder / "evaluation.json")
    assert {"0-shot, unseen, mask: psnr", "3-shot, enrolled, mask: psnr"} <= set(numbers)
    records = {s.name: {"failed": "", "seconds": 1.0, "text": "", "pictures": [], "clips": [], "links": []}
               for s in demo.STAGES}  # fmt: skip
    page = demo._write(small, records, numbers).read_text()
    assert "33.15" in page and "Expected and obtained" in page
    for source in re.findall(r'src="([^"]+)"', page):
        assert (small.folder / source).exists()


def test_editing_stage_makes_both_strips(small):
    outcome = stages.edit_people(small)
    assert len(outcome.pictures) == 2 and "jaw open" in outcome.pictures[1][1]


def test_photograph_stage_tracks_enrolls_and_drives(small, monkeypatch):
    pytest.importorskip("skimage")

    def tracked(files, folder, size):
        assert files[0].exists() and size == 256
        shutil.copytree(small.test_people[0].captures[-1].folder, folder)
        return Capture.open(folder)

    monkeypatch.setattr("realhead.tracking.track", tracked, raising=False)
    outcome = stages.photograph(small)
    for path, _ in outcome.pictures + outcome.clips:
        assert (small.folder / path).exists()


def test_held_out_people_have_a_clip_but_are_measured_with_all_cameras(small):
    views = small.test_people[0]
    assert stages.SPOKEN in {c.sequence for c in views.captures}
    assert len(views.home.cameras) == 3 and all(len(s.capture.cameras) == 3 for s in views.unseen)


def test_portrait_camera_frames_the_head(small):
    avatar = small.avatar(small.test_people[0], 0)
    picture = avatar.render(avatar.neutral, portrait_camera(avatar, size=64))
    drawn = (picture < 0.98).any(-1).float()
    assert 0.25 < drawn.mean() < 0.85 and drawn[0].mean() == 0


def test_numbers_are_compared_with_the_expected_ranges(small, tmp_path):
    if not (small.folder / "evaluation.json").exists():
        stages.measure_people(small)
    write_expected(small.folder, "a test machine", tmp_path / "expected.json")
    expected = json.loads((tmp_path / "expected.json").read_text())
    numbers = demo_numbers(small.folder / "evaluation.json")
    assert {row[""] for row in comparison(numbers, expected).rows} == {"as expected"}
    worse = {name: value - 5 for name, value in numbers.items()}
    assert {row[""] for row in comparison(worse, expected).rows} == {"OUTSIDE"}
    assert {row[""] for row in comparison(numbers, {}).rows} == {"no expectation"}


def test_page_escapes_text_and_paths(tmp_path):
    table = Table("t <1>", [{"a": "<b>", "c": "1"}], {(0, "c")}, ("note & more",))
    section = Section("x", "a < b", (('p"1.png', "<i>"),), failed="y & z", tables=(table,))
    text = write_page(tmp_path / "index.html", "<title>", [section]).read_text()
    assert "<i>" not in text and "a &lt; b" in text and 'src="p%221.png"' in text
    assert "<b>1</b>" in text and "&lt;b&gt;" in text and "y &amp; z" in text


def test_split_holds_out_the_last_two(tmp_path):
    people = make_people(tmp_path, ("p1", "p2", "p3"), (), timesteps=1, views=1)
    stages._write_split(people.root, ["p2", "p3"])
    assert set(CaptureSet.open(tmp_path).people("test")) == {"p2", "p3"}
