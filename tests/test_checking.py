"""`realhead check`: good data pass, every planted fault is named and nothing else, and the sheet is written."""

import json
import shutil

import numpy as np
import pytest
from format_examples import clip_person, flame_file, flash_folder, insta_folder, rig_person, vhap_export
from PIL import Image
from planted_faults import PLANTED, PLANTED_INSTA, RememberingLandmarker, crop_and_flip

from realhead import cli
from realhead.checking import evidence, faults
from realhead.checking.check import check
from realhead.checking.hypotheses import mirror_partner
from realhead.checking.sheet import write_sheet
from realhead.doctor import Finding
from realhead.errors import CaptureError, RealheadError
from realhead.head import load_head


@pytest.fixture(scope="module", autouse=True)
def _remembered_landmarks():
    """Most faults leave the pictures alone: each is looked at once. Fewer are looked at than in earnest."""
    landmarker = RememberingLandmarker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "_landmarker", lambda: landmarker)
        patch.setattr(evidence, "CAMERAS", 4)
        yield


@pytest.fixture
def rig(tmp_path):
    return shutil.copytree(rig_person(), tmp_path / "rig")


@pytest.fixture
def clip(tmp_path):
    return shutil.copytree(clip_person(), tmp_path / "clip")


@pytest.mark.parametrize("make", [rig_person, clip_person])
def test_good_captures_pass(make):
    report = check(make())
    assert not report.problems and report.picture is not None
    assert {"cameras", "frames", "units", "masks", "overlay", "in step"} <= {f.topic for f in report.findings}


def test_all_known_faults_are_planted_somewhere():
    assert set(PLANTED) == set(faults.FAULTS) and set(PLANTED_INSTA) <= set(faults.FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults_are_named_and_nothing_else(rig, fault):
    PLANTED[fault](rig)
    report = check(rig)
    assert report.faults() == {fault}
    assert all(finding.advice for finding in report.problems)


@pytest.mark.slow
@pytest.mark.parametrize("make", [insta_folder, flash_folder])
@pytest.mark.parametrize("fault", [None, *PLANTED_INSTA])
def test_faults_of_clips_with_tracker_files_are_named(tmp_path, make, fault):
    folder, checkpoints = make(tmp_path)
    if fault:
        PLANTED_INSTA[fault](folder, checkpoints)
    report = check(folder, "open", checkpoints)
    assert report.faults() == ({fault} if fault else set())


def test_flame_of_another_edition_is_named(tmp_path):
    """VHAP's coefficients are FLAME 2023's, metrical-tracker's FLAME 2020's."""
    assert check(vhap_export(tmp_path), str(flame_file(tmp_path, "generic_model.pkl"))).faults() == {
        "wrong FLAME edition"
    }
    folder, checkpoints = insta_folder(tmp_path)
    report = check(folder, str(flame_file(tmp_path, "flame2023.pkl")), checkpoints)
    assert report.faults() == {"wrong FLAME edition"} and "FLAME 2020" in report.sentence()


def test_licensed_files_are_looked_at(tmp_path):
    flame_file(tmp_path, "flame2023_Open.pkl")
    (tmp_path / "SMIRK_em1.pt").write_bytes(b"no archive")
    report = check(tmp_path)
    shown = {f.topic: f.found for f in report.findings}
    assert "FLAME 2023 Open, 300 identity coefficients and 100 expressions" in shown["FLAME"]
    assert "own texture" in shown["FLAME"]
    assert "CC-BY-4.0" in shown["licence"] and "SMIRK_em1.pt" in report.sentence()


def test_a_folder_without_a_usable_frame_is_a_problem(tmp_path):
    folder, checkpoints = insta_folder(tmp_path)
    for path in checkpoints.iterdir():
        path.rename(path.with_name(f"{int(path.stem) + 100:05d}.frame"))
    report = check(folder, "open", checkpoints)
    assert "00100" in str(report.findings) or "frame 100" in str(report.findings)
    assert report.problems


def test_principal_point_of_a_cropped_clip_is_seen(clip):
    crop_and_flip(clip)
    assert check(clip).faults() == {"flipped principal point"}


def test_folders_of_captures_are_checked_one_by_one(rig, clip, tmp_path):
    """What `realhead import` makes: good ones get a line, bad ones their name before the fault."""
    root = tmp_path / "set"
    shutil.copytree(rig, root / "anna" / "one")
    shutil.move(rig, root / "anna" / "two")
    PLANTED["degrees for radians"](root / "anna" / "two")
    shutil.move(clip, root / "berta" / "film")
    (root / "berta" / "film" / "transforms.json").write_text("{}")
    report = check(root)
    by_topic = {f.topic: f for f in report.findings}
    assert by_topic["anna/one"].state == "ok" and by_topic["sizes"].state == "ok" and len(report.tiles) == 2
    assert report.faults() == {"degrees for radians"} and "anna/two: " in by_topic["degrees for radians"].found
    assert "film/transforms.json" in by_topic["unreadable"].found


def test_one_step_is_seen_in_a_clip(clip):
    PLANTED["out of step"](clip)
    report = check(clip)
    assert report.faults() == {"out of step"} and "shift the parameters by +1 frames" in report.sentence()


def test_broken_frames_are_listed_but_are_no_problem(rig):
    (rig / "images" / "00000_08.png").write_bytes(b"")
    (rig / "flame_param" / "00003.npz").write_bytes(b"PK")
    report = check(rig)
    left_out = next(f for f in report.findings if f.topic == "left out")
    assert not report.problems and "00000_08.png" in left_out.found and "00003.npz" in left_out.found


def test_masks_alone_find_coarse_faults(rig, monkeypatch):
    """Where no face can be looked for, masks still tell axes and scale."""
    monkeypatch.setattr(evidence, "_landmarker", lambda: None)
    assert not check(rig).problems
    PLANTED["mesh scale x4"](rig)
    assert check(rig).faults() == {"mesh scale x4"}


def test_first_row_of_a_matrix_is_no_axis_angle(rig):
    from planted_faults import to_first_row

    to_first_row(rig)
    assert check(rig).faults() == {"6D for axis-angle"}


def test_editions_contradict_each_other():
    class Flame:
        name, hash, edition, num_vertices = "flame2023", "0", "2023", 5272

    assert faults.editions(Flame, "2020", None)[0].topic == "wrong FLAME edition"
    assert faults.editions(Flame, None, "2020")[0].state == "problem"
    assert faults.editions(Flame, "2023", None)[0].state == "ok"
    Flame.edition = None
    assert faults.editions(Flame, "2023", None)[0].state == "absent"
    assert faults.offset_rows({5143}, Flame)[0].state == "ok"
    assert faults.offset_rows({5000}, Flame)[0].topic == "rows of offsets"


def test_landmarks_know_their_partner_on_the_other_side():
    head = load_head("open")
    partner = mirror_partner(head)
    numbers = head.landmarks["mediapipe"][2].tolist()
    pairs = {numbers[k]: numbers[p] for k, p in enumerate(partner)}
    assert pairs[33] == 263 and pairs[263] == 33 and pairs[61] == 291 and pairs[4] == 4


def test_sheets_are_pages_and_pictures(tmp_path):
    findings = [Finding("cameras", "problem", "<b>3</b>", "mend & go on")]
    sheet = np.zeros((20, 30, 3), np.uint8)
    page = write_sheet(tmp_path / "a" / "check.html", "t", findings, sheet).read_text()
    assert "&lt;b&gt;3" in page and "data:image/jpeg;base64," in page and "http" not in page
    assert Image.open(write_sheet(tmp_path / "check.png", "t", findings, sheet)).size == (30, 20)
    assert "<img" not in write_sheet(tmp_path / "b.html", "t", findings, None).read_text()
    for path, picture in ((tmp_path / "c.pdf", sheet), (tmp_path / "c.png", None)):
        with pytest.raises(RealheadError):
            write_sheet(path, "t", findings, picture)


def test_command_line_says_what_is_wrong_and_exits_with_two(tmp_path, capsys):
    export = vhap_export(tmp_path)
    assert cli.main(["check", str(export), "--head", "open", "--out", str(tmp_path / "good.html")]) == 0
    assert "cameras" in capsys.readouterr().out
    PLANTED["degrees for radians"](export)
    assert cli.main(["check", str(export), "--head", "open"]) == 2
    shown = capsys.readouterr()
    assert "degrees for radians" in shown.err and "pi / 180" in shown.err and len(shown.err.splitlines()) <= 3
    assert (export / "check.html").is_file()
    assert cli.main(["check", str(tmp_path / "absent")]) == 2


def test_export_without_a_flame_file_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv("REALHEAD_ASSETS", raising=False)
    with pytest.raises(CaptureError, match="FLAME 2023"):
        check(vhap_export(tmp_path))


def test_capture_without_a_named_head_asks_for_it(rig):
    path = rig / "realhead.json"
    content = json.loads(path.read_text())
    del content["head"]
    path.write_text(json.dumps(content))
    with pytest.raises(CaptureError, match="--head"):
        check(rig)
