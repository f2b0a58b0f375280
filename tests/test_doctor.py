"""The doctor tells what is there, what is missing and what degrades."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from realhead import assets, cli, doctor


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REALHEAD_CACHE", str(tmp_path / "cache"))


def topic(findings, name):
    return [finding for finding in findings if finding.topic == name]


def test_report_fits_one_screen_and_covers_every_topic():
    findings = doctor.examine()
    wanted = "python packages device splatting head FLAME DINO priors weights licence chromium disk"
    assert list(dict.fromkeys(finding.topic for finding in findings)) == wanted.split()
    text = doctor.as_text(findings, width=100)
    assert len(text.splitlines()) <= 40 and max(map(len, text.splitlines())) <= 100


def test_missing_weights_say_what_degrades_and_leave_nothing_behind(empty_cache, tmp_path):
    found = topic(doctor.examine(), "weights")
    assert [finding.state for finding in found] == ["absent"] * len(assets.ASSETS)
    for finding, asset in zip(found, assets.ASSETS.values(), strict=True):
        assert asset.without in finding.advice and asset.licence in finding.found and "--fetch" in finding.advice
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_a_problem(empty_cache):
    path = assets.ASSETS["face_landmarker.task"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    assert topic(doctor.examine(), "weights")[0].state == "problem"


def test_flame_is_found_below_the_assets_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    (before,) = topic(doctor.examine(), "FLAME")
    assert before.state == "absent" and str(tmp_path) in before.found and "free head" in before.advice
    (tmp_path / "flame").mkdir()
    (tmp_path / "flame" / "flame2023_Open.pkl").touch()
    (after,) = topic(doctor.examine(), "FLAME")
    assert after.state == "ok" and "flame2023_Open.pkl" in after.found


def test_user_weights_of_dino_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    (before,) = topic(doctor.examine(), "DINO")
    assert before.state == "absent" and "stand-in" in before.advice
    (tmp_path / "dino_vits16.safetensors").touch()
    (after,) = topic(doctor.examine(), "DINO")
    assert after.state == "ok"


def test_full_disk_is_a_problem(monkeypatch):
    usage = doctor.shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    (finding,) = topic(doctor.examine(), "disk")
    assert finding.state == "problem" and "0.1 GB" in finding.found


def test_a_broken_package_does_not_stop_the_report(monkeypatch):
    def broken():
        raise ImportError("no symbol")

    broken.__name__ = "_device"
    monkeypatch.setattr(doctor, "_device", broken)
    (finding,) = topic(doctor.examine(), "device")
    assert finding == doctor.Finding("device", "problem", "ImportError: no symbol", doctor.SETUP)


def test_json_on_stdout_and_in_the_file_agree(capsys, tmp_path):
    out = tmp_path / "reports" / "doctor.json"
    assert cli.main(["doctor", "--json", "--out", str(out)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(out.read_text())
    assert {"topic", "state", "found", "advice"} == set(shown["findings"][0])


def test_summary_counts(monkeypatch):
    fine = doctor.Finding("disk", "ok", "plenty")
    assert doctor.as_text([fine]).endswith("Everything is here.")
    assert "1 to be mended (!), 1 optional" in doctor.as_text(
        [replace(fine, state="problem"), replace(fine, state="absent")]
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_an_unwritable_report_is_one_sentence(capsys, tmp_path):
    full = tmp_path / "full.json"
    full.symlink_to("/dev/full")
    assert cli.main(["doctor", "--out", str(full)]) == 2
    assert capsys.readouterr().err.startswith("The disk is full")


def test_a_prior_of_another_head_is_a_problem(monkeypatch, tmp_path):
    from realhead.model import checkpoint

    tensors, metadata = checkpoint.load_tensors(checkpoint.SHIPPED / "laptop.safetensors")
    metadata["binding"]["head"] = "0" * 16
    checkpoint.save_tensors(tmp_path / "laptop.safetensors", tensors, metadata)
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    (finding,) = doctor._priors()
    assert finding.state == "problem" and "another head (0000000000000000)" in finding.found
