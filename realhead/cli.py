"""The `realhead` command: picks one command, parses its arguments, turns mendable errors into one sentence.

Exit code 0 means done, 2 means that something has to be mended first (the sentence on stderr says what). Nothing heavy
is imported before a command runs. A failure that is nobody's input is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from realhead import __version__
from realhead.errors import RealheadError


@dataclass(frozen=True)
class Command:
    """Where a command lives and what it says about itself."""

    module: str
    """Module in `realhead.commands`."""
    function: str
    summary: str
    """One line of `realhead --help`."""
    resume: str = "nothing half-written was left; run the same command again."
    """What to do after Ctrl-C."""


AGAIN = "the same command goes on where it was."
COMMANDS: dict[str, Command] = {
    "doctor": Command("house", "doctor", "look at this machine: versions, device, weight files, what is missing"),
    "data": Command("capturing", "data", "capture synthetic people with sixteen cameras", AGAIN),
    "track": Command("capturing", "track", "turn photographs or a video of one person into a capture"),
    "import": Command("importing", "import_", "read VHAP, NeRSemble, INSTA, SMIRK and FLAME files", AGAIN),
    "check": Command("importing", "check", "look for broken conventions in data before training on it"),
    "train": Command("learning", "train", "train a prior over heads on a capture set", AGAIN),
    "enroll": Command("avatars", "enroll", "make an avatar from one to three pictures of a capture"),
    "drive": Command("avatars", "drive", "move an avatar by a capture and write a side-by-side clip"),
    "avatar": Command("avatars", "avatar", "track, enroll and drive in one: from photographs to a clip", AGAIN),
    "evaluate": Command("learning", "evaluate", "measure a prior on people it never saw", AGAIN),
    "ablate": Command("learning", "ablate", "train and measure the rows of the paper's ablation tables", AGAIN),
    "report": Command("learning", "report", "make tables and figures of results"),
    "view": Command("avatars", "view", "look at an avatar's Gaussians in the browser"),
    "demo": Command("house", "demo", "run the whole method and write a page that shows it", AGAIN),
    "export": Command("avatars", "export", "write an avatar's Gaussians as a 3DGS .ply"),
    "notebooks": Command("house", "notebooks", "store, execute or check the notebooks"),
}

USAGE = "usage: realhead COMMAND ...      realhead COMMAND --help says what it takes\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        Exit code: 0 done, 2 something to mend.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["-h"], ["--help"], ["help"]):
        print(overview())
        return 0
    if arguments in (["-V"], ["--version"]):
        print(f"realhead {__version__}")
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        return _complain(_unknown(arguments[0]) if arguments else overview())
    return _run(arguments[0], arguments[1:])


def overview() -> str:
    """The text of `realhead --help`, one line a command."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["Few-shot 3D Gaussian head avatars.", "", USAGE, *lines])


def _run(name: str, arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = COMMANDS[name]
    try:
        import tyro

        function = getattr(importlib.import_module(f"realhead.commands.{command.module}"), command.function)
        tyro.cli(function, prog=f"realhead {name}", args=_one_set(arguments), config=(tyro.conf.FlagCreatePairsOff,))
        return 0
    except SystemExit as stop:  # tyro: 0 after --help, 2 after arguments that do not fit
        return 2 if stop.code else 0
    except RealheadError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain(f"\nStopped: {command.resume}")
    except ModuleNotFoundError as error:
        if (error.name or "realhead").split(".")[0] == "realhead":
            raise
        return _complain(f"The Python package {error.name} is missing: run `make setup`, or pip install -e '.[dev]'.")
    except Exception as error:  # safetensors and PyTorch have their own classes for a full disk
        sentence = _disk_sentence(error)
        if sentence is None:
            raise
        return _complain(sentence)


def _one_set(arguments: list[str]) -> list[str]:
    """Arguments with the assignments of several --set behind one, since tyro would silently keep the last one only."""
    assignments, rest, inside = [], [], False
    for argument in arguments:
        inside = argument == "--set" or (inside and not argument.startswith("-"))
        if argument != "--set":
            (assignments if inside else rest).append(argument)
    return [*rest, "--set", *assignments] if "--set" in arguments else rest


def _disk_sentence(error: Exception) -> str | None:
    """The sentence for a full, read-only or forbidden disk; None for anything else."""
    number, where = getattr(error, "errno", None), getattr(error, "filename", None)
    at = f" at {where}" if where else ""
    # NumPy's "N requested and M written" carries no errno.
    full = any(words in str(error) for words in ("No space left", "requested and"))
    if full or number in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full{at}: free some space or name another disk with --out, then run the same command again."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) and where:
        return f"{where} cannot be written or read by this user: choose another folder with --out."
    return None


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `realhead {close[0]}`?" if close else "realhead --help lists the commands."
    return f"There is no command {name!r}: {hint}"


def _complain(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2
