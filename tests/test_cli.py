"""The command line: help on one screen, exit codes, and one sentence for everything a user can mend."""

from __future__ import annotations

import ast
import importlib
import signal
import subprocess
import sys
import time
import types
from functools import partial

import pytest
from evaluation_data import make_people
from safetensors import SafetensorError

from realhead import cli
from realhead.errors import CaptureError

SCREEN_LINES = 40


@pytest.fixture(autouse=True)
def _narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", str(SCREEN_LINES))


@pytest.fixture
def run_failing(monkeypatch):
    """Runs a command that raises what it is given."""

    def run(error: BaseException) -> int:
        def command(out: str = "here") -> None:
            """Fails."""
            raise error

        module = types.ModuleType("realhead.commands.failing")
        module.command = command
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "fail", cli.Command("failing", "command", "fails", "go on like this."))
        return cli.main(["fail"])

    return run


def test_help_is_one_screen_and_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= SCREEN_LINES and max(map(len, shown)) <= 100
    assert [line.split()[0] for line in shown if line.startswith("  ")] == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command_help_is_one_screen(name, capsys):
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= SCREEN_LINES
    assert "--out" in shown
    assert "Args:" not in shown and shown.startswith(f"usage: realhead {name}")


def test_help_of_every_command_loads_no_torch():
    """Fifteen helps in one fresh process: parsing stays light."""
    code = (
        "import sys; from realhead import cli\n"
        "for name in cli.COMMANDS: assert cli.main([name, '--help']) == 0\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_library_name_a_command_imports_exists(name):
    """Heavy imports are inside the functions, so a wrong one would show only when the command runs."""
    module = importlib.import_module(f"realhead.commands.{cli.COMMANDS[name].module}")
    tree = ast.parse(open(module.__file__, encoding="utf-8").read())
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == cli.COMMANDS[name].function)
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), {})


@pytest.mark.parametrize("arguments", [[], ["docter"], ["doctor", "--nothing"], ["train"]])
def test_wrong_usage_is_told_on_stderr(arguments, capsys):
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err


def test_misspelt_command_is_guessed(capsys):
    cli.main(["enrol"])
    assert "did you mean `realhead enroll`?" in capsys.readouterr().err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("realhead ")


def test_mendable_error_is_its_sentence_and_nothing_else(run_failing, capsys):
    assert run_failing(CaptureError("shelf/ has no transforms.json: export it again.")) == 2
    assert capsys.readouterr().err == "shelf/ has no transforms.json: export it again.\n"


def test_ctrl_c_says_how_to_go_on(run_failing, capsys):
    assert run_failing(KeyboardInterrupt()) == 2
    assert "Stopped: go on like this." in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "clip.mp4"),
        OSError("4096 requested and 12 written"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_is_one_sentence(run_failing, capsys, error):
    assert run_failing(error) == 2
    told = capsys.readouterr().err
    assert told.startswith("The disk is full") and told.count("\n") == 1


def test_missing_package_names_the_set_up(run_failing, capsys):
    assert run_failing(ModuleNotFoundError("No module named 'jupytext'", name="jupytext")) == 2
    assert "jupytext is missing: run `make setup`" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes"), OSError(5, "Input/output error")])
def test_a_bug_keeps_its_traceback(run_failing, error):
    with pytest.raises(type(error)):
        run_failing(error)


def test_module_command_reports_bad_input_with_code_2_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "realhead", "enroll", "nowhere", "--out", str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a process differently there")
def test_ctrl_c_in_training_is_told_and_the_same_command_goes_on(tmp_path):
    make_people(tmp_path / "data", people=("anna",), test=(), timesteps=2, views=1)
    command = [sys.executable, "-m", "realhead", "train", tmp_path / "data", "--preset", "tiny", "--iterations", "12"]
    command += ["--out", tmp_path / "run"]
    log = tmp_path / "run" / "log.jsonl"
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a background job would ignore Ctrl-C
    with subprocess.Popen(command, stderr=-1, stdout=-1, text=True, preexec_fn=heard) as running:  # noqa: PLW1509
        while running.poll() is None and not (log.exists() and log.read_text()):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 2, told
    assert told.rstrip().endswith("Stopped: the same command goes on where it was.") and "Traceback" not in told
    before = log.read_text().count("\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "run" / "prior.safetensors").exists()
    assert 1 <= before < log.read_text().count("\n")


def test_set_may_be_given_more_than_once(tmp_path, monkeypatch):
    from realhead import training

    seen = {}
    monkeypatch.setattr(training, "train", lambda data, out, config, **_: seen.update(config=config) or tmp_path)
    arguments = "train --set learning_rate=5e-3 batch_size=3 --seed 4 --set save_every=7 --out".split()
    assert cli.main([*arguments, str(tmp_path / "run"), str(tmp_path)]) == 0
    config = seen["config"]
    assert (config.learning_rate, config.batch_size, config.save_every, config.seed) == (5e-3, 3, 7, 4)
