"""Two synthetic people whom the shipped prior has never seen: a capture to try things on, made once and kept."""

from __future__ import annotations

import os
from pathlib import Path

from realhead.capture.capture import CaptureSet

FIRST = 9007
"""Number of the first of the two. Data sets for training count from 0 and stay far below. Of the generator's people
these are neither the easiest (bald) nor the hardest (hair to the shoulders)."""
TIMESTEPS, FAST_TIMESTEPS = 4, 2
"""Timesteps of each of the three sequences, in earnest and in the tests' fast mode."""


def sample_captures(folder: str | Path | None = None, *, fast: bool | None = None, processes: int = 2) -> CaptureSet:
    """The captures p9007 and p9008, three sequences each before sixteen cameras, tracked as in a studio.

    The first call generates them, about half a minute on two cores; several processes may call at once. Both people are
    held out in `split.json`.

    Args:
        folder: Where they are kept; default: the cache folder, one folder for each generator and head.
        fast: Whether fewer timesteps do; default: as the variable REALHEAD_FAST says.
        processes: Processes that render.
    """
    from filelock import FileLock

    from realhead.capture.openheads.generate import refuse_workers_of_workers

    refuse_workers_of_workers(processes)  # before the lock, for which a worker would wait for ever
    fast = os.environ.get("REALHEAD_FAST") == "1" if fast is None else fast
    folder = Path(folder) if folder is not None else _kept(fast)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / ".complete").exists():
            _generate(folder, FAST_TIMESTEPS if fast else TIMESTEPS, processes)
            (folder / ".complete").touch()
    return CaptureSet.open(folder)


def _kept(fast: bool) -> Path:
    """A place whose name changes with everything that would make other people."""
    from realhead.assets import cache_dir
    from realhead.capture.openheads.generate import VERSION
    from realhead.head import load_head

    return cache_dir() / "samples" / f"p{FIRST}_v{VERSION}_{load_head('open').hash}{'_fast' if fast else ''}"


def _generate(folder: Path, timesteps: int, processes: int) -> None:
    """Goes on with what is not there yet, and holds both people out."""
    from realhead.capture.openheads.generate import generate
    from realhead.capture.writer import write_json

    generate(folder, "mini", people=2, first=FIRST, timesteps=timesteps, processes=processes)
    write_json(folder / "split.json", {"test": [f"p{FIRST + k}" for k in range(2)]})
