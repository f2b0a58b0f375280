"""A person's hair as strands: rooted in the skin, grown once, carried along by the head.

Hair of the scalp follows the skull rigidly; brows, lashes and beard follow the triangle in which they are rooted, so a
raised brow or an open jaw takes them along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True)
class Hair:
    """Strands in the person's neutral, unposed head space.

    points float32 [M, 3]; colors linear [M, 3]; widths metres [M]; starts int32 [S + 1]; root_face int32 [S]: the
    triangle a strand follows, -1 for the skull; gloss: strength of the highlights [M].
    """

    points: np.ndarray
    colors: np.ndarray
    widths: np.ndarray
    starts: np.ndarray
    root_face: np.ndarray
    gloss: np.ndarray

    def posed(self, neutral: np.ndarray, posed: np.ndarray, faces: np.ndarray, skull: np.ndarray) -> np.ndarray:
        """Strand points in the world, float32 [M, 3].

        Args:
            neutral: Vertices of the person's neutral, unposed head [V, 3].
            posed: Vertices at this timestep [V, 3].
            faces: Triangles [F, 3].
            skull: posed_from_canonical of the skull [4, 4].
        """
        return _pose(
            self.points, self.starts, self.root_face, neutral.astype(np.float32), posed.astype(np.float32), faces,
            skull.astype(np.float32),
        )  # fmt: skip


def join(parts: list[Hair]) -> Hair:
    """Several sets of strands as one."""
    offsets = np.cumsum([0] + [len(p.points) for p in parts])
    starts = [p.starts[:-1] + o for p, o in zip(parts, offsets[:-1], strict=True)]
    return Hair(
        np.concatenate([p.points for p in parts]).astype(np.float32),
        np.concatenate([p.colors for p in parts]).astype(np.float32),
        np.concatenate([p.widths for p in parts]).astype(np.float32),
        np.concatenate([*starts, [offsets[-1]]]).astype(np.int32),
        np.concatenate([p.root_face for p in parts]).astype(np.int32),
        np.concatenate([p.gloss for p in parts]).astype(np.float32),
    )


def from_grid(
    points: np.ndarray, colors: np.ndarray, widths: np.ndarray, root_face: np.ndarray, gloss: float = 0.05
) -> Hair:
    """Strands with the same number of points: points [S, P, 3], colors [S, P, 3], widths [S, P], root_face [S]."""
    num, count, _ = points.shape
    return Hair(
        points.reshape(-1, 3).astype(np.float32), colors.reshape(-1, 3).astype(np.float32),
        widths.reshape(-1).astype(np.float32), (np.arange(num + 1) * count).astype(np.int32),
        root_face.astype(np.int32), np.full(num * count, gloss, np.float32),
    )  # fmt: skip


@dataclass(frozen=True)
class Roots:
    """Where strands leave the skin: position and unit normal on the person, position on the template, triangle [S]."""

    position: np.ndarray
    normal: np.ndarray
    template: np.ndarray
    face: np.ndarray

    def __getitem__(self, chosen) -> Roots:
        return Roots(self.position[chosen], self.normal[chosen], self.template[chosen], self.face[chosen])

    def __len__(self) -> int:
        return len(self.face)


def sample_roots(
    rng: np.random.Generator, vertices: np.ndarray, normals: np.ndarray, template: np.ndarray, faces: np.ndarray,
    candidates: np.ndarray, density: Callable[[np.ndarray], np.ndarray], count: int,
) -> Roots:  # fmt: skip
    """Draws roots on the skin, by rejection.

    Args:
        vertices, normals: The neutral head [V, 3].
        template: The mean head [V, 3].
        faces: All triangles [F, 3].
        candidates: Triangles on which something may grow [K].
        density: Relative density in [0, 1] as a function of template positions [N, 3] -> [N].
        count: Number of roots (fewer if almost nothing grows).
    """
    corners = vertices[faces[candidates]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    cumulative = np.cumsum(area) / area.sum()
    found: list[Roots] = []
    for _ in range(24):
        face = candidates[np.searchsorted(cumulative, rng.random(4 * count)).clip(0, len(candidates) - 1)]
        r = np.sqrt(rng.random((len(face), 1)))
        t = rng.random((len(face), 1))
        bary = np.concatenate([1 - r, r * (1 - t), r * t], 1)[..., None]
        place = (template[faces[face]] * bary).sum(1)
        keep = rng.random(len(face)) < density(place)
        face, bary, place = face[keep], bary[keep], place[keep]
        normal = (normals[faces[face]] * bary).sum(1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        found.append(Roots((vertices[faces[face]] * bary).sum(1), normal, place, face))
        if sum(map(len, found)) >= count:
            break
    names = ("position", "normal", "template", "face")
    joined = Roots(*(np.concatenate([getattr(f, n) for f in found]) for n in names))
    return joined[np.arange(min(count, len(joined)))]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _frame(vertices, faces, f, out):
    """Orthonormal frame of triangle f: columns edge, across, normal; into out [3, 3]."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    r = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-20)
    nx, ny, nz = nx / r, ny / r, nz / r
    r = np.sqrt(ux * ux + uy * uy + uz * uz) + np.float32(1e-20)
    ux, uy, uz = ux / r, uy / r, uz / r
    out[0, 0], out[1, 0], out[2, 0] = ux, uy, uz
    out[0, 1], out[1, 1], out[2, 1] = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
    out[0, 2], out[1, 2], out[2, 2] = nx, ny, nz


@numba.njit(cache=True, nogil=True, fastmath=True)
def _pose(points, starts, root_face, neutral, posed, faces, skull):
    out = np.empty(points.shape, np.float32)
    rest, now, turn = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    x0, x1 = np.empty(3, np.float32), np.empty(3, np.float32)
    third = np.float32(1.0 / 3.0)
    for s in range(starts.shape[0] - 1):
        f = root_face[s]
        if f < 0:
            for i in range(3):
                for j in range(3):
                    turn[i, j] = skull[i, j]
                x0[i], x1[i] = 0, skull[i, 3]
        else:
            _frame(neutral, faces, f, rest)
            _frame(posed, faces, f, now)
            for i in range(3):
                for j in range(3):
                    turn[i, j] = now[i, 0] * rest[j, 0] + now[i, 1] * rest[j, 1] + now[i, 2] * rest[j, 2]
                x0[i] = (neutral[faces[f, 0], i] + neutral[faces[f, 1], i] + neutral[faces[f, 2], i]) * third
                x1[i] = (posed[faces[f, 0], i] + posed[faces[f, 1], i] + posed[faces[f, 2], i]) * third
        for p in range(starts[s], starts[s + 1]):
            x, y, z = points[p, 0] - x0[0], points[p, 1] - x0[1], points[p, 2] - x0[2]
            for i in range(3):
                out[p, i] = turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * z + x1[i]
    return out
