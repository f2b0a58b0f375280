"""Freed memory that stays with the process, for the next call to take.

By default glibc gives freed memory back to the system as soon as some 60 MB of it lie together, and the next call is
handed pages that the system first has to clear. At 160,000 Gaussians this shows in the time of a backward pass.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
KEPT = 1 << 29  # bytes of freed memory that are not given back
LARGEST = 1 << 25  # bytes of an allocation that may come out of it; glibc takes no more


def keep_freed_memory() -> bool:
    """Lets the process keep up to 512 MB of freed memory.

    Whoever has set MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_ knows better, and is not overruled.

    Returns:
        Whether anything was set: it is glibc's alone.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT)) and bool(mallopt(M_MMAP_THRESHOLD, LARGEST))
