"""Seamless procedural noise: functions of a 3D position, so that texture islands meet without seams."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, inline="always")
def _lattice(x, y, z, seed):
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263) + np.uint32(z) * np.uint32(2147483647)
    h ^= np.uint32(seed) * np.uint32(3266489917)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h ^= h >> np.uint32(16)
    return np.float32(h & np.uint32(0xFFFFFF)) * np.float32(2.0 / 16777216.0) - np.float32(1.0)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _value(x, y, z, seed):
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    fx, fy, fz = x - ix, y - iy, z - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = np.float32(0.0)
    for k in range(8):
        dx, dy, dz = k & 1, (k >> 1) & 1, (k >> 2) & 1
        weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy) * (fz if dz else 1 - fz)
        total += weight * _lattice(ix + dx, iy + dy, iz + dz, seed)
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def noise(points, size, seed, octaves):
    """Fractal value noise.

    Args:
        points: Positions in metres [N, 3].
        size: Size of the largest feature in metres.
        seed: Any integer.
        octaves: Number of layers, each half the size and half the strength of the one before.

    Returns:
        Values of about unit range around zero, float32 [N].
    """
    out = np.empty(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] / size, points[i, 1] / size, points[i, 2] / size
        total, strength, norm = 0.0, 1.0, 0.0
        for k in range(octaves):
            total += strength * _value(x + 17.3 * k, y - 9.1 * k, z + 4.7 * k, seed + 31 * k)
            norm += strength
            strength *= 0.5
            x, y, z = x * 2, y * 2, z * 2
        out[i] = total / norm * 1.6
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def spots(points, centres, radii, softness):
    """Sum of soft discs on a surface: 1 inside `radii` [K] of `centres` [K, 3], fading over `softness` of it, [N]."""
    out = np.zeros(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        for k in range(centres.shape[0]):
            dx = points[i, 0] - centres[k, 0]
            if abs(dx) > radii[k] * 2:
                continue
            dy, dz = points[i, 1] - centres[k, 1], points[i, 2] - centres[k, 2]
            d = np.sqrt(dx * dx + dy * dy + dz * dz) / radii[k]
            if d < 1 + softness:
                out[i] += min(max((1 + softness - d) / (2 * softness), 0.0), 1.0)
    return out
