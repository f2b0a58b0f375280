"""Reading FLAME's pickles without running anything in them.

A pickle is a program. The reader below knows the handful of names that a FLAME file needs (NumPy arrays, SciPy's sparse
matrix, and chumpy's array, of which only the numbers are kept) and refuses every other name. chumpy itself, which no
longer imports on today's Python, is not needed.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from realhead.errors import RealheadError

MAX_PICKLE_BYTES = 512 * 2**20
"""FLAME's files have 50 to 110 MB."""


class ChumpyArray:
    """Stands in for chumpy.ch.Ch: takes the state and keeps the array in it."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self) -> np.ndarray:
        """The numbers (a plain chumpy array keeps them under `x`)."""
        if "x" not in self.state:
            raise RealheadError("A chumpy object in the file holds a formula instead of numbers: export it again.")
        return np.asarray(self.state["x"])


class SparseMatrix:
    """Stands in for scipy.sparse's csc_matrix: keeps the state until it can be checked."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self, wanted: tuple[int, int]) -> np.ndarray:
        """The matrix, dense.

        Args:
            wanted: Its shape; another one is refused before anything of that size is made.
        """
        try:
            shape = tuple(int(n) for n in self.state.get("_shape", self.state.get("shape")))
            values, rows, starts = (np.asarray(self.state[key]) for key in ("data", "indices", "indptr"))
            if shape != wanted or len(starts) != shape[1] + 1 or rows.min(initial=0) < 0:
                raise ValueError(f"shape {shape}")
            dense = np.zeros(shape)
            np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), np.diff(starts))), values)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise RealheadError(f"The sparse 'J_regressor' is damaged ({error}): download the file again.") from None
        return dense


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _empty_array(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    """What NumPy's own `_reconstruct` makes for a pickle: an array without content, to be filled by its state."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array of a size that its content does not have")
    return np.ndarray.__new__(np.ndarray, (0,), dtype)


def _latin1(text: str, encoding: str) -> bytes:
    """What protocol-2 pickles of Python 3 call to write bytes; nothing but latin1 is legal there."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding}")
    return text.encode("latin-1")


def _allowed() -> dict[tuple[str, str], Any]:
    from numpy._core import multiarray

    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _empty_array
        names[f"{core}.multiarray", "scalar"] = multiarray.scalar
        names[f"{core}.numeric", "_frombuffer"] = _array_from_buffer
    for module in ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse"):
        names[module, "csc_matrix"] = SparseMatrix
    for module in ("chumpy.ch", "chumpy", "chumpy.reordering", "chumpy.ch_ops"):
        names[module, "Ch"] = ChumpyArray
        names[module, "Select"] = ChumpyArray
    return names


class _Unpickler(pickle.Unpickler):
    """Finds the allowed names only."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self.path, self.names = path, _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise RealheadError(
                f"{self.path} asks for {module}.{name}, which no FLAME file needs: it was not opened; "
                "download the file again from flame.is.tue.mpg.de."
            )
        return self.names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("persistent id")


def read_pickle(path: Path) -> dict[str, Any]:
    """The table in a FLAME pickle; arrays may still be `ChumpyArray` or `SparseMatrix`.

    Raises:
        RealheadError: It is none, is too large, or asks for something that it must not.
    """
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise RealheadError(f"{path} is larger than {MAX_PICKLE_BYTES >> 20} MiB, which no FLAME file is: not opened.")
    try:
        with open(path, "rb") as stream:
            content = _Unpickler(stream, path).load()
    except RealheadError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise RealheadError(f"{path} is no FLAME pickle ({error}): download it again.") from None
    if not isinstance(content, dict):
        raise RealheadError(f"{path} holds a {type(content).__name__} instead of FLAME's table: download it again.")
    return content
