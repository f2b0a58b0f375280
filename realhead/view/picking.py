"""Click to inspect: which Gaussian lies under a ray, and what is to be said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realhead.view.attributes import Surface, scales
from realhead.view.splats import baked_colour, numpy

if TYPE_CHECKING:
    from realhead.splatting.gaussians import Gaussians

NEAREST_METRES = 0.01
VISIBLE_ALPHA = 0.02


def pick(gaussians: Gaussians, origin: np.ndarray, direction: np.ndarray, keep: np.ndarray | None = None) -> int | None:
    """The Gaussian that gives the ray most of its colour, or the nearest one within 1 cm, or None.

    Along the ray a Gaussian's response is largest at one point; its alpha there is opacity * exp(-d^2 / 2) with d the
    Mahalanobis distance. Alphas are composited front to back, and the largest weight wins: what the eye sees there.

    Args:
        gaussians: N Gaussians in metres.
        origin: [3] start of the ray.
        direction: [3], need not have unit length.
        keep: bool [N], the Gaussians that are shown.
    """
    direction = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    delta = numpy(gaussians.means).astype(np.float64) - np.asarray(origin, dtype=np.float64)
    candidates = np.flatnonzero((delta @ direction > 0) & (True if keep is None else np.asarray(keep, dtype=bool)))
    if not len(candidates):
        return None
    delta = delta[candidates]
    miss = np.linalg.norm(delta - (delta @ direction)[:, None] * direction, axis=1)
    alpha, depth = _response(numpy(gaussians.covars)[candidates], delta, direction)
    alpha *= np.clip(numpy(gaussians.opacities)[candidates], 0.0, 0.999)
    if alpha.max() < VISIBLE_ALPHA:
        nearest = int(miss.argmin())
        return int(candidates[nearest]) if miss[nearest] < NEAREST_METRES else None
    order = np.argsort(depth)
    transmittance = np.cumprod(np.concatenate([[1.0], 1.0 - alpha[order][:-1]]))
    return int(candidates[order[(alpha[order] * transmittance).argmax()]])


def _response(covars: np.ndarray, delta: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest value of each Gaussian along the ray, in [0, 1], and the depth at which it is reached."""
    floor = 1e-12 * np.eye(3)  # a flat Gaussian has no inverse; (1 micrometre)^2 changes nothing that can be seen
    precision = np.linalg.inv(covars.astype(np.float64) + floor)
    along = np.einsum("i,nij,j->n", direction, precision, direction)
    across = np.einsum("i,nij,nj->n", direction, precision, delta)
    distance = np.einsum("ni,nij,nj->n", delta, precision, delta) - across**2 / along
    return np.exp(-0.5 * np.clip(distance, 0.0, None)), across / along


def describe(gaussians: Gaussians, index: int, surface: Surface | None = None) -> str:
    """Everything about one Gaussian, as a Markdown table."""
    mean = numpy(gaussians.means)[index] * 1000
    sigma = scales(gaussians)[index] * 1000
    rgb = baked_colour(gaussians)[index]
    web = "#" + "".join(f"{round(255 * float(c)):02x}" for c in rgb)
    rows = [("Gaussian", f"{index} of {len(gaussians.means)}")]
    if surface is not None and len(surface.face) == len(gaussians.means):
        row, column = surface.texel[index]
        inside = ", ".join(f"{b:.2f}" for b in surface.barycentric[index])
        offset = np.linalg.norm(mean - surface.points[index] * 1000)
        rows += [
            ("Texel (row, column)", f"{row}, {column}"),
            ("Region", surface.region_names[surface.region[index]]),
            ("Triangle", f"{surface.face[index]} at ({inside})"),
            ("Offset from mesh", f"{offset:.2f} mm"),
        ]
    rows += [
        ("Mean x, y, z", ", ".join(f"{v:.1f}" for v in mean) + " mm"),
        ("Scales", ", ".join(f"{v:.2f}" for v in sigma[::-1]) + " mm"),
        ("Opacity", f"{float(numpy(gaussians.opacities)[index]):.3f}"),
        ("Colour", f'<span style="color:{web}">⬤</span> {web}'),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def ellipsoid(gaussians: Gaussians, index: int, sigmas: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussian's surface at `sigmas` standard deviations as a mesh: (vertices [V, 3] metres, faces [F, 3])."""
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    variance, axes = np.linalg.eigh(numpy(gaussians.covars)[index].astype(np.float64))
    half_axes = axes * (sigmas * np.sqrt(np.clip(variance, 1e-10, None)))
    vertices = sphere.vertices @ half_axes.T + numpy(gaussians.means)[index]
    return vertices.astype(np.float32), np.asarray(sphere.faces, dtype=np.uint32)
