"""FLAME's files (2020, 2023, 2023 Open) as a head: pickles, read without running them, or our own .npz of one.

FLAME's separately licensed companions are used where the user has them: the texture template beside the model, region
masks and landmarks as `realhead.head.flame_companions` finds them; else texture, regions and landmarks are ours. Teeth
and a mouth cavity are always made from the geometry and our own landmarks, so that the mesh is the same for everyone.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from realhead.errors import AssetError, RealheadError
from realhead.head import flame_companions, flame_editions, flame_landmarks, flame_mouth, flame_texture
from realhead.head.flame_companions import COMPANIONS, LANDMARKS, MASKS, MEDIAPIPE
from realhead.head.flame_pickle import ChumpyArray, SparseMatrix, read_npz, read_pickle
from realhead.head.model import HeadData

log = logging.getLogger(__name__)

NUM_VERTICES, NUM_FACES, NUM_IDENTITY = 5023, 9976, 300
EXPECTED = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, None),
    "posedirs": (NUM_VERTICES, 3, 36),
    "J_regressor": (5, NUM_VERTICES),
    "weights": (NUM_VERTICES, 5),
    "f": (NUM_FACES, 3),
}
EYELIDS = ("l_eyelid.npy", "r_eyelid.npy")
"""SMIRK's eyelid offsets."""
MOST_DIRECTIONS = 1000
PARENTS = [-1, 0, 1, 1, 1]
HOW_TO_GET = (
    "{path} not found: 1) register at flame.is.tue.mpg.de, 2) download FLAME 2023 Open (CC-BY-4.0), 3) pass the path "
    "of its flame2023_Open.pkl; or do without it: head 'open' is a free substitute that needs no download."
)


def read_flame(path: Path) -> HeadData:
    """Reads a FLAME model.

    Args:
        path: .pkl or .npz with FLAME's keys. A `head_template.obj` (or `head_template_mesh.obj`) beside it gives the
            official texture coordinates; without it our own table is used. So it is with FLAME's masks and landmarks.

    Raises:
        AssetError: The file is missing (the sentence says how to get it).
        RealheadError: The file is no FLAME model, or asks for something that it must not.
    """
    if not path.is_file():
        raise AssetError(HOW_TO_GET.format(path=path))
    raw, arrays = read_arrays(path)
    faces = arrays["f"].astype(np.int64)
    num_shape = min(NUM_IDENTITY, arrays["shapedirs"].shape[2])
    exprdirs = arrays["shapedirs"][..., num_shape:]
    uv_coords, uv_faces, own = flame_texture.texture(path.parent, arrays["v_template"], faces)
    regions, masks = flame_texture.regions(arrays["v_template"], faces), flame_companions.find(path, MASKS)
    data = HeadData(
        name=path.stem,
        edition=claimed_edition(raw, arrays["v_template"], path)[0],
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
        regions=regions if masks is None else flame_companions.regions(masks, regions),
        masks=None if masks is None else flame_companions.digest(masks),
        landmarks=_landmarks(path, len(faces)),
        eyelids=_eyelids(path),
    )
    return flame_mouth.with_mouth(data, own)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The table of a FLAME file, and what was checked of it: FLAME's keys as float64 in FLAME's shapes.

    Values are rounded to single precision, so that a pickle and its conversion make the same head.
    """
    raw = read_npz(path) if path.suffix == ".npz" else read_pickle(path)
    arrays = {key: _checked(raw, key, shape, path) for key, shape in EXPECTED.items()}
    arrays = {key: array.astype(np.float32).astype(np.float64) for key, array in arrays.items()}
    _check_tree(raw, path)
    if arrays["f"].min() < 0 or arrays["f"].max() >= NUM_VERTICES:
        raise RealheadError(f"{path} has triangles with corners outside its vertices: download the file again.")
    return raw, arrays


def claimed_edition(raw: dict[str, Any], v_template: np.ndarray, path: Path) -> tuple[str | None, bool]:
    """Edition of a file, and whether its content proves it; our own .npz remembers what its pickle was."""
    edition, proven = flame_editions.edition_of(v_template, path)
    written = str(raw["edition"]) if isinstance(raw.get("edition"), np.ndarray) else None
    return (written, True) if written in flame_editions.NAMES and not proven else (edition, proven)


def convert(path: Path, out: Path) -> Path:
    """Writes a FLAME pickle as an .npz of plain arrays: smaller, quicker, and safe to pass on to any program.

    Args:
        path: The official .pkl.
        out: The .npz. Its companions are copied beside it, over those of an earlier conversion.
    """
    raw, arrays = read_arrays(path)
    edition, _ = claimed_edition(raw, arrays["v_template"], path)
    single = {key: array.astype(np.uint32 if key == "f" else np.float32) for key, array in arrays.items()}
    temporary = out.with_name(f".{out.stem}.{os.getpid()}.npz")
    np.savez_compressed(temporary, **single, **({"edition": np.array(edition)} if edition else {}))
    os.replace(temporary, out)
    for name, source in companions(path).items():
        target = out.parent / name
        if source is None and target.exists():
            log.warning(
                "%s has no counterpart beside %s; it is kept and used: remove it if it is outdated", target, path
            )
        elif source is not None and not (target.exists() and target.samefile(source)):
            shutil.copyfile(source, target)
    return out


def companions(path: Path) -> dict[str, Path | None]:
    """The files that shape a head besides its model, by name; None for those that are absent."""
    beside = {name: path.parent / name for name in (*flame_texture.TEMPLATES, *EYELIDS)}
    found: dict[str, Path | None] = {name: file if file.is_file() else None for name, file in beside.items()}
    return found | {name: flame_companions.find(path, name) for name in COMPANIONS}


def stamp(path: Path) -> tuple:
    """Changes whenever one of the files of a head appears, disappears or changes."""
    files = [file for file in (path, *companions(path).values()) if file is not None and file.is_file()]
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def _landmarks(path: Path, num_faces: int) -> dict[str, tuple[np.ndarray, ...]]:
    """FLAME's own embeddings in place of ours, each where its file is there."""
    readers = {
        "68": (LANDMARKS, flame_companions.landmarks_68),
        "mediapipe": (MEDIAPIPE, flame_companions.landmarks_mediapipe),
    }
    found = {key: (flame_companions.find(path, name), read) for key, (name, read) in readers.items()}
    own = {key: read(file, num_faces) for key, (file, read) in found.items() if file is not None}
    return flame_landmarks.embeddings() | own


def _eyelids(path: Path) -> np.ndarray | None:
    """SMIRK's eyelid offsets, if they lie beside the model."""
    files = [path.parent / name for name in EYELIDS]
    if not all(file.is_file() for file in files):
        return None
    try:
        # Mapped: a header that claims another size than the file has is refused, and nothing is read before the check.
        arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    except (ValueError, OSError, EOFError) as error:
        raise RealheadError(f"{files[0]} or its neighbour is no plain array ({error}): copy them again.") from None
    if any(a.size != 3 * NUM_VERTICES or a.dtype.kind != "f" for a in arrays):
        raise RealheadError(f"The eyelids of {path} are not two offsets of {NUM_VERTICES} x 3 numbers: remove them.")
    return np.stack([a.reshape(NUM_VERTICES, 3) for a in arrays]).astype(np.float64)


def _checked(raw: dict[str, Any], key: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The array under a key as float64, if its shape is FLAME's."""
    if key == "f" and key not in raw and "faces" in raw:
        key = "faces"
    if key not in raw:
        raise RealheadError(f"{path} lacks '{key}', so it is no FLAME model: pass generic_model.pkl or flame2023*.pkl.")
    value = _plain(raw[key])
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or not _fits(value.shape, shape):
        wanted = " x ".join("?" if n is None else str(n) for n in shape)
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise RealheadError(f"'{key}' in {path} is {got}, FLAME has {wanted}: wrong or damaged, download it again.")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        raise RealheadError(f"'{key}' in {path} holds values that are not finite: download the file again.")
    return value


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        got <= MOST_DIRECTIONS if want is None else got == want for got, want in zip(shape, wanted, strict=True)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, SparseMatrix):
        return value.array(EXPECTED["J_regressor"])
    value = value.array() if isinstance(value, ChumpyArray) else value
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def _check_tree(raw: dict[str, Any], path: Path) -> None:
    if "kintree_table" not in raw:
        return
    parents = _plain(raw["kintree_table"])
    shape, kind = (parents.shape, parents.dtype.kind) if isinstance(parents, np.ndarray) else ((), "")
    if shape != (2, 5) or kind not in "fiu" or parents[0, 1:].astype(np.int64).tolist() != PARENTS[1:]:
        raise RealheadError(f"{path} has another skeleton than FLAME's five joints: it is a different body model.")
