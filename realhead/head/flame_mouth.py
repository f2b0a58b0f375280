"""Teeth and a mouth cavity for FLAME, which has neither: built from its lips, appended to its vertices.

The teeth have the place and the vertex order of VHAP's (8 rows of 15: upper root, lower root, upper edge, lower edge,
then their backs), so that its offsets with 5143 rows fit. Texture boxes, the cavity and the code are our own. The upper
row hangs on the neck joint, the lower one on the jaw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from realhead.head import flame_landmarks, landmarks, uv_layout
from realhead.head.model import HeadData
from realhead.head.uv_layout import Island

COLUMNS, NUM_TEETH = 15, 120
NECK, JAW = 1, 2
UPPER_LIP = landmarks.OUTER_LIPS[:11]
LOWER_LIP = (landmarks.OUTER_LIPS[0], *landmarks.OUTER_LIPS[:9:-1])
"""MediaPipe points from the person's right corner of the mouth to the left one."""

BOXES = {
    "teeth_upper": Island("teeth_upper", 0, 11, 42, 11),
    "teeth_lower": Island("teeth_lower", 0, 0, 42, 11),
    "mouth": Island("mouth", 86, 0, 42, 22),
}
"""Where they lie in our own texture layout; units of 1/128."""
BOXES_BESIDE_OFFICIAL = {
    "teeth_upper": Island("teeth_upper", 48.6, 124.4, 30.8, 3.6),
    "teeth_lower": Island("teeth_lower", 48.6, 120.8, 30.8, 3.6),
}
"""Where FLAME's own template has room for teeth (none is known for the cavity)."""

RINGS = ((0.005, 0.018, 1.0), (0.016, 0.022, 1.05), (0.032, 0.024, 0.9), (0.048, 0.014, 0.5))
"""Of the cavity: metres behind the lips, half height in metres, width relative to the mouth's."""


@dataclass(frozen=True)
class Part:
    """New vertices, what they inherit, and their triangles (numbers count from 0 within the part).

    Attributes:
        vertices: [P, 3].
        sources: Rows of the old vertices whose mean identity direction they follow, [P, K].
        source_weights: [P, K].
        weights: Skinning weights, [P, 5].
        faces: [F, 3]; numbers from P on are old vertices, P + number.
        uv: Per corner in the unit square, [F, 3, 2].
        regions: Region of each new vertex.
    """

    vertices: np.ndarray
    sources: np.ndarray
    source_weights: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    regions: np.ndarray


def with_mouth(data: HeadData, own_layout: bool) -> HeadData:
    """A FLAME head with teeth, and with a cavity where our own texture layout has a box for it.

    Args:
        data: FLAME as its file has it, 5023 vertices.
        own_layout: Whether its texture is ours rather than FLAME's.
    """
    boxes = BOXES if own_layout else BOXES_BESIDE_OFFICIAL
    data = append(data, teeth(data.v_template, data.faces), boxes)
    bag = cavity(data.v_template, data.faces) if own_layout else None
    return data if bag is None else append(data, bag, boxes)


def append(data: HeadData, part: Part, boxes: dict[str, Island]) -> HeadData:
    """Adds a part to a head; only identity moves it besides its joints."""
    old, new = len(data.v_template), len(part.vertices)
    faces = np.where(part.faces < new, part.faces + old, part.faces - new)
    shapedirs = np.einsum("pk,pkcs->pcs", part.source_weights, data.shapedirs[part.sources])
    regions = {}
    for name in {*data.regions, *part.regions.tolist()}:
        mask = data.regions.get(name, np.zeros(old, bool))
        regions[name] = np.concatenate([mask, part.regions == name])
    of_face = part.regions[np.where(part.faces < new, part.faces, new).min(1)]
    coords = np.zeros((len(faces), 3, 2))
    for name in np.unique(of_face):
        box, chosen = boxes[str(name)], of_face == name
        low = np.array([box.left, box.bottom]) / 128 + uv_layout.GUTTER
        coords[chosen] = low + part.uv[chosen] * (np.array([box.width, box.height]) / 128 - 2 * uv_layout.GUTTER)
    coords, index = np.unique(coords.reshape(-1, 2).round(9), axis=0, return_inverse=True)

    def grown(array: np.ndarray, axis: int = 0) -> np.ndarray:
        widths = [(0, new if k == axis else 0) for k in range(array.ndim)]
        return np.pad(array, widths)

    return replace(
        data,
        v_template=np.concatenate([data.v_template, part.vertices]),
        shapedirs=np.concatenate([data.shapedirs, shapedirs]),
        exprdirs=grown(data.exprdirs),
        posedirs=grown(data.posedirs),
        J_regressor=grown(data.J_regressor, 1),
        weights=np.concatenate([data.weights, part.weights]),
        faces=np.concatenate([data.faces, faces]),
        uv_coords=np.concatenate([data.uv_coords, coords]).astype(np.float32),
        uv_faces=np.concatenate([data.uv_faces, index.reshape(-1, 3) + len(data.uv_coords)]),
        regions=regions,
        eyelids=None if data.eyelids is None else grown(data.eyelids, 1),
    )


def teeth(vertices: np.ndarray, faces: np.ndarray) -> Part:
    """Two rows of teeth behind the lips (sizes as VHAP's, relative to the lips' distance)."""
    rings, corners, barycentric = zip(*(_lip(vertices, faces, points) for points in (UPPER_LIP, LOWER_LIP)))
    gap = np.linalg.norm(rings[0] - rings[1], axis=1).mean()
    middle = (rings[0] + rings[1]) / 2
    middle[:, 1] = middle[:, 1].mean()
    middle[:, 2] -= 1.5 * gap
    up, back = np.array([0, gap, 0]), np.array([0, 0, -gap])
    upper_edge, lower_edge = middle + 0.1 * up, middle - 0.1 * up + 0.4 * back
    rows = [upper_edge + 2 * up, lower_edge - 2 * up, upper_edge, lower_edge]
    rows += [rows[0] + back, rows[2] + back, rows[1] + back, rows[3] + back]
    upper = np.repeat([True, False, True, False, True, True, False, False], COLUMNS)
    grid = np.arange(NUM_TEETH).reshape(8, COLUMNS)
    bands = [_band(grid[[0, 2, 5, 4]], upwards=False), _band(grid[[1, 3, 7, 6]], upwards=True)]
    sources = np.concatenate(corners, 1)  # both lips' triangles: [15, 6]
    weights = np.zeros((NUM_TEETH, 5))
    weights[upper, NECK], weights[~upper, JAW] = 1, 1
    return Part(
        np.concatenate(rows),
        np.tile(sources, (8, 1)),
        np.tile(np.concatenate(barycentric, 1) / 2, (8, 1)),
        weights,
        np.concatenate([band[0] for band in bands]),
        np.concatenate([band[1] for band in bands]),
        np.where(upper, "teeth_upper", "teeth_lower"),
    )


def _lip(vertices, faces, points):
    """15 spots along a lip: positions [15, 3], vertices of the triangles that they lie in and weights, both [15, 3]."""
    line = np.stack([flame_landmarks.place(vertices, faces, k) for k in points])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, length[-1], COLUMNS)
    spots = np.stack([np.interp(at, length, line[:, c]) for c in range(3)], 1)
    nearest = [landmarks.closest_on_mesh(vertices, faces, spot) for spot in spots]
    corners = np.stack([faces[face] for face, _ in nearest])
    return spots, corners, np.stack([weights for _, weights in nearest])


def _band(grid: np.ndarray, upwards: bool) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of a grid of four rows (front root, front edge, back edge, back root), and their texture corners.

    Columns run from the person's right to the left; outside is where a front triangle looks to +z.
    """
    height, width = grid.shape
    faces, uv = [], []
    u, v = np.linspace(0, 1, width), np.linspace(1, 0, height) if not upwards else np.linspace(0, 1, height)
    for r in range(height - 1):
        for c in range(width - 1):
            quad = [(r, c), (r + 1, c), (r + 1, c + 1), (r, c + 1)]
            quad = quad[::-1] if upwards else quad
            for triangle in ((0, 1, 2), (0, 2, 3)):
                corners = [quad[k] for k in triangle]
                faces.append([grid[i, j] for i, j in corners])
                uv.append([(u[j], v[i]) for i, j in corners])
    return np.array(faces), np.array(uv)


def cavity(vertices: np.ndarray, faces: np.ndarray) -> Part | None:
    """A bag behind the lips, sewn to the rim of the mouth; None where the mesh has no opening there."""
    loop = mouth_rim(vertices, faces)
    if loop is None:
        return None
    rim, count = vertices[loop], len(loop)
    centre, half = rim.mean(0), np.ptp(rim[:, 0]) / 2
    across = np.clip((rim[:, 0] - centre[0]) / half, -1, 1)
    # The lips touch: which side of the mouth a rim vertex is on follows from its place between the corners.
    order = np.roll(np.arange(count), -int(np.argmin(rim[:, 0])))
    until = int(np.argmax(rim[order, 0]))
    first, second = order[1:until], order[until + 1 :]
    side = np.zeros(count)
    first_up = rim[first, 1].mean() > rim[second, 1].mean()
    side[first], side[second] = (1, -1) if first_up else (-1, 1)
    bulge = np.sqrt(1 - across**2)
    rings = []
    for behind, height, width in RINGS:
        ring = np.stack([centre[0] + (rim[:, 0] - centre[0]) * width, centre[1] + side * height * bulge, rim[:, 2]], 1)
        rings.append(ring - np.array([0, 0, behind]))
    pole = centre - np.array([0, 0, RINGS[-1][0] + 0.006])
    share = (1 + side * bulge) / 2  # of the upper jaw, 1/2 at the corners
    weights = np.zeros((count * len(RINGS) + 1, 5))
    weights[:-1, NECK], weights[:-1, JAW] = np.tile(share, len(RINGS)), np.tile(1 - share, len(RINGS))
    weights[-1, [NECK, JAW]] = 0.5
    bag_faces, uv = _bag(count, np.unwrap(np.arctan2(side * bulge, across)))
    new = len(weights)
    bag_faces = np.where(bag_faces < count, new + loop[np.minimum(bag_faces, count - 1)], bag_faces - count)
    sources = np.tile(loop, (new, 1))
    return Part(
        np.concatenate([*rings, pole[None]]), sources, np.full(sources.shape, 1 / count), weights, bag_faces, uv,
        np.full(new, "mouth"),
    )  # fmt: skip


def _bag(count: int, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of rings around a pole (ring 0 is the rim) and their place on a disc in the unit square."""
    levels = len(RINGS) + 1
    grid = np.arange(count * levels).reshape(levels, count)
    radius = 0.5 * np.linspace(1, 0, levels + 1)
    disc = 0.5 + radius[:levels, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    disc = np.concatenate([disc.reshape(-1, 2), [[0.5, 0.5]]])
    a, b = grid, np.roll(grid, -1, 1)
    one = np.stack([b[:-1], a[:-1], a[1:]], -1).reshape(-1, 3)
    two = np.stack([b[:-1], a[1:], b[1:]], -1).reshape(-1, 3)
    tip = np.stack([b[-1], a[-1], np.full(count, count * levels)], -1)
    faces = np.concatenate([one, two, tip])
    return faces, disc[faces]


def mouth_rim(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
    """The ring of vertices around the opening behind the lips, where FLAME's mesh ends; None if there is none."""
    lips = np.mean([flame_landmarks.place(vertices, faces, k) for k in landmarks.OUTER_LIPS], 0)
    skin = faces[(faces < 3931).all(1)]
    loops = [loop for loop in uv_layout.boundary_loops(skin) if len(loop) >= 8]
    near = [loop for loop in loops if np.linalg.norm(vertices[loop].mean(0) - lips) < 0.02]
    return max(near, key=len) if near else None
