"""Texture coordinates, regions and landmarks for FLAME, whose licensed companions may be absent.

FLAME's texture space and masks are separate downloads (and not under 2023 Open's CC-BY). The texture template is used
if it lies beside the model file; otherwise the head is flattened with our own table of islands. The regions follow from
geometry and landmarks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from realhead.errors import RealheadError
from realhead.head import flame_landmarks, flame_mouth, landmarks, uv_layout
from realhead.head.uv_layout import Island

TEMPLATES = ("head_template.obj", "head_template_mesh.obj")
LEFT_EYE, RIGHT_EYE = slice(3931, 4477), slice(4477, 5023)
ISLANDS = (Island("skin", 0, 22, 128, 106), Island("eye_left", 42, 0, 22, 22), Island("eye_right", 64, 0, 22, 22))
LIP_RINGS = 3
"""Rings of vertices between the hole in FLAME's mouth and the lips that are seen: the lips' inner side."""
EYE_BACK = -0.6
"""Cosine of the angle from an eyeball's front beyond which its triangles get no texels."""


def texture(folder: Path, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Texture coordinates [T, 2], UV faces [F, 3], and whether they are ours: FLAME's if its template is there.

    Args:
        folder: Where to look for `head_template.obj`.
        vertices: Template, [5023, 3].
        faces: Triangles, [9976, 3].
    """
    for name in TEMPLATES:
        if (folder / name).is_file():
            return *read_template(folder / name, faces), False
    return *own_texture(vertices, faces), True


def read_template(path: Path, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads `vt` and the second index of `f` of FLAME's template; its vertices are placed elsewhere and not used.

    Raises:
        RealheadError: The file's triangles are not FLAME's.
    """
    coords, corners, points = [], [], []
    for line in path.read_text(errors="replace").splitlines():
        kind, *rest = line.split() or [""]
        if kind == "vt":
            coords.append(rest[:2])
        elif kind == "f":
            tokens = [token.split("/") for token in rest]
            points.append([token[0] for token in tokens])
            corners.append([token[1] if len(token) > 1 else "" for token in tokens])
    try:
        uv_coords = np.array(coords, np.float32).reshape(-1, 2)
        uv_faces, points = np.array(corners, np.int64) - 1, np.array(points, np.int64) - 1
    except ValueError:
        raise RealheadError(f"{path} is no FLAME template: it needs triangles written as vertex/texture.") from None
    if points.shape != faces.shape or (points != faces).any() or uv_faces.min() < 0 or uv_faces.max() >= len(uv_coords):
        raise RealheadError(f"{path} has other triangles than the FLAME model beside it: remove or replace it.")
    return uv_coords, uv_faces


def own_texture(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flattens the skin, cut from the crown down the back, and shows each eyeball from the front."""
    uv_faces, coords = np.zeros_like(faces), []
    start = 0
    for island in ISLANDS:
        if island.part == "skin":
            chosen = (faces < LEFT_EYE.start).all(1)
            index = cut(faces[chosen], back_seam(vertices, faces[chosen]))
            point = np.zeros(index.max() + 1, np.int64)
            point[index] = faces[chosen]
            uv = uv_layout.flatten_skin(vertices[point], index, point, uv_layout.skin_density(vertices[point]))
        else:
            ids = LEFT_EYE if island.part == "eye_left" else RIGHT_EYE
            centre = vertices[ids].mean(0)
            offset = vertices[ids] - centre
            front = offset[:, 2] > EYE_BACK * np.linalg.norm(offset, axis=1)
            chosen = ((faces >= ids.start) & (faces < ids.stop)).all(1)
            index = faces[chosen] - ids.start
            uv = uv_layout.eye_from_front(vertices[ids], centre)
            uv[~front] = 0
            index = np.where(front[index].all(1)[:, None], index, index[:, :1])  # the back: no area, no texels
        coords.append(np.round(uv_layout.place(uv, island) * 2**16) / 2**16)
        uv_faces[chosen] = index + start
        start += len(uv)
    return np.concatenate(coords).astype(np.float32), uv_faces


def back_seam(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices of the shortest way over edges, hugging the middle plane, from the crown to the neck's rim behind."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    length += 20 * np.abs(vertices[edges, 0]).mean(1)
    graph = sp.coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2).tocsr()
    used = np.unique(faces)
    crown = used[np.argmax(vertices[used, 1])]
    rim = max(uv_layout.boundary_loops(faces), key=lambda loop: np.ptp(vertices[loop, 0]))
    distance, before = scipy.sparse.csgraph.dijkstra(graph, directed=False, indices=crown, return_predecessors=True)
    step = rim[np.argmin(vertices[rim, 2] + 10 * np.abs(vertices[rim, 0]))]
    seam = [step]
    while step != crown:
        step = before[step]
        seam.append(step)
    return np.array(seam)


def cut(faces: np.ndarray, seam: np.ndarray) -> np.ndarray:
    """Numbers the corners of triangles so that the surface opens along a path of edges.

    Args:
        faces: Triangles, [F, 3].
        seam: Vertices along the path.

    Returns:
        Point number of every corner, [F, 3]: corners at a vertex are one point while triangles around it hang together
        without crossing the path.
    """
    path = {frozenset(pair) for pair in zip(seam[:-1].tolist(), seam[1:].tolist(), strict=True)}
    owner: dict[tuple[int, int], tuple[int, int]] = {}
    links: list[tuple[int, int]] = []
    for f, face in enumerate(faces.tolist()):
        for k in range(3):
            a, b = face[k], face[(k + 1) % 3]
            if frozenset((a, b)) in path:
                continue
            other = owner.get((b, a))
            if other is None:
                owner[a, b] = (f, k)
                continue
            g, m = other  # there the edge runs the other way: its first corner is our second
            links += [(3 * f + k, 3 * g + (m + 1) % 3), (3 * f + (k + 1) % 3, 3 * g + m)]
    pairs = np.array(links)
    size = faces.size
    graph = sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1].reshape(faces.shape).astype(np.int64)


def regions(vertices: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Vertex masks by name, from landmarks and geometry; what FLAME does not have (teeth, tongue, lashes) is empty.

    Args:
        vertices: Template, [5023, 3].
        faces: Triangles, [9976, 3].
    """
    x, y, z = vertices.T
    count = len(vertices)
    left, right = np.zeros(count, bool), np.zeros(count, bool)
    left[LEFT_EYE], right[RIGHT_EYE] = True, True
    skin = ~(left | right)
    ears = skin & (np.abs(x) > 0.0715) & (y > -0.065) & (y < 0.03)
    neck = skin & ~ears & (y < np.interp(z, [-0.13, -0.045, -0.02, 0.035], [-0.056, -0.05, -0.08, -0.112]))
    hair_line = np.interp(np.abs(x), [0, 0.035, 0.055, 0.066, 0.075], [0.082, 0.085, 0.074, 0.055, 0.03])
    scalp = skin & ~neck & ~ears & ((z < -0.03) | ((y > hair_line) & (y > 0.03)))
    place = {k: flame_landmarks.place(vertices, faces, k)[:2] for k in (*landmarks.BROW, *landmarks.OUTER_LIPS)}
    brow, lips = (np.array([place[k] for k in ring]) for ring in (landmarks.BROW, landmarks.OUTER_LIPS))
    front = skin & (z > 0)
    mirrored = np.stack([-np.abs(x), y], 1)
    named = {
        "skin": skin,
        "face": skin & ~neck & ~scalp & ~ears,
        "neck": neck,
        "scalp": scalp,
        "ears": ears,
        "lips": front & (landmarks.in_polygon(vertices[:, :2], lips, 0.0) | inner_lips(vertices, faces)),
        "brows": front & landmarks.in_polygon(mirrored, brow, 0.002),
        "eye_left": left,
        "eye_right": right,
    }
    missing = ("beard", "mouth", "socket", "teeth_upper", "teeth_lower", "tongue", "lashes")
    return named | dict.fromkeys(missing, np.zeros(count, bool))


def inner_lips(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices on the side of the lips that is turned into the mouth, bool [5023]; wider than the lips seen outside."""
    inner = np.zeros(len(vertices), bool)
    rim = flame_mouth.mouth_rim(vertices, faces)
    if rim is not None:
        inner[rim] = True
        for _ in range(LIP_RINGS):
            inner[faces[inner[faces].any(1)]] = True
    return inner
