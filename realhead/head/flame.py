"""Reading FLAME's files (2020, 2023, 2023 Open): pickles without running anything in them, and .npz.

A pickle is a program. The reader below knows the handful of names that a FLAME file needs (NumPy arrays, SciPy's sparse
matrix, and chumpy's array, of which only the numbers are kept) and refuses every other name. chumpy itself, which no
longer imports on today's Python, is not needed.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from realhead.errors import AssetError, RealheadError
from realhead.head import flame_landmarks, flame_texture
from realhead.head.model import HeadData

NUM_VERTICES, NUM_FACES, NUM_IDENTITY = 5023, 9976, 300
EXPECTED = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, None),
    "posedirs": (NUM_VERTICES, 3, 36),
    "J_regressor": (5, NUM_VERTICES),
    "weights": (NUM_VERTICES, 5),
    "f": (NUM_FACES, 3),
}
PARENTS = [-1, 0, 1, 1, 1]
OPEN_2023 = (-5.570e-05, 7.513e-05, 1.0533e-04, 0.0488687, 0.0464305, 0.0498778)
"""Mean and standard deviation of 2023 Open's template (CC-BY-4.0), metres."""
HOW_TO_GET = (
    "{path} not found: 1) register at flame.is.tue.mpg.de, 2) download FLAME 2023 Open (CC-BY-4.0), 3) pass the path "
    "of its flame2023_Open.pkl; or do without it: head 'open' is a free substitute that needs no download."
)


class _ChumpyArray:
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


class _SparseMatrix:
    """Stands in for scipy.sparse's csc_matrix: keeps the state until it can be checked."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def array(self) -> np.ndarray:
        """The joint regressor as a dense array [5, 5023]."""
        try:
            shape = tuple(int(n) for n in self.state.get("_shape", self.state.get("shape")))
            values, rows, starts = (np.asarray(self.state[key]) for key in ("data", "indices", "indptr"))
            if shape != EXPECTED["J_regressor"] or len(starts) != shape[1] + 1 or rows.min(initial=0) < 0:
                raise ValueError(f"shape {shape}")
            dense = np.zeros(shape)
            np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), np.diff(starts))), values)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise RealheadError(f"The sparse 'J_regressor' is damaged ({error}): download the file again.") from None
        return dense


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


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
        names[f"{core}.multiarray", "_reconstruct"] = multiarray._reconstruct
        names[f"{core}.multiarray", "scalar"] = multiarray.scalar
        names[f"{core}.numeric", "_frombuffer"] = _array_from_buffer
    for module in ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse"):
        names[module, "csc_matrix"] = _SparseMatrix
    for module in ("chumpy.ch", "chumpy", "chumpy.reordering", "chumpy.ch_ops"):
        names[module, "Ch"] = _ChumpyArray
        names[module, "Select"] = _ChumpyArray
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


def read_flame(path: Path) -> HeadData:
    """Reads a FLAME model.

    Args:
        path: .pkl or .npz with FLAME's keys. A `head_template.obj` (or `head_template_mesh.obj`) beside it gives the
            official texture coordinates; without it our own table is used.

    Raises:
        AssetError: The file is missing (the sentence says how to get it).
        RealheadError: The file is no FLAME model, or asks for something that it must not.
    """
    if not path.is_file():
        raise AssetError(HOW_TO_GET.format(path=path))
    raw = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
    arrays = {key: _checked(raw, key, shape, path) for key, shape in EXPECTED.items()}
    _check_tree(raw, path)
    faces = arrays["f"].astype(np.int64)
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise RealheadError(f"{path} has triangles with corners outside its vertices: download the file again.")
    num_shape = min(NUM_IDENTITY, arrays["shapedirs"].shape[2])
    exprdirs = arrays["shapedirs"][..., num_shape:]
    uv_coords, uv_faces = flame_texture.texture(path.parent, arrays["v_template"], faces)
    return HeadData(
        name=path.stem,
        edition=edition_of(arrays["v_template"], path),
        v_template=arrays["v_template"],
        shapedirs=arrays["shapedirs"][..., :num_shape],
        exprdirs=exprdirs,
        posedirs=arrays["posedirs"],
        J_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=faces,
        uv_coords=uv_coords,
        uv_faces=uv_faces,
        expression_names=tuple(f"expression{k:03d}" for k in range(exprdirs.shape[2])),
        regions=flame_texture.regions(arrays["v_template"], faces),
        landmarks=flame_landmarks.embeddings(),
    )


def edition_of(v_template: np.ndarray, path: Path) -> str | None:
    """Tells FLAME's edition: 2023 Open by its template, the others by the names of the official files.

    Coefficients of one edition mean nothing to another, so an unknown file stays unknown.

    Args:
        v_template: Template, [5023, 3].
        path: Where it came from.

    Returns:
        "2020", "2023", "2023 Open" or None.
    """
    marks = np.concatenate([v_template.mean(0), v_template.std(0)])
    if np.abs(marks - OPEN_2023).max() < 2e-6:
        return "2023 Open"
    return {"generic_model": "2020", "flame2020": "2020", "flame2023": "2023", "flame2023_no_jaw": "2023"}.get(
        path.stem.lower()
    )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise RealheadError(f"{path} cannot be read as an .npz of plain arrays ({error}): export it again.") from None


def _read_pickle(path: Path) -> dict[str, Any]:
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


def _checked(raw: dict[str, Any], key: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The array under a key as float64, if its shape is FLAME's."""
    if key == "f" and key not in raw and "faces" in raw:
        key = "faces"
    if key not in raw:
        raise RealheadError(f"{path} lacks '{key}', so it is no FLAME model: pass generic_model.pkl or flame2023*.pkl.")
    value = raw[key].array() if isinstance(raw[key], _ChumpyArray | _SparseMatrix) else np.asarray(raw[key])
    fits = value.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, value.shape, strict=True))
    if not fits or value.dtype.kind not in "fiu":
        wanted = " x ".join("?" if n is None else str(n) for n in shape)
        raise RealheadError(f"'{key}' in {path} is {value.dtype} {value.shape}, FLAME has {wanted}: wrong or damaged.")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        raise RealheadError(f"'{key}' in {path} holds values that are not finite: download the file again.")
    return value


def _check_tree(raw: dict[str, Any], path: Path) -> None:
    if "kintree_table" not in raw:
        return
    parents = np.asarray(raw["kintree_table"]).astype(np.int64)
    if parents.shape != (2, 5) or parents[0, 1:].tolist() != PARENTS[1:]:
        raise RealheadError(f"{path} has another skeleton than FLAME's five joints: it is a different body model.")
