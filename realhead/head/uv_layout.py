"""Where does each part of the free head lie in its texture? A table of islands, and the flattening of the skin.

MakeHuman spreads the head over a whole-body atlas and gives the face little room. Here the skin is flattened anew: cut
along the seam at the back, its border on a rectangle, every vertex a positive weighted mean of its neighbours (Tutte:
no triangle can fold over), the weights corrected by local stretch (Yoshizawa, Belyaev, Seidel, "A fast and simple
stretch-minimizing mesh parameterization", 2004) until the face has the wanted share. The other parts keep MakeHuman's
coordinates, moved into the table's boxes; eyeballs are seen from the front.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

UVLayoutName = Literal["default", "fewer_mouth"]
GUTTER = 1 / 128
"""Kept free around every island: at 128 texels two islands are two texels apart."""

HOLE_DENSITY = 0.8
"""Wanted magnification inside the holes of the skin (mouth, eyes), where nothing is drawn."""


@dataclass(frozen=True)
class Island:
    """One line of the layout table: a box in units of 1/128 of the square, origin at the lower left (u, v up)."""

    part: str
    left: float
    bottom: float
    width: float
    height: float
    mouth: bool = False

    def shrunk(self, area: float) -> Island:
        """The same island about the same centre with a share of its area (inside the gutter)."""
        width, height = ((side - 2) * area**0.5 + 2 for side in (self.width, self.height))
        left = round(self.left + 0.5 * (self.width - width))  # on whole texels of 128
        bottom = round(self.bottom + 0.5 * (self.height - height))
        return dataclasses.replace(self, left=left, bottom=bottom, width=width, height=height)


DEFAULT: tuple[Island, ...] = (
    Island("skin", 0, 29, 128, 99),
    Island("mouth", 0, 3, 34, 26, mouth=True),
    Island("teeth_upper", 34, 16, 34, 13, mouth=True),
    Island("teeth_lower", 34, 3, 34, 13, mouth=True),
    Island("tongue", 68, 0, 14, 29, mouth=True),
    Island("eye_left", 82, 12, 17, 17),
    Island("eye_right", 99, 12, 17, 17),
    Island("lashes_left", 82, 0, 17, 12),
    Island("lashes_right", 99, 0, 17, 12),
    Island("socket_left", 116, 14.5, 12, 14.5),
    Island("socket_right", 116, 0, 12, 14.5),
)
LAYOUTS: dict[str, tuple[Island, ...]] = {
    "default": DEFAULT,
    # Table IV of the paper: 70 % fewer texels for the inside of the mouth, everything else as it was.
    "fewer_mouth": tuple(island.shrunk(0.3) if island.mouth else island for island in DEFAULT),
}


def place(uv: np.ndarray, island: Island) -> np.ndarray:
    """Scales coordinates of any range into an island's box, without the gutter."""
    low, high = uv.min(0), uv.max(0)
    unit = (uv - low) / (high - low)
    corner = np.array([island.left, island.bottom]) / 128 + GUTTER
    return corner + unit * (np.array([island.width, island.height]) / 128 - 2 * GUTTER)


def eye_from_front(vertices: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Azimuthal equidistant picture of an eyeball: distance from the middle is the angle from the z axis."""
    offset = vertices - centre
    planar = np.hypot(offset[:, 0], offset[:, 1])
    angle = np.arctan2(planar, offset[:, 2])
    return offset[:, :2] * (angle / np.maximum(planar, 1e-9))[:, None]


def unroll_band(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Straightens a bent grid of quads (a row of teeth): left to right by x, up by y, spaced by length.

    Args:
        vertices: All vertices, [V, 3].
        quads: A grid of quads with four corners, [Q, 4].

    Returns:
        Coordinates in [0, 1] of the grid's vertices, zero elsewhere, [V, 2].
    """
    loop = boundary_loops(quads)[0]
    corner = np.flatnonzero(np.bincount(quads.reshape(-1), minlength=len(vertices))[loop] == 1)
    loop = np.roll(loop, -corner[0])
    corner = [*(corner - corner[0]), len(loop)]
    sides = [np.append(loop, loop[0])[corner[k] : corner[k + 1] + 1] for k in range(4)]
    if len(sides[0]) < len(sides[1]):
        sides = sides[1:] + sides[:1]
    uv = np.zeros((len(vertices), 2))
    for axis, start in ((0, sides[3]), (1, sides[0])):
        step = _steps_from(start, quads, len(vertices))
        lines = [np.flatnonzero(step == k) for k in range(step.max() + 1)]
        centre = np.stack([vertices[line].mean(0) for line in lines])
        if axis == 0:  # along the arch: the mean point of a column moves along it
            gap = np.linalg.norm(np.diff(centre, axis=0), axis=1)
        else:
            gap = np.array([_mean_gap(vertices[lines[k]], vertices[lines[k + 1]]) for k in range(len(lines) - 1)])
        place_at = np.concatenate([[0], np.cumsum(gap)]) / gap.sum()
        if centre[-1, axis] < centre[0, axis]:
            place_at = 1 - place_at
        for line, value in zip(lines, place_at, strict=True):
            uv[line, axis] = value
    return uv


def _steps_from(start: np.ndarray, quads: np.ndarray, count: int) -> np.ndarray:
    """Edges between every vertex and the nearest one of `start`; -1 outside the grid."""
    step = np.full(count, -1)
    step[start] = 0
    edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    edges = np.concatenate([edges, edges[:, ::-1]])
    for distance in range(1, count):
        reached = edges[(step[edges[:, 0]] == distance - 1) & (step[edges[:, 1]] < 0), 1]
        if not len(reached):
            break
        step[reached] = distance
    return step


def _mean_gap(line: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(line[:, None] - other, axis=2).min(1).mean())


def flatten_skin(
    vertices: np.ndarray, faces: np.ndarray, point: np.ndarray, density: np.ndarray, iterations: int = 5
) -> np.ndarray:
    """Flattens the skin onto the unit square with the neck's rim at the bottom and the crown in the middle of the top.

    Args:
        vertices: Points of the cut surface (seam points appear twice), metres, [T, 3].
        faces: Triangles over them, [F, 3].
        point: Number of the mesh vertex behind each of them, [T].
        density: Wanted linear magnification relative to other places, [T].
        iterations: Stretch corrections.

    Returns:
        Coordinates in [0, 1], [T, 2].
    """
    loops = sorted(boundary_loops(faces), key=lambda loop: -_length(vertices[loop]))
    filled_vertices, filled_faces = _fill(vertices, faces, loops[1:])
    density = np.concatenate([density, np.full(len(loops) - 1, HOLE_DENSITY)])
    border = loops[0]
    uv_border = _border_on_square(vertices, point, border)
    weights = _mean_value_weights(filled_vertices, filled_faces)
    uv = _embed(weights, border, uv_border)
    for _ in range(iterations):
        stretch = _stretch(filled_vertices, filled_faces, uv) * density
        column = sp.diags(1 / np.sqrt(stretch / stretch.mean()))
        weights = (weights @ column).tocsr()
        uv = _embed(weights, border, uv_border)
    return uv[: len(vertices)]


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


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed rings of vertices around the holes and the rim of a surface.

    Args:
        faces: Polygons with consistent winding, [F, 3] or [F, 4].
    """
    sides = faces.shape[1]
    edges = np.concatenate([faces[:, [k, (k + 1) % sides]] for k in range(sides)])
    known = set(map(tuple, edges.tolist()))
    following = {a: b for a, b in map(tuple, edges.tolist()) if (b, a) not in known}
    loops = []
    while following:
        start = min(following)
        loop = [start]
        while (step := following.pop(loop[-1])) != start:
            loop.append(step)
        loops.append(np.array(loop))
    return loops


def _length(ring: np.ndarray) -> float:
    return float(np.linalg.norm(ring - np.roll(ring, -1, 0), axis=1).sum())


def _fill(vertices, faces, holes):
    """Closes holes (eyes, mouth) with a fan, so that they cannot be squeezed shut or folded."""
    for hole in holes:
        centre = len(vertices)
        vertices = np.concatenate([vertices, vertices[hole].mean(0, keepdims=True)])
        fan = np.stack([np.roll(hole, -1), hole, np.full(len(hole), centre)], 1)
        faces = np.concatenate([faces, fan])
    return vertices, faces


def _border_on_square(vertices, point, border):
    """Crown at the middle of the top, the two banks of the seam along the sides, the neck's rim along the bottom."""
    where = point[border]
    times = np.array([(where == w).sum() for w in where])
    rim = times == 1
    crown = np.flatnonzero(rim & np.roll(~rim, 1) & np.roll(~rim, -1))
    crown = crown[np.argmax(vertices[border[crown], 1])]
    order = np.roll(np.arange(len(border)), -crown)
    rim = rim[order]
    rim[0] = False
    first, last = np.flatnonzero(rim)[0] - 1, np.flatnonzero(rim)[-1] + 1
    ring = vertices[border[order]]

    def progress(part):
        steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(part, axis=0), axis=1))])
        return steps / steps[-1]

    def side(t):  # from the crown along half the top and down one side
        top = np.minimum(t / 0.3, 1)
        return np.stack([0.5 * (1 - top), np.where(t < 0.3, 1, 1 - (t - 0.3) / 0.7)], 1)

    down, along, up = ring[: first + 1], ring[first : last + 1], np.concatenate([ring[last:], ring[:1]])
    one, two = side(progress(down)), side(progress(up[::-1]))[::-1][:-1]
    bottom = np.stack([progress(along), np.zeros(len(along))], 1)[1:-1]
    # Which bank comes first depends on the winding; the person's left (+x) belongs to the right of the picture.
    if vertices[border[order[len(down) : len(down) + 3]], 0].mean() > ring[:, 0].mean():
        one[:, 0], bottom[:, 0] = 1 - one[:, 0], 1 - bottom[:, 0]
    else:
        two[:, 0] = 1 - two[:, 0]
    uv = np.empty((len(border), 2))
    uv[order] = np.concatenate([one, bottom, two])
    return uv


def _mean_value_weights(vertices, faces):
    rows, columns, values = [], [], []
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        i, j, k = faces[:, a], faces[:, b], faces[:, c]
        to_j, to_k = vertices[j] - vertices[i], vertices[k] - vertices[i]
        length_j, length_k = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_k, axis=1)
        cosine = (to_j * to_k).sum(1) / (length_j * length_k)
        half = np.sqrt(np.maximum(1 - cosine, 1e-6) / np.maximum(1 + cosine, 1e-6))  # tan(angle / 2)
        rows += [i, i]
        columns += [j, k]
        values += [half / length_j, half / length_k]
    count = len(vertices)
    parts = (np.concatenate(x) for x in (values, rows, columns))
    data, row, column = parts
    return sp.csr_matrix((data, (row, column)), shape=(count, count))


def _embed(weights, border, uv_border):
    """Solves for the inner points: each is the weighted mean of its neighbours."""
    count = weights.shape[0]
    inner = np.setdiff1d(np.arange(count), border)
    normalised = sp.diags(1 / np.asarray(weights.sum(1)).ravel()) @ weights
    system = (sp.identity(count) - normalised).tocsr()[inner]
    uv = np.zeros((count, 2))
    uv[border] = uv_border
    right = -system[:, border] @ uv_border
    uv[inner] = scipy.sparse.linalg.splu(system[:, inner].tocsc()).solve(right)
    return uv


def _stretch(vertices, faces, uv):
    """Metres per unit of the plane around every point, root mean square over directions and triangles."""
    p, q = vertices[faces], uv[faces]
    edges = np.stack([p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]], 2)
    flat = np.stack([q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]], 2)
    determinant = flat[:, 0, 0] * flat[:, 1, 1] - flat[:, 0, 1] * flat[:, 1, 0]
    inverse = np.stack([flat[:, 1, 1], -flat[:, 0, 1], -flat[:, 1, 0], flat[:, 0, 0]], 1).reshape(-1, 2, 2)
    jacobian = edges @ (inverse / determinant[:, None, None])
    squared = 0.5 * np.square(jacobian).sum((1, 2))
    area = 0.5 * np.linalg.norm(np.cross(edges[..., 0], edges[..., 1]), axis=1)
    total, share = np.zeros(len(vertices)), np.zeros(len(vertices))
    for k in range(3):
        np.add.at(total, faces[:, k], area * squared)
        np.add.at(share, faces[:, k], area)
    return np.sqrt(total / share)
