"""NeRSemble: cameras, colours, rate and split of what is prepared for the tracker."""

import json
import shutil

import numpy as np
import pytest
import torch
from format_examples import nersemble_folder, rig_person
from PIL import Image

from realhead.capture import Capture
from realhead.checking.nersemble import check_nersemble, meeting_point
from realhead.errors import CaptureError, RealheadError
from realhead.importing import nersemble
from realhead.importing.colour import TERMS, correct, decoded, encoded
from realhead.importing.nersemble import SERIALS, Preparation, prepare, read_calibration
from realhead.importing.nersemble_split import NersembleSplit, read_split_file, resolve
from realhead.importing.run import import_nersemble

SPLIT = {"sequences": ["EXP-8-jaw-1"], "train": {"first": 1}, "test": ["018"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return nersemble_folder(tmp_path_factory.mktemp("nersemble"))


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("vhap")
    split = NersembleSplit(("021",), ("018",), ("EXP-8-jaw-1",))
    matting = nersemble.matting_by_name("difference")
    return prepare(source, out, split, Preparation(scale=2, matting=matting))


def test_twenty_five_of_seventy_three_pictures_are_kept(prepared):
    folder = prepared / "018" / "sequences" / "EXP-8-jaw-1" / "images_2"
    kept = sorted(folder.glob(f"cam_{SERIALS[8]}_*.jpg"))
    assert len(kept) == 7 and kept[0].stem.endswith("_000000")  # a quarter of a second
    assert Image.open(kept[0]).size == (100, 120)
    truth = Capture.open(rig_person())
    for number, path in enumerate(kept[:4]):
        moment = round(number * 73 / 25) % 6  # the example repeats six moments
        small = Image.fromarray((truth.view(moment, "08").image().numpy() * 255).astype(np.uint8))
        wanted = np.asarray(small.resize((100, 120), Image.Resampling.BOX), float)
        assert np.abs(np.asarray(Image.open(path), float) - wanted).mean() < 4  # colours put right, moment right


def test_calibration_is_passed_on_and_colours_are_not_corrected_twice(source, prepared):
    truth = Capture.open(rig_person()).cameras["08"]
    cameras = read_calibration(prepared / "018")
    torch.testing.assert_close(cameras[SERIALS[8]].cam_from_world, truth.cam_from_world)
    assert (cameras[SERIALS[8]].width, cameras[SERIALS[8]].height) == (truth.width, truth.height)
    assert [c.name for c in cameras.values()] == sorted(c.name for c in cameras.values())
    colours = json.loads((prepared / "018" / "calibration" / "color_calibration.json").read_text())
    assert all(np.array_equal(matrix, np.eye(3)) for matrix in colours.values())


def test_masks_of_the_hook_are_the_person(prepared):
    mask = np.asarray(
        Image.open(prepared / "018" / "sequences" / "EXP-8-jaw-1" / "alpha_maps" / f"cam_{SERIALS[8]}_000000.jpg")
    )
    truth = Capture.open(rig_person()).view(0, "08").mask().numpy()
    wanted = np.asarray(Image.fromarray((truth * 255).astype(np.uint8)).resize((100, 120), Image.Resampling.BOX))
    assert ((mask > 127) == (wanted > 127)).mean() > 0.93


def test_missing_videos_are_listed_and_steps_are_written(prepared):
    left_out = json.loads((prepared / "import.json").read_text())["left_out"]
    assert len(left_out) == 7 and all("021" in s and ".mp4" in s for s in left_out)
    steps = (prepared / "track.sh").read_text()
    assert "--model.no_use_static_offset" in steps and "--data.subject 021" in steps


def test_finished_sequences_are_kept(source, prepared):
    path = next((prepared / "018" / "sequences" / "EXP-8-jaw-1" / "images_2").iterdir())
    before = path.stat().st_mtime_ns
    prepare(source, prepared, NersembleSplit((), ("018",), ("EXP-8-jaw-1",)), Preparation(scale=2))
    assert path.stat().st_mtime_ns == before


def test_rates_are_believed_only_near_the_cameras():
    assert [nersemble.rate_of(*pair) for pair in ((73, None), (72.5, None), (24, None), (30, 60.0))] == [
        73,
        72.5,
        73,
        60,
    ]


def test_srgb_round_trip_and_known_value():
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(encoded(decoded(values)), values, atol=1e-12)
    assert decoded(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_colour_terms_are_cheungs():
    """Golden: the terms of R, G, B = 0.2, 0.3, 0.5 in the published order (checked against colour-science 0.4.7)."""
    picture = np.full((1, 1, 3), 128, np.uint8)
    for count, exponents in TERMS.items():
        assert len(exponents) == count and len(set(exponents)) == count
        matrix = np.zeros((3, count))
        matrix[:, :3] = np.eye(3)
        np.testing.assert_array_equal(correct(picture, matrix), picture)
    golden = [0.2, 0.3, 0.5, 0.06, 0.1, 0.15, 0.04, 0.09, 0.25, 0.03, 0.012, 0.045, 0.05, 0.008, 0.027, 0.125, 1]
    got = [float(np.prod(np.array([0.2, 0.3, 0.5]) ** e)) for e in np.array(TERMS[17])]
    np.testing.assert_allclose(got, golden)


@pytest.mark.parametrize("matrix", [np.eye(3)[:2], np.zeros((3, 6)), np.full((3, 3), np.nan)])
def test_unknown_colour_matrices_are_refused(matrix):
    with pytest.raises(CaptureError, match="colour calibration"):
        correct(np.zeros((1, 1, 3), np.uint8), matrix)


def test_split_file_is_resolved_against_the_download(source, tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(SPLIT))
    assert resolve(source, path) == NersembleSplit(("021",), ("018",), ("EXP-8-jaw-1",))
    path.write_text(json.dumps(SPLIT | {"train": ["018", "021", "400"], "test": []}))
    assert resolve(source, path).train == ("018", "021")
    (source / "metadata_sequences.csv").write_text("ID,wears_glasses,EXP-8-jaw-1\n18,no,x\n21,no,m\n")
    assert resolve(source, path).train == ("018",)
    (source / "metadata_sequences.csv").unlink()


def test_shipped_split_is_two_hundred_and_twenty():
    content = read_split_file(None)
    assert content["train"] == {"first": 200} and len(set(content["test"])) == 20 and len(content["sequences"]) == 6


@pytest.mark.parametrize(
    "change", [{"test": "018"}, {"train": {"first": 0}}, {"test": ["../018"]}, {"sequences": ["a/b"]}]
)
def test_bad_split_files_get_a_sentence(tmp_path, change):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(SPLIT | change))
    with pytest.raises(CaptureError, match="split.json"):
        read_split_file(path)


def test_check_knows_good_and_flipped_calibrations(source, tmp_path):
    topics = {f.topic: f.state for f in check_nersemble(source)}
    assert topics["format"] == "ok" and "OpenCV/OpenGL mix-up" not in topics and topics["left out"] == "absent"
    cameras = read_calibration(source / "018")
    point, behind = meeting_point(list(cameras.values()))
    assert behind == 0 and float(point.norm()) < 0.1
    path = tmp_path / "018" / "calibration" / "camera_params.json"
    path.parent.mkdir(parents=True)
    content = json.loads((source / "018" / "calibration" / "camera_params.json").read_text())
    flip = np.diag([1.0, -1, -1, 1])
    content["world_2_cam"] = {s: (flip @ np.array(m)).tolist() for s, m in content["world_2_cam"].items()}
    path.write_text(json.dumps(content))
    colours = source / "018" / "calibration" / "color_calibration.json"
    (path.parent / colours.name).write_text(colours.read_text())
    assert {f.topic: f.state for f in check_nersemble(tmp_path)}["OpenCV/OpenGL mix-up"] == "problem"


def test_unknown_matting_and_empty_splits_get_a_sentence(source, tmp_path):
    with pytest.raises(RealheadError, match="module:function"):
        nersemble.matting_by_name("nowhere.at_all:f")
    with pytest.raises(CaptureError, match="nersemble-data"):
        prepare(source, tmp_path, NersembleSplit((), (), ("FREE",)))


def test_the_download_is_never_written_into(source):
    path = source / "018" / "calibration" / "color_calibration.json"
    before = path.read_text()
    with pytest.raises(RealheadError, match="--out"):
        import_nersemble(source, source, None, 25, 4, "none")
    assert path.read_text() == before


def test_what_failed_or_was_made_otherwise_is_made_again(source, tmp_path):
    """A video that comes late is prepared by the next run; another rate leaves no picture of the former behind."""
    copy = shutil.copytree(source, tmp_path / "source")
    videos = copy / "018" / "sequences" / "EXP-8-jaw-1" / "images"
    late = videos / f"cam_{SERIALS[0]}.mp4"
    for video in videos.iterdir():
        if video.stem != f"cam_{SERIALS[8]}":
            video.rename(tmp_path / video.name)
    split = NersembleSplit((), ("018",), ("EXP-8-jaw-1",))
    folder = prepare(copy, tmp_path / "out", split, Preparation(scale=2)) / "018/sequences/EXP-8-jaw-1/images_2"
    assert len(list(folder.iterdir())) == 7
    (tmp_path / late.name).rename(late)
    prepare(copy, tmp_path / "out", split, Preparation(scale=2))
    assert len(list(folder.glob(f"cam_{SERIALS[0]}_*"))) == 7
    prepare(copy, tmp_path / "out", split, Preparation(fps=10, scale=2))
    assert len(list(folder.glob(f"cam_{SERIALS[0]}_*"))) == 3
    assert "--data.n_downsample_rgb 2" in (tmp_path / "out" / "track.sh").read_text()


def test_check_reads_what_was_prepared(prepared):
    findings = {f.topic: f.found for f in check_nersemble(prepared)}
    assert "prepared for VHAP: 2 participants, 2 sequences" in findings["format"]
    assert "has 8 of 16 cameras" in findings["left out"] and "track.sh" in findings["next"]
