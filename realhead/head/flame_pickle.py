"""Reading FLAME's files, most of which are pickles, without running anything in them.

Besides NumPy's arrays a FLAME file needs SciPy's sparse matrix and chumpy's array, of which only the numbers are kept;
every other name is refused. chumpy itself, which no longer imports on today's Python, is not needed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from realhead.errors import RealheadError
from realhead.unpickling import ArrayUnpickler, Names, UnknownNameError

MAX_PICKLE_BYTES = 512 * 2**20
"""FLAME's files have 50 to 110 MB."""
MAX_UNPACKED_BYTES = 512 * 2**20


class ChumpyArray:
    """Stands in for chumpy.ch.Ch: takes the state and keeps the array in it."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self) -> np.ndarray:
        """The numbers (a plain chumpy array keeps them under `x`)."""
        if not isinstance(self.state.get("x"), np.ndarray):
            raise RealheadError("A chumpy object in the file holds a formula instead of numbers: export it again.")
        return self.state["x"]


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
            values, rows, starts = parts = [self.state[key] for key in ("data", "indices", "indptr")]
            if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
                raise ValueError("its parts are no arrays")
            if shape != wanted or len(starts) != shape[1] + 1 or rows.min(initial=0) < 0:
                raise ValueError(f"shape {shape}")
            dense = np.zeros(shape)
            np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), np.diff(starts))), values)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise RealheadError(f"The sparse 'J_regressor' is damaged ({error}): download the file again.") from None
        return dense


class SkippedTensor:
    """Stands in for PyTorch's tensors in landmark files, whose numbers are not used."""

    def __init__(self, *_: Any) -> None:
        pass


_TENSOR_NAMES: Names = {
    ("torch._utils", "_rebuild_tensor_v2"): SkippedTensor,
    ("torch.storage", "_load_from_bytes"): SkippedTensor,
    ("collections", "OrderedDict"): dict,
}


def _flame_names() -> Names:
    names: Names = {}
    for module in ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse"):
        names[module, "csc_matrix"] = SparseMatrix
    for module in ("chumpy.ch", "chumpy", "chumpy.reordering", "chumpy.ch_ops"):
        names[module, "Ch"] = ChumpyArray
        names[module, "Select"] = ChumpyArray
    return names


def read_pickle(path: Path) -> dict[str, Any]:
    """The table in a FLAME pickle; arrays may still be `ChumpyArray` or `SparseMatrix`.

    Raises:
        RealheadError: It is none, is too large, or asks for something that it must not.
    """
    return _read(path, lambda stream: ArrayUnpickler(stream, _flame_names()).load())


def read_pickled_array(path: Path) -> dict[str, Any]:
    """The table that numpy.save has pickled into an .npy file; PyTorch's tensors in it become `SkippedTensor`.

    Raises:
        RealheadError: As `read_pickle`.
    """

    def content(stream: BinaryIO) -> Any:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
        if shape != () or not dtype.hasobject:
            raise ValueError(f"an array of {dtype} {shape}")
        return ArrayUnpickler(stream, _TENSOR_NAMES).load().item()

    return _read(path, content)


def _read(path: Path, content_of: Callable[[BinaryIO], Any]) -> dict[str, Any]:
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise RealheadError(f"{path} is larger than {MAX_PICKLE_BYTES >> 20} MiB, which no FLAME file is: not opened.")
    try:
        with open(path, "rb") as stream:
            content = content_of(stream)
    except UnknownNameError as error:
        raise RealheadError(
            f"{path} asks for {error}, which no FLAME file needs: it was not opened; download the file again from "
            "flame.is.tue.mpg.de."
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise RealheadError(f"{path} is no FLAME pickle ({error}): download it again.") from None
    if not isinstance(content, dict):
        raise RealheadError(f"{path} holds a {type(content).__name__} instead of FLAME's table: download it again.")
    return content


def read_npz(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file.

    Raises:
        RealheadError: It is damaged, unpacks to too much, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise RealheadError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB: it is not read.")
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except RealheadError:
        raise
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        raise RealheadError(f"{path} cannot be read as an .npz of plain arrays ({error}): export it again.") from None
