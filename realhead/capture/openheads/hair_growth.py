"""Grows strands over a head: a direction field per style, gravity, clumps and curls, kept outside the head.

A style is a table of weights of a few simple directions (away from the scalp, down, away from the crown, back, to a
knot, away from the parting), each at the root and at the tip. The head is replaced by its radius as a function of
direction from a centre, which makes "do not enter the head" one look-up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

LATITUDES, LONGITUDES = 48, 96
ROOT_LENGTH = 0.028
"""Metres over which a style's weights pass from those at the root to those further on."""
DEEPEST = 0.012
"""Metres below the radius map beyond which a point hangs free: under the nape the map is the shoulders."""


@dataclass(frozen=True)
class Style:
    """How hair of one style grows. Weights are (at the root, further on); lengths in metres.

    `top`, `front`, `side`, `back`: strand length by where the root is. `layer`: thickness of the hair over the scalp.
    """

    name: str
    outward: tuple[float, float] = (1.0, 0.0)
    down: tuple[float, float] = (0.0, 0.6)
    from_crown: tuple[float, float] = (0.6, 0.4)
    backward: tuple[float, float] = (0.0, 0.0)
    to_knot: tuple[float, float] = (0.0, 0.0)
    from_part: tuple[float, float] = (0.0, 0.0)
    top: float = 0.05
    front: float = 0.04
    side: float = 0.03
    back: float = 0.03
    layer: float = 0.006
    stiffness: float = 0.6
    curl_radius: float = 0.0
    curl_length: float = 0.03
    frizz: float = 0.0006
    clump: float = 0.4
    num_guides: int = 350
    num_points: int = 10
    num_strands: int = 12000
    width: float = 0.0007
    tied: bool = False


def radius_map(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Largest distance from `centre` [3] to `points` [N, 3] by direction, float32 [LATITUDES, LONGITUDES]."""
    offset = points - centre
    radius = np.linalg.norm(offset, axis=1)
    row = np.clip((np.arccos(np.clip(offset[:, 1] / radius, -1, 1)) / np.pi * LATITUDES).astype(int), 0, LATITUDES - 1)
    column = ((np.arctan2(offset[:, 0], offset[:, 2]) / (2 * np.pi) + 0.5) * LONGITUDES).astype(int) % LONGITUDES
    grid = np.zeros((LATITUDES, LONGITUDES), np.float32)
    np.maximum.at(grid, (row, column), radius.astype(np.float32))
    for _ in range(12):  # fill directions that no point covers from their neighbours
        empty = grid == 0
        if not empty.any():
            break
        around = np.stack([np.roll(grid, 1, 1), np.roll(grid, -1, 1), np.vstack([grid[:1], grid[:-1]]),
                           np.vstack([grid[1:], grid[-1:]])])  # fmt: skip
        count = (around > 0).sum(0)
        grid = np.where(empty & (count > 0), around.sum(0) / np.maximum(count, 1), grid).astype(np.float32)
    return grid


@numba.njit(cache=True, nogil=True, fastmath=True)
def _radius(grid, x, y, z):
    length = np.sqrt(x * x + y * y + z * z) + 1e-9
    row = np.arccos(min(max(y / length, -1.0), 1.0)) / np.pi * grid.shape[0] - 0.5
    column = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * grid.shape[1] - 0.5
    r0, c0 = int(np.floor(row)), int(np.floor(column))
    fr, fc = row - r0, column - c0
    last = grid.shape[0] - 1
    ra, rb = min(max(r0, 0), last), min(max(r0 + 1, 0), last)
    ca, cb = c0 % grid.shape[1], (c0 + 1) % grid.shape[1]
    return (grid[ra, ca] * (1 - fc) + grid[ra, cb] * fc) * (1 - fr) + (grid[rb, ca] * (1 - fc) + grid[rb, cb] * fc) * fr


@numba.njit(cache=True, nogil=True, fastmath=True)
def grow(roots, normals, lengths, layers, weights, anchors, grid, face_box, stiffness, jitter, num_points, num_guides):
    """Traces strands.

    Args:
        roots, normals: Root positions and unit normals [S, 3]; the first `num_guides` are guides.
        lengths: Strand lengths in metres [S].
        layers: Height above the head at which each strand rests [S].
        weights: Style weights, rows outward, down, from_crown, backward, to_knot, from_part [6, 2].
        anchors: Rows: head centre, crown, knot, a point on the parting [4, 3].
        grid: `radius_map` of the head.
        face_box: (half width, lowest z, highest y) of the part of the face that hair leaves free [3].
        stiffness: How much of its last direction a strand keeps at each step, in [0, 1).
        jitter: Random direction of each strand [S, 3].
        num_points: Points on a strand.

    Returns:
        Points [S, num_points, 3].
    """
    num = roots.shape[0]
    out = np.empty((num, num_points, 3), np.float32)
    for s in range(num):
        px, py, pz = roots[s, 0], roots[s, 1], roots[s, 2]
        dx, dy, dz = normals[s, 0], normals[s, 1], normals[s, 2]
        step = lengths[s] / (num_points - 1)
        out[s, 0, 0], out[s, 0, 1], out[s, 0, 2] = px, py, pz
        for k in range(1, num_points):
            t = k / (num_points - 1)
            near_root = np.exp(-k * step / ROOT_LENGTH)
            w = weights[:, 0] * near_root + weights[:, 1] * (1 - near_root)
            ox, oy, oz = px - anchors[0, 0], py - anchors[0, 1], pz - anchors[0, 2]
            r = np.sqrt(ox * ox + oy * oy + oz * oz) + 1e-9
            nx, ny, nz = ox / r, oy / r, oz / r
            tx = w[0] * nx + jitter[s, 0]
            ty = w[0] * ny - w[1] + jitter[s, 1]
            tz = w[0] * nz - w[3] + jitter[s, 2]
            for anchor, weight in ((1, -w[2]), (2, w[4])):
                ax, ay, az = anchors[anchor, 0] - px, anchors[anchor, 1] - py, anchors[anchor, 2] - pz
                if anchor == 1:  # along the scalp only
                    dot = ax * nx + ay * ny + az * nz
                    ax, ay, az = ax - dot * nx, ay - dot * ny, az - dot * nz
                r2 = np.sqrt(ax * ax + ay * ay + az * az) + 0.004
                tx, ty, tz = tx + weight * ax / r2, ty + weight * ay / r2, tz + weight * az / r2
            side = 1.0 if px > anchors[3, 0] else -1.0
            tx += w[5] * side
            if abs(px) < face_box[0] and pz > face_box[1] and py < face_box[2]:
                tx += 2.5 * (1.0 if roots[s, 0] > anchors[3, 0] else -1.0)
            r = np.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
            give = (1 - stiffness) / r
            dx, dy, dz = dx * stiffness + tx * give, dy * stiffness + ty * give, dz * stiffness + tz * give
            r = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
            dx, dy, dz = dx / r, dy / r, dz / r
            px, py, pz = px + dx * step, py + dy * step, pz + dz * step
            ox, oy, oz = px - anchors[0, 0], py - anchors[0, 1], pz - anchors[0, 2]
            r = np.sqrt(ox * ox + oy * oy + oz * oz) + 1e-9
            lowest = _radius(grid, ox, oy, oz) + layers[s] * min(1.0, 3.0 * t)
            if lowest - DEEPEST < r < lowest:
                px, py, pz = px + ox / r * (lowest - r), py + oy / r * (lowest - r), pz + oz / r * (lowest - r)
            out[s, k, 0], out[s, k, 1], out[s, k, 2] = px, py, pz
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def push_out(strands, centre, grid, clearance):
    """Moves points of strands [S, P, 3] that have come inside the head (`radius_map` around `centre`) out, in place."""
    for s in range(strands.shape[0]):
        for k in range(1, strands.shape[1]):
            x, y, z = strands[s, k, 0] - centre[0], strands[s, k, 1] - centre[1], strands[s, k, 2] - centre[2]
            r = np.sqrt(x * x + y * y + z * z) + 1e-9
            lowest = _radius(grid, x, y, z) + clearance
            if lowest - DEEPEST < r < lowest:
                factor = lowest / r
                strands[s, k, 0] = centre[0] + x * factor
                strands[s, k, 1] = centre[1] + y * factor
                strands[s, k, 2] = centre[2] + z * factor


@numba.njit(cache=True, nogil=True, fastmath=True)
def clump_and_curl(strands, guide_of, strength, curl_radius, curl_length, phases, frizz, noise):
    """Pulls strands to their guides towards the tip, winds them into curls and roughens them, in place.

    Args:
        strands: [S, P, 3]; guides are strands themselves.
        guide_of: Guide of each strand [S].
        strength: Share of the way to the guide at the tip [S].
        curl_radius, curl_length: Radius and length of a turn of each strand, metres [S].
        phases: Start angle of each strand's curl [S].
        frizz: Size of random offsets in metres.
        noise: Unit random numbers [S, P, 3].
    """
    num, count, _ = strands.shape
    for s in range(num):
        g = guide_of[s]
        if g != s:
            for k in range(count):
                t = k / (count - 1)
                pull = strength[s] * t**0.7
                for c in range(3):
                    # Strands keep a part of their distance at the root, so that a clump has a thickness.
                    aim = strands[g, k, c] + (strands[s, 0, c] - strands[g, 0, c]) * 0.25
                    strands[s, k, c] += (aim - strands[s, k, c]) * pull
    for s in range(num):
        length = 0.0
        for k in range(1, count):
            ax = strands[s, k, 0] - strands[s, k - 1, 0]
            ay = strands[s, k, 1] - strands[s, k - 1, 1]
            az = strands[s, k, 2] - strands[s, k - 1, 2]
            length += np.sqrt(ax * ax + ay * ay + az * az)
        dx = strands[s, count - 1, 0] - strands[s, 0, 0]
        dy = strands[s, count - 1, 1] - strands[s, 0, 1]
        dz = strands[s, count - 1, 2] - strands[s, 0, 2]
        r = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
        dx, dy, dz = dx / r, dy / r, dz / r
        # Two directions across the strand.
        ux, uy, uz = dy, -dx, 0.0
        if abs(dz) > 0.9:
            ux, uy, uz = dz, 0.0, -dx
        r = np.sqrt(ux * ux + uy * uy + uz * uz) + 1e-9
        ux, uy, uz = ux / r, uy / r, uz / r
        vx, vy, vz = dy * uz - dz * uy, dz * ux - dx * uz, dx * uy - dy * ux
        for k in range(1, count):
            t = k / (count - 1)
            angle = phases[s] + 2 * np.pi * t * length / curl_length[s]
            a = curl_radius[s] * min(1.0, 2.5 * t)
            ca, sa = np.cos(angle) * a, np.sin(angle) * a
            strands[s, k, 0] += ux * ca + vx * sa + noise[s, k, 0] * frizz
            strands[s, k, 1] += uy * ca + vy * sa + noise[s, k, 1] * frizz
            strands[s, k, 2] += uz * ca + vz * sa + noise[s, k, 2] * frizz
