"""The sample people are made once, completed when they were left half made, and held out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from realhead import samples
from realhead.capture.openheads import generate as generator


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the generator: one capture file instead of pictures."""
    made = []

    def generate(out, size, *, people, first, timesteps, processes):
        made.append(timesteps)
        folder = out / f"p{first}" / "EMO"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "transforms.json").write_text('{"frames": []}')

    monkeypatch.setattr(generator, "generate", generate)
    monkeypatch.setattr(samples.CaptureSet, "open", classmethod(lambda cls, root: root))
    return made


def test_made_once_and_held_out(tmp_path, calls):
    assert samples.sample_captures(tmp_path, fast=True) == samples.sample_captures(tmp_path, fast=True)
    assert calls == [samples.FAST_TIMESTEPS]
    assert "p9007" in (tmp_path / "split.json").read_text() and "p9008" in (tmp_path / "split.json").read_text()


def test_half_made_set_is_completed(tmp_path, calls):
    (tmp_path / "split.json").write_text("{}")
    samples.sample_captures(tmp_path, fast=False)
    assert calls == [samples.TIMESTEPS]


def test_the_variable_chooses_the_length(tmp_path, calls, monkeypatch):
    monkeypatch.setenv("REALHEAD_FAST", "1")
    samples.sample_captures(tmp_path)
    assert calls == [samples.FAST_TIMESTEPS]


def test_script_without_a_main_guard_gets_a_sentence(tmp_path):
    script = tmp_path / "script.py"
    call = f"sample_captures({str(tmp_path / 'out')!r}, fast=True)"
    script.write_text(f"from realhead.samples import sample_captures\n{call}\n")
    done = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode and "if __name__ == '__main__':" in done.stderr.splitlines()[-1]
