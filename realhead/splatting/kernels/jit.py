"""How the kernels are compiled, and when their machine code on disk is out of date."""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import config, njit

# Everything of `fastmath` but `reassoc`, which would fold the rounding trick (x + M) - M of `exp2` to x, and but `nnan`
# and `ninf`, since the kernels look for NaN and infinity in what the user passes.
FAST = ("nsz", "contract", "afn", "arcp")


def _sources_digest() -> str:
    """Hash of all that is compiled into the kernels: the files here, and the constants next door."""
    here = Path(__file__).parent
    digest = hashlib.sha256(f"boundscheck={config.BOUNDSCHECK}".encode())
    for path in [*sorted(here.glob("*.py")), here.parent / "harmonics.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


DIGEST = _sources_digest()


def kernel(function):
    """Compiles a function that runs without Python's lock, and keeps its machine code on disk.

    Numba throws cached code away when the file of the function itself changes. Ours inlines what other files define, so
    its validity is tied to all of them.
    """
    dispatcher = njit(nogil=True, fastmath=set(FAST), cache=True)(function)
    index = getattr(dispatcher._cache, "_cache_file", None)
    if index is not None:  # absent where no folder can be written to, or with NUMBA_DISABLE_JIT=1
        index._source_stamp = DIGEST
    return dispatcher


INNER = {"fastmath": set(FAST), "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of functions that only kernels call: what Python would need to call them takes a third of the time to compile."""


def inlined(function):
    """Compiles a function into its callers."""
    return njit(forceinline=True, **INNER)(function)


def inner(function):
    """Compiles a function that kernels call."""
    return njit(nogil=True, **INNER)(function)
