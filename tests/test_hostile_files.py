"""Files that want more than to be read: one sentence, nothing run, nothing written elsewhere, little memory."""

import io
import json
import os
import pickle
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from format_examples import edit_json, edit_npz, insta_folder, nersemble_folder, rig_person, vhap_export
from planted_faults import every_frame

from realhead import cli
from realhead.capture import Capture
from realhead.capture.files import inside, picture_size, read_json, read_npz, read_png
from realhead.errors import AssetError, CaptureError, RealheadError
from realhead.head import load_head
from realhead.importing import insta
from realhead.importing.nersemble import read_calibration
from realhead.importing.tracker_files import read_tracked_frame
from realhead.model.smirk import load_smirk

LITTLE = 32 * 2**20
"""Bytes that a refusal may allocate."""


@pytest.fixture
def export(tmp_path):
    return vhap_export(tmp_path)


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LITTLE


class Call:
    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 700
    return text


def bomb(path: Path, name: str = "shape.npy", megabytes: int = 272) -> None:
    """A small zip that unpacks to a lot of zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as out,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (megabytes << 20,)}
        )
        out.write(header.getvalue())
        block = bytes(2**24)
        for _ in range(megabytes // 16):
            out.write(block)


@pytest.fixture(scope="module")
def bomb_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bomb") / "bomb.npz"
    bomb(path, megabytes=272)
    return path


def test_code_in_parameters_is_not_run(export, tmp_path):
    witness = tmp_path / "witness"
    np.savez(export / "flame_param" / "00000.npz", shape=np.array([Call(witness)], object))
    with pytest.raises(CaptureError, match="pickled objects") as error:
        Capture.open(export, load_head("open")).frame(0)
    one_sentence(error)
    assert not witness.exists()


def test_code_in_tracker_files_is_not_run(tmp_path):
    witness = tmp_path / "witness"
    for number, save in enumerate((torch.save, lambda c, p: p.write_bytes(pickle.dumps(c)))):
        path = tmp_path / f"{number:05d}.frame"
        save({"flame": {"exp": Call(witness)}, "opencv": {}}, path)
        with pytest.raises(CaptureError, match="frame") as error:
            read_tracked_frame(path)
        assert "mkdir" in one_sentence(error) or number == 1
    assert not witness.exists()


def test_code_in_smirks_weights_is_not_run(tmp_path):
    witness, path = tmp_path / "witness", tmp_path / "SMIRK_em1.pt"
    torch.save({"smirk_encoder.x": Call(witness)}, path)
    with pytest.raises(AssetError, match="SMIRK_em1.pt"):
        load_smirk(path)
    assert not witness.exists()


def test_zip_bombs_are_not_unpacked(export, bomb_file, monkeypatch, little_memory):
    assert bomb_file.stat().st_size < 2**21
    monkeypatch.setattr("realhead.head.flame_pickle.MAX_UNPACKED_BYTES", 2**28)
    with pytest.raises(CaptureError, match="unpacks to more") as error:
        read_npz(bomb_file)
    one_sentence(error)
    shutil.copy(bomb_file, export / "flame.npz")
    with pytest.raises(RealheadError):
        load_head(export / "flame.npz")
    shutil.copy(bomb_file, export / "00000.frame")
    with pytest.raises(CaptureError, match="unpacks to more"):
        read_tracked_frame(export / "00000.frame")


def test_arrays_that_lie_about_their_size_allocate_nothing(tmp_path, little_memory):
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**10, 10)})
        archive.writestr("shape.npy", header.getvalue())
    with pytest.raises(CaptureError, match="claims the size"):
        read_npz(path)


def png(width: int, height: int, rows: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(width * 3 + 1)) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_decompression_bombs_are_not_decoded(tmp_path, little_memory):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000, 20))
    for read in (lambda p: read_png(p, 3), picture_size):
        with pytest.raises(CaptureError, match="bomb.png") as error:
            read(path)
        one_sentence(error)


def test_other_formats_in_disguise_are_not_opened(tmp_path):
    """Encapsulated PostScript would start another program."""
    path = tmp_path / "00000_00.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(%pipe%touch x) (w) file\n")
    for read in (lambda p: read_png(p, 3), picture_size):
        with pytest.raises(CaptureError, match="00000_00.png"):
            read(path)


def test_pictures_that_were_cut_short_are_known_without_decoding(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(64, 48, 48))
    assert picture_size(path) == (64, 48) and read_png(path, 3).shape == (48, 64, 3)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CaptureError, match="ends too early"):
        picture_size(path)


def test_json_of_two_hundred_megabytes_is_not_read(export, little_memory):
    with open(export / "transforms.json", "wb") as stream:
        stream.truncate(200 * 2**20)
    with pytest.raises(CaptureError, match="larger than"):
        read_json(export / "transforms.json")
    with pytest.raises(CaptureError, match="larger than"):
        Capture.open(export)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"frames": ' + "9" * 5000 + "}", '{"a": "\ud800"', "\x00", "[]", ""])
def test_odd_json_gets_a_sentence(tmp_path, text):
    path = tmp_path / "transforms.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CaptureError, match="transforms.json") as error:
        read_json(path)
    one_sentence(error)


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "transforms.json")
    (tmp_path / "x.png").symlink_to("/dev/zero")
    (tmp_path / "x.npz").symlink_to("/dev/zero")
    for read in (lambda: read_json(tmp_path / "transforms.json"), lambda: read_npz(tmp_path / "x.npz"),
                 lambda: read_png(tmp_path / "x.png", 3), lambda: picture_size(tmp_path / "x.png")):  # fmt: skip
        with pytest.raises(CaptureError):
            read()


PATHS = ("../../../etc/passwd", "/etc/passwd", "images/../../../x.png", "a\0b", "x" * 10_000)


@pytest.mark.parametrize("key", ["file_path", "fg_mask_path", "flame_param_path"])
@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_paths_do_not_leave_the_folder(export, key, path):
    edit_json(export / "transforms.json", lambda c: c["frames"][5].update({key: path}))
    with pytest.raises(CaptureError) as error:
        Capture.open(export, load_head("open"))
        inside(export, path)
    assert "outside" in one_sentence(error)


def test_paths_of_insta_do_not_leave_the_folder(tmp_path):
    folder, checkpoints = insta_folder(tmp_path)
    for key in ("file_path", "seg_mask_path"):
        edit_json(
            folder / "transforms.json", lambda c, key=key: c["frames"][2].update({key: "../../../../x/00002.png"})
        )
        with pytest.raises(CaptureError, match="outside"):
            insta.read_insta(folder, load_head("open"), checkpoints)
        edit_json(folder / "transforms.json", lambda c, key=key: c["frames"][2].update({key: "images/00002.png"}))


@pytest.mark.parametrize("what", ["images/00000_00.png", "fg_masks", "flame_param"])
def test_links_out_of_the_folder_are_refused(export, tmp_path_factory, what):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = export / what
    if path.is_dir():
        shutil.rmtree(path)
        path.symlink_to(elsewhere)
    else:
        path.unlink()
        (elsewhere / "secret.png").write_bytes(b"secret")
        path.symlink_to(elsewhere / "secret.png")
    with pytest.raises(CaptureError, match="outside"):
        Capture.open(export, load_head("open"))


@pytest.mark.parametrize(
    "change",
    [
        {"fl_x": float("nan")},
        {"cx": float("inf")},
        {"w": 10**12},
        {"h": -5},
        {"fl_y": 0},
        {"transform_matrix": np.zeros((4, 4)).tolist()},
        {"transform_matrix": np.full((4, 4), np.nan).tolist()},
        {"transform_matrix": [[1e308] * 4] * 4},
        {"transform_matrix": [[[1]] * 4] * 4},
        {"transform_matrix": [[1e308, -1e308, 1e308, 0]] * 4},
        {"transform_matrix": np.diag([1.0, 1, 1, 0]).tolist()},
        {"transform_matrix": [[10**400] * 4] * 4},
        {"timestep_index": 10**30},
        {"timestep_index": -1},
        {"camera_index": 10**6},
        {"timestep_index": "x"},
        {"camera_index": [1]},
        {"file_path": None, "w": None},
    ],
)
def test_absurd_cameras_are_left_out_or_refused(export, change):
    edit_json(export / "transforms.json", lambda c: c["frames"][7].update(change))
    broken = Capture.open(export).broken
    assert len(broken) == 1 and "frame 7" in broken[0]
    assert f"'{next(iter(change))}'" in broken[0] or "'w'" in broken[0]  # the key
    every_frame(export, lambda frame: frame.update(change))
    with pytest.raises(CaptureError, match="transforms.json") as error:
        Capture.open(export)
    one_sentence(error)


def test_frames_that_are_no_tables_are_left_out(export):
    edit_json(export / "transforms.json", lambda c: c["frames"].__setitem__(slice(0, 3), [None, 3, []]))
    assert len(Capture.open(export).broken) == 3


def test_absurd_calibrations_are_refused(tmp_path):
    source = nersemble_folder(tmp_path, seconds=0.02)
    path = source / "018" / "calibration" / "camera_params.json"
    good = json.loads(path.read_text())
    serial = next(iter(good["world_2_cam"]))
    for change in (
        {"intrinsics": [[1]]},
        {"world_2_cam": {serial: np.full((4, 4), np.nan).tolist()}},
        {"world_2_cam": []},
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(CaptureError, match="camera_params.json") as error:
            read_calibration(source / "018")
        one_sentence(error)


def test_names_in_realhead_json_do_not_choose_where_imports_go(tmp_path, capsys):
    """person and sequence become folders: they are made harmless."""
    folder = shutil.copytree(rig_person(), tmp_path / "export")
    edit_json(folder / "realhead.json", lambda c: c.update(person="../../evil", sequence="/abs"))
    out = tmp_path / "set"
    assert cli.main(["import", "vhap", str(folder), "--out", str(out), "--head", "open"]) == 0
    made = Path(capsys.readouterr().out.strip())
    assert made.resolve().is_relative_to(out.resolve())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export", "set"]


def test_command_line_turns_hostile_folders_into_exit_code_two(export, tmp_path, capsys):
    edit_json(export / "transforms.json", lambda c: c["frames"][0].update(file_path="/etc/passwd"))
    for command in (["check", str(export), "--head", "open"],
                    ["import", "vhap", str(export), "--out", str(tmp_path / "set"), "--head", "open"]):  # fmt: skip
        assert cli.main(command) == 2
        assert "outside of its folder" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("key", ["shape", "expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation"])
@pytest.mark.parametrize("value", [None, np.array(["x"] * 3), np.full(7, 0.1), np.full((1, 300), np.inf), np.zeros(0)])
def test_bad_parameters_name_file_and_key(export, key, value):
    path = export / "flame_param" / "00002.npz"
    edit_npz(path, lambda a: {k: v for k, v in a.items() if k != key} | ({} if value is None else {key: value}))
    if key in ("shape", "expr") and value is not None and value.size in (0, 7):  # the rest are zeros
        head = load_head("open")
        frame = Capture.open(export, head).frame(2)
        assert len(frame.shape) == head.num_shape and len(frame.expression) == head.num_expression
        return
    with pytest.raises(CaptureError, match=f"00002.npz.*'{key}'") as error:
        Capture.open(export, load_head("open")).frame(2)
    one_sentence(error)


HEADS = (3, [], {"name": 3}, {"name": "open", "hash": 5}, {"name": "open", "source": {}}, {"hash": "x"})


@pytest.mark.parametrize("change", [{"head": head} for head in HEADS] + [{"person": 5}, {"sequence": ["a"]}], ids=str)
def test_odd_notes_of_a_capture_get_a_sentence(tmp_path, change, capsys):
    folder = shutil.copytree(rig_person(), tmp_path / "capture")
    edit_json(folder / "realhead.json", lambda c: c.update(change))
    assert cli.main(["check", str(folder)]) == 2
    shown = capsys.readouterr().err
    assert str(folder) in shown and "Traceback" not in shown
