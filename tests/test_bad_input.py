"""Bad input through the command line: exit code 2, one sentence that says how to mend it, and nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_data import make_people, person_avatar, tiny_prior
from PIL import Image
from tracking_networks import needs_networks

from realhead import cli
from realhead.model.checkpoint import save_prior


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder of good and bad files; tests only read it."""
    folder = tmp_path_factory.mktemp("inputs")
    make_people(folder / "set", people=("anna",), test=(), timesteps=2)
    good = folder / "set" / "anna" / "two"
    (folder / "empty").mkdir()
    for name, change in {
        "keyless": lambda frame: frame.pop("fl_x"),
        "oversize": lambda frame: frame.update(w=frame["w"] + 1),
    }.items():
        _edited(good, folder / name, change)
    save_prior(tiny_prior(), folder / "prior.safetensors", {})
    whole = (folder / "prior.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "hostile.safetensors").write_bytes(pickle.dumps(Payload(folder / "broken_into")))
    person_avatar(tiny_prior(), torch.zeros(tiny_prior().head.num_shape), torch.zeros(3)).save(
        folder / "avatar.safetensors"
    )
    face = _photograph()
    Image.fromarray(face).save(folder / "one.png")
    Image.fromarray(np.concatenate((face, face), 1)).save(folder / "two.png")
    Image.fromarray(np.full_like(face, 90)).save(folder / "none.png")
    return folder


def _photograph() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()[:300]


def _edited(source: Path, target: Path, change) -> None:
    shutil.copytree(source, target)
    for path in target.glob("transforms*.json"):
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            change(frame)
        path.write_text(json.dumps(content))


def refused(capsys, arguments: str, inputs: Path, out: Path) -> str:
    """The sentence with which a command is refused."""
    before = _files(inputs)
    code = cli.main([argument.format(inputs=inputs, out=out) for argument in arguments.split()])
    told = capsys.readouterr()
    assert code == 2, told
    assert not out.exists() and not list(out.parent.iterdir()) and _files(inputs) == before
    assert told.err.count("\n") == 1 and "Traceback" not in told.err, told.err
    return told.err


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


GOOD = "{inputs}/set/anna/two"
FROM_PRIOR = "--prior {inputs}/prior.safetensors --out {out}"
NO_CAPTURE = "is no capture: it has no transforms.json. Make one with `realhead data`"
CASES = {
    "folder without transforms.json": ("enroll {inputs}/empty " + FROM_PRIOR, NO_CAPTURE),
    "driver without transforms.json": ("drive {inputs}/avatar.safetensors {inputs}/empty --out {out}.mp4", NO_CAPTURE),
    "training set without captures": ("train {inputs}/empty --preset tiny --out {out}", "holds no capture"),
    "camera file with missing keys": ("enroll {inputs}/keyless " + FROM_PRIOR, "'fl_x' is missing"),
    "images of the wrong size": ("enroll {inputs}/oversize " + FROM_PRIOR, "72x72 pixels but its camera says 73x72"),
    "truncated prior": (f"enroll {GOOD} --prior {{inputs}}/half.safetensors --out {{out}}", "damaged.* get it again"),
    "hostile prior": (
        f"enroll {GOOD} --prior {{inputs}}/hostile.safetensors --out {{out}}",
        "damaged or no checkpoint",
    ),
    "truncated avatar": ("export {inputs}/half.safetensors --out {out}", "damaged.* get it again"),
    "hostile avatar": ("view {inputs}/hostile.safetensors --out {out}", "damaged or no checkpoint"),
    "prior in place of an avatar": ("export {inputs}/prior.safetensors --out {out}", "no avatar.* `realhead enroll`"),
    "start from a truncated prior": (
        "train {inputs}/set --preset tiny --init {inputs}/half.safetensors --out {out}",
        "damaged.* get it again",
    ),
    "missing FLAME file": (
        "track {inputs}/one.png --head {inputs}/flame2023.pkl --out {out}",
        r"1\) register .* 2\) download .* 3\) pass .* 'open' is a free substitute",
    ),
    "more shots than pictures": (f"enroll {GOOD} --shots 99 " + FROM_PRIOR, "only 3 pictures to enroll but 99"),
    "fewer shots than none": (f"enroll {GOOD} --shots -1 " + FROM_PRIOR, "-1 pictures cannot be enrolled"),
    "clip of no kind": (f"drive {{inputs}}/avatar.safetensors {GOOD} --out {{out}}.avi", "end it with .mp4 or .gif"),
    "clip of no speed": (f"drive {{inputs}}/avatar.safetensors {GOOD} --fps 0 --out {{out}}.mp4", "at least 1"),
    "no training at all": ("train {inputs}/set --preset tiny --iterations 0 --out {out}", "iterations is 0"),
    "no process at all": ("data --size mini --processes 0 --out {out}", "--processes is 0: it must be at least 1"),
}


@pytest.mark.parametrize("arguments, sentence", CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing(capsys, inputs, tmp_path, arguments, sentence):
    told = refused(capsys, arguments, inputs, tmp_path / "out")
    assert re.search(sentence, told), told
    assert not (inputs / "broken_into").exists()


@needs_networks
@pytest.mark.parametrize("command", ["track", "avatar"])
@pytest.mark.parametrize(
    "photograph, sentence", [("none", "No face was found in none.png: use"), ("two", "2 faces were found in two.png: ")]
)
def test_photographs_without_one_face_are_one_sentence(capsys, inputs, tmp_path, command, photograph, sentence):
    prior = " --prior {inputs}/prior.safetensors" if command == "avatar" else ""
    arguments = f"{command} {{inputs}}/{photograph}.png{prior} --out {{out}}"
    assert sentence in refused(capsys, arguments, inputs, tmp_path / "out")


def test_busy_port_is_one_sentence(capsys, inputs, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = f"view {{inputs}}/avatar.safetensors --port {taken.getsockname()[1]} --no-browser"
        assert "is in use by another program: stop it" in refused(capsys, arguments, inputs, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="makes a small disk of its own")
def test_full_disk_is_one_sentence_and_leaves_nothing(inputs, tmp_path):
    alone = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.getuid() else [])]
    small_disk = ["mount", "-t", "tmpfs", "-o", "size=40k", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*alone, *small_disk], check=False).returncode:
        pytest.skip("this machine lets nobody make a disk")
    enroll = ["enroll", inputs / "set/anna/two", "--prior", inputs / "prior.safetensors", "--shots", 0]
    export = ["export", inputs / "avatar.safetensors"]
    code = f"""
import os, subprocess
from realhead import cli
subprocess.run({small_disk}, check=True)
for command in {[[str(part) for part in command] for command in (enroll, export)]}:
    print(cli.main([*command, "--out", {str(tmp_path / "file")!r}]), os.listdir({str(tmp_path)!r}))
"""
    done = subprocess.run([*alone, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["2 []", "2 []"], done
    assert done.stderr.count("free some space") == 2 and done.stderr.count("\n") == 2
