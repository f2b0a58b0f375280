"""Arrays out of pickles of strangers, without running anything in them.

A pickle is a program. `ArrayUnpickler` knows the few names that NumPy arrays are made of and what else its user allows,
and refuses every other name. Nothing that it knows can be called for more memory than the file itself has: the array
type is a mere token (called by its real name it makes arrays of any size), and lists are never turned into arrays.
`read_torch` reads the files of torch.save with it; PyTorch's own restricted reader would make byte arrays of any size
and unpack archives of any.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from realhead.errors import RealheadError

Names = dict[tuple[str, str], Any]

STORAGES = {
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "BoolStorage": "?", "ByteStorage": "u1",
    "CharStorage": "i1", "ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8",
}  # fmt: skip
"""Number format of each kind of torch storage."""


class UnknownNameError(Exception):
    """The pickle asks for something that is not allowed; `args[0]` is its full name."""


class _ArrayType:
    """Stands in for numpy.ndarray, which array pickles only name."""


class _Array(np.ndarray):
    """An array whose state is checked: NumPy reads lists of objects beyond their end, and believes a type's flags."""

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, fortran, content = state
        plain = np.dtype(dtype.str)  # drops fields and flags
        if (
            min(shape, default=0) < 0
            or plain.hasobject
            and not (isinstance(content, list) and len(content) == math.prod(shape))
        ):
            raise pickle.UnpicklingError("an array of a size that its content does not have")
        super().__setstate__((1, shape, plain, fortran, content))


def _empty_array(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    """What NumPy's `_reconstruct` makes for a pickle: an array without content, to be filled by its state."""
    if kind is not _ArrayType or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array of a size that its content does not have")
    return np.ndarray.__new__(_Array, (0,), dtype)


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    """What protocol-2 pickles of Python 3 call to write bytes; nothing but latin1 is legal there."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding}")
    return text.encode("latin-1")


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    if not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise pickle.UnpicklingError("a number of a size that its content does not have")
    return np.frombuffer(content, dtype)[0]


def _array_names() -> Names:
    names: Names = {
        ("numpy", "ndarray"): _ArrayType,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("__builtin__", "bytes"): lambda: b"",  # so protocol 2 writes bytes when there are none
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _empty_array
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = _array_from_buffer
    return names


class ArrayUnpickler(pickle.Unpickler):
    """Finds the names of arrays, and those that it is given."""

    def __init__(self, stream: io.BufferedIOBase, more: Names, storage: Callable[[Any], Any] | None = None) -> None:
        """Reads as Python 2's pickles are read.

        Args:
            stream: The pickle.
            more: Further names, and what to use in their place.
            storage: Gives what a persistent id means; such ids are refused when None.
        """
        super().__init__(stream, encoding="latin1")
        self._names, self._storage = _array_names() | more, storage

    def find_class(self, module: str, name: str) -> Any:
        """The object of an allowed name.

        Raises:
            UnknownNameError: It is not allowed.
        """
        if (module, name) not in self._names:
            raise UnknownNameError(f"{module}.{name}")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a persistent id."""
        if self._storage is None:
            raise pickle.UnpicklingError("persistent id")
        return self._storage(pid)


def read_torch(path: Path, most: int) -> Any:
    """The content of a file that torch.save has written, with its tensors as NumPy arrays.

    Args:
        path: The file, in the archive format that PyTorch has written since 1.6.
        most: Bytes that it may unpack to.

    Raises:
        RealheadError: It is none, damaged, too large, or asks for anything but arrays and tensors; the sentence is for
            a reader to finish, as in "<path> is no ... (<sentence>)".
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > most:
                raise RealheadError(f"it unpacks to more than {most >> 20} MiB")
            program = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            stored = _Storages(archive, program.removesuffix("data.pkl"))
            return ArrayUnpickler(io.BytesIO(archive.read(program)), _torch_names(), stored).load()
    except UnknownNameError as error:
        raise RealheadError(f"it asks for {error}, which is no array") from None
    except RealheadError:
        raise
    except (zipfile.BadZipFile, StopIteration):
        raise RealheadError("it is no archive of torch.save") from None
    except Exception as error:  # damaged and hostile files raise many kinds
        raise RealheadError(f"it is damaged: {type(error).__name__}") from None


class _Storages:
    """Looks up ("storage", number format, key, device, count) in the archive."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self.archive, self.root = archive, root

    def __call__(self, pid: Any) -> np.ndarray:
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("persistent id")
        return np.frombuffer(self.archive.read(f"{self.root}data/{key}"), dtype)


def _torch_names() -> Names:
    names: Names = {("torch", storage): np.dtype(dtype) for storage, dtype in STORAGES.items()}
    names["torch._utils", "_rebuild_tensor_v2"] = _tensor
    names["torch._utils", "_rebuild_parameter"] = lambda data, *_: data
    names["collections", "OrderedDict"] = collections.OrderedDict
    return names


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """A view of a storage, copied; never larger than the storage, never beyond its ends."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or math.prod(size) > len(storage) or math.prod(size) and last >= len(storage):
        raise pickle.UnpicklingError("a tensor beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False).copy()
