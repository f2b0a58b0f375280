"""How much of each lamp, and of the surroundings, reaches every vertex and every hair.

The scene is seen once from each lamp and from a few directions over the sphere (small orthographic depth maps). One set
of maps serves the 16 cameras of a timestep, which makes soft shadows, the dark mouth cavity and the shade under hair
nearly free. Hair is not opaque: each map cell also counts strand area in layers behind the first strand ("opacity
shadow maps", Kim and Neumann 2001), and light fades about exponentially with what it has passed.
"""

from __future__ import annotations

import numba
import numpy as np

from realhead.capture.openheads.rasterize import draw_triangles

_DISTANCE = 10.0  # metres of an orthographic "camera": 1/z is then linear enough over a head
_LAYERS = (0.004, 0.012, 0.030)  # metres behind the first strand where the hair layers end; a fourth has no end


def sphere_directions(count: int) -> np.ndarray:
    """Evenly spread unit vectors (Fibonacci sphere), float32 [count, 3]."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    angle = np.pi * (1 + 5**0.5) * i
    radius = np.sqrt(1 - y * y)
    return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], 1).astype(np.float32)


def _basis(direction: np.ndarray) -> np.ndarray:
    """Rows: right, down and away from the lamp, float32 [3, 3]."""
    away = -direction / np.linalg.norm(direction)
    side = np.cross([0.0, 1.0, 0.0] if abs(away[1]) < 0.9 else [1.0, 0.0, 0.0], away)
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(away, side), away]).astype(np.float32)


def reach(vertices, normals, faces, hair, hair_area, direction, resolution=128, blur=1, density=1.0, light_hair=True):
    """Part of a distant lamp's light that reaches vertices and strand points.

    Args:
        vertices, normals: World positions and unit normals, float32 [V, 3].
        faces: Triangles that block light, int32 [F, 3].
        hair: Strand points, float32 [M, 3]; `hair_area` is the area each stands for, square metres [M].
        direction: Unit vector towards the lamp [3].
        resolution: Side of the depth map in cells.
        blur: Half side of the box over which the shadow is averaged, cells: a larger lamp.
        density: Factor on the opacity of hair.
        light_hair: Whether the answer for strand points is wanted (else it is empty).

    Returns:
        Factors in [0, 1]: vertices [V], strand points [M].
    """
    basis = _basis(np.asarray(direction, np.float64))
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = np.abs((vertices - centre) @ basis[:2].T).max() * 1.02
    if len(hair):
        radius = max(radius, np.abs((hair[::7] - centre) @ basis[:2].T).max() * 1.02)
    scale = np.float32(resolution / (2 * radius))
    on_map = _to_map(vertices, basis, centre.astype(np.float32), scale, resolution)
    depth = np.full((resolution, resolution), np.inf, np.float32)
    index = np.full((resolution, resolution), -1, np.int32)
    draw_triangles(on_map, faces, depth, index)
    first = np.full((resolution, resolution), np.inf, np.float32)
    layers = np.zeros((resolution, resolution, 4), np.float32)
    hair_map = _to_map(hair, basis, centre.astype(np.float32), scale, resolution)
    _fill_hair(hair_map, hair_area * np.float32(density) * scale * scale, first, layers)
    # A vertex is moved along its normal and towards the lamp, by about a cell, so that it does not shade itself.
    lifted = vertices + normals * np.float32(0.002)
    lifted_map = _to_map(lifted, basis, centre.astype(np.float32), scale, resolution)
    slack = np.float32(0.0015 + 1.2 / scale)
    at_vertices = _look_up(lifted_map, depth, first, layers, blur, slack)
    at_hair = _look_up(hair_map, depth, first, layers, min(blur, 1), slack) if light_hair else np.zeros(0, np.float32)
    facing = np.clip((normals @ np.asarray(direction, np.float32)) * 4 + 1.6, 0, 1)
    return at_vertices * facing, at_hair


@numba.njit(cache=True, nogil=True, fastmath=True)
def _to_map(points, basis, centre, scale, resolution):
    out = np.empty((points.shape[0], 3), np.float32)
    half = np.float32(resolution / 2)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - centre[0], points[i, 1] - centre[1], points[i, 2] - centre[2]
        out[i, 0] = (basis[0, 0] * x + basis[0, 1] * y + basis[0, 2] * z) * scale + half
        out[i, 1] = (basis[1, 0] * x + basis[1, 1] * y + basis[1, 2] * z) * scale + half
        out[i, 2] = basis[2, 0] * x + basis[2, 1] * y + basis[2, 2] * z + np.float32(_DISTANCE)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _fill_hair(points, area, first, layers):
    size = first.shape[0]
    for i in range(points.shape[0]):
        x, y = int(points[i, 0]), int(points[i, 1])
        if 0 <= x < size and 0 <= y < size and points[i, 2] < first[y, x]:
            first[y, x] = points[i, 2]
    for i in range(points.shape[0]):
        x, y = int(points[i, 0]), int(points[i, 1])
        if 0 <= x < size and 0 <= y < size:
            behind = points[i, 2] - first[y, x]
            layer = 0
            while layer < 3 and behind > _LAYERS[layer]:
                layer += 1
            layers[y, x, layer] += area[i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _look_up(points, depth, first, layers, blur, slack):
    size = depth.shape[0]
    out = np.empty(points.shape[0], np.float32)
    one = np.float32(1.0)
    bounds = np.array([0.0, _LAYERS[0], _LAYERS[1], _LAYERS[2], 0.08], np.float32)
    for i in range(points.shape[0]):
        cx, cy, z = int(points[i, 0]), int(points[i, 1]), points[i, 2]
        total, count = np.float32(0.0), 0
        for y in range(max(cy - blur, 0), min(cy + blur, size - 1) + 1):
            for x in range(max(cx - blur, 0), min(cx + blur, size - 1) + 1):
                count += 1
                if z > depth[y, x] + slack:
                    continue
                behind = z - first[y, x]
                passed = np.float32(0.0)
                if behind > 0:
                    for k in range(4):
                        share = (behind - bounds[k]) / (bounds[k + 1] - bounds[k])
                        passed += layers[y, x, k] * min(max(share, np.float32(0.0)), np.float32(1.0))
                total += one / (one + passed * (one + passed * np.float32(0.5)))
        out[i] = total / max(count, 1)
    return out
