"""Reading NumPy arrays out of a pickle without letting the pickle run anything.

A pickle may name any function and have it called. This reader resolves the few names that are parts of a NumPy array,
and refuses the rest.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from realhead.errors import AssetError


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads nested dictionaries of arrays.

    Args:
        path: A pickle of dictionaries whose leaves are plain numeric arrays.

    Returns:
        Arrays by their keys joined with dots, contiguous.

    Raises:
        AssetError: The file is not a pickle of that kind, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file).load()
    except AssetError:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        raise AssetError(f"{path.name} is not a readable file of arrays ({error}): fetch it again.") from error
    arrays: dict[str, np.ndarray] = {}
    _flatten(content, "", arrays, path)
    return arrays


def _flatten(node, prefix: str, arrays: dict[str, np.ndarray], path: Path) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            _flatten(value, f"{prefix}.{key}" if prefix else str(key), arrays, path)
    elif isinstance(node, np.ndarray) and node.dtype.kind in "fiu":
        arrays[prefix] = np.ascontiguousarray(node)
    else:
        raise AssetError(
            f"{path.name} holds a {type(node).__name__} at {prefix!r} where an array belongs: fetch it again."
        )


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the parts of a NumPy array, under NumPy's old and new module names, and nothing else."""

    def find_class(self, module: str, name: str):
        from numpy._core import multiarray  # the old name numpy.core only warns today

        allowed = {
            ("numpy", "dtype"): np.dtype,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
            ("numpy.core.multiarray", "scalar"): multiarray.scalar,
        }
        if (module, name) not in allowed:
            raise AssetError(
                f"A weight file asks for {module}.{name}, which is not part of an array: it may be hostile and is not "
                "read; fetch it again from its package."
            )
        return allowed[module, name]
