"""The make targets of the contract, and what the set-up says when the machine is not ready. Nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def make(root, *arguments, path=None):
    environment = {**os.environ, **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV"):  # of the `make test` that runs this
        environment.pop(name, None)
    return subprocess.run(["make", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_help_names_the_targets_of_the_contract(root):
    shown = make(root).stdout
    for target in ("setup", "demo", "test", "lab", "bench"):
        assert f"make {target} " in shown


@pytest.mark.parametrize("target", ["demo", "test", "lab", "bench"])
def test_every_target_sets_up_first(root, tmp_path, target):
    planned = make(root, "-n", target, f"VENV={tmp_path / 'venv'}").stdout
    assert "pip install" in planned and "-r requirements.lock" in planned


def test_lab_opens_the_first_notebook_where_links_to_other_folders_work(root, tmp_path):
    planned = make(root, "-n", "lab", f"VENV={tmp_path / 'venv'}").stdout.splitlines()[-1]
    assert "--ip=127.0.0.1" in planned and "cd " not in planned
    assert (root / re.search(r"default_url=/lab/tree/(\S+)", planned).group(1)).is_file()


def test_missing_python_is_one_sentence(root, tmp_path):
    done = make(root, "setup", "PYTHON=", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0 and "Python 3.11 or newer was not found" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only PyTorch for Linux is that large")
def test_full_disk_is_told_before_anything_is_installed(root, tmp_path):
    fake = tmp_path / "bin" / "df"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nprintf 'head\\ndisk 9 8 3145728 9%% /\\n'\n")
    fake.chmod(0o755)
    done = make(root, "setup", f"VENV={tmp_path / 'venv'}", path=fake.parent)
    assert done.returncode != 0 and "8 GB are needed and 3 GB are free" in done.stderr
    assert "7 GB" in done.stdout and not (tmp_path / "venv").exists()


def test_a_finished_set_up_is_not_repeated(root, tmp_path):
    planned = make(root, "-n", "-p", "setup", f"VENV={tmp_path / 'venv'}").stdout
    stamp = next(line.split(":=")[1].strip() for line in planned.splitlines() if line.startswith("STAMP :="))
    (tmp_path / "venv").mkdir()
    open(stamp.replace("$(VENV)", str(tmp_path / "venv")), "w").close()
    assert "pip install" not in make(root, "-n", "setup", f"VENV={tmp_path / 'venv'}").stdout


def test_continuous_integration_calls_make_test_in_an_environment_of_its_own(root):
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text()
    assert "make test" in text and "mktemp -d" in text and "VENV=" in text
