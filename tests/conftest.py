"""Settings of all tests: few threads, no window, shape checks, and what skips where."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before anything imports PyTorch: the workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import shape_checks

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)

if (
    os.environ.get("REALHEAD_SHAPES", "1") != "0"
):  # annotations with shapes are checked; 0 tells whether a failure is theirs
    shape_checks.install(ROOT / "realhead")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine has no browser or no GPU for."""
    for item in items:
        if item.get_closest_marker("browser") and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium was found; Debian's package is called chromium"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; for tests marked `browser`."""
    if CHROMIUM is None:
        pytest.skip("no Chromium was found; Debian's package is called chromium")
    return CHROMIUM


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT
