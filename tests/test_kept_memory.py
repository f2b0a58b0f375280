"""Freed memory stays with the process, unless its user has told the allocator something else."""

import subprocess
import sys

import pytest

from realhead.splatting.kept_memory import keep_freed_memory

CHILD = """
import os
from pathlib import Path
import numpy as np
from realhead.splatting.kept_memory import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
kept, before = keep_freed_memory(), resident()
blocks = [np.ones(7_000_000, np.float32) for _ in range(4)]
del blocks
print(kept, resident() - before)
"""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other allocators")


def memory_after_freeing_112_mb(**environment) -> tuple[str, int]:
    """Whether memory is said to be kept, and how many bytes are."""
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    kept, grown = done.stdout.split()
    return kept, int(grown)


@linux
def test_freed_memory_is_kept():
    kept, grown = memory_after_freeing_112_mb()
    if kept != "True":
        pytest.skip("another C library than glibc")
    assert grown > 100e6


@linux
def test_a_user_who_set_the_allocator_is_not_overruled():
    kept, grown = memory_after_freeing_112_mb(MALLOC_TRIM_THRESHOLD_="1000000")
    assert kept == "False" and grown < 50e6


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
