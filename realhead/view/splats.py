"""Gaussians as viser's client-side splats.

viser's splat node carries one colour per Gaussian (no spherical harmonics: see `baked_colour`) and the six covariance
entries as float16. A covariance in square metres falls below what float16 can hold (sigma 0.2 mm: +22 %; 0.1 mm:
vanishes), so everything is handed over in centimetres and the node is scaled back: `centers * S`, `covariances * S^2`,
`scale = 1 / S` with S = 100. Sigmas from 0.05 mm to 2.5 m then keep their size within 1 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import viser

    from realhead.splatting.gaussians import Gaussians

UNITS_PER_METRE = 100.0
SH_DEGREE_0 = 0.28209479177387814
FLOAT16_MAX = 65504.0
WITHIN = np.pi / 3


class SplatArrays(NamedTuple):
    """What viser's node takes, already in its units (centimetres)."""

    centers: np.ndarray  # [N, 3] float32
    covariances: np.ndarray  # [N, 3, 3] float32
    rgbs: np.ndarray  # [N, 3] in [0, 1]
    opacities: np.ndarray  # [N, 1] in [0, 1]


def numpy(values) -> np.ndarray:
    """A tensor or array as a float32 numpy array on the CPU, cut from its graph."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float32)


def base_colour(gaussians: Gaussians) -> np.ndarray:
    """Degree-0 spherical harmonics as sRGB [N, 3] in [0, 1]: the colour averaged over all directions."""
    return np.clip(numpy(gaussians.sh[:, 0]) * SH_DEGREE_0 + 0.5, 0.0, 1.0)


def seen_colour(gaussians: Gaussians, viewpoint: np.ndarray) -> np.ndarray:
    """The sRGB colour [N, 3] that each Gaussian shows to an eye at `viewpoint` [3] or [N, 3] (metres), all degrees."""
    import torch

    from realhead.splatting.harmonics import sh_basis

    means, sh = torch.from_numpy(numpy(gaussians.means)), torch.from_numpy(numpy(gaussians.sh))
    directions = torch.nn.functional.normalize(means - torch.as_tensor(np.asarray(viewpoint, dtype=np.float32)), dim=-1)
    degree = round(sh.shape[1] ** 0.5) - 1
    return (torch.einsum("nk,nkc->nc", sh_basis(directions, degree), sh) + 0.5).clamp(0.0, 1.0).numpy()


def baked_colour(gaussians: Gaussians, rotation: np.ndarray | None = None) -> np.ndarray:
    """One sRGB colour per Gaussian [N, 3] that looks right from where one would look at it.

    Degree 0 alone is a mean over all directions, also those from inside the head, and comes out pale. Here the eye
    stands a metre in front of the face; for Gaussians more than 60 degrees round the head it walks round, just far
    enough to have them within 60 degrees.

    Args:
        gaussians: N Gaussians of a head that looks to +z.
        rotation: [3, 3] world from head, if it looks elsewhere.
    """
    means = numpy(gaussians.means)
    middle, turn = np.median(means, axis=0), np.eye(3) if rotation is None else np.asarray(rotation)
    away = (means - middle) @ turn
    azimuth = np.arctan2(away[:, 0], away[:, 2])
    azimuth = np.sign(azimuth) * np.maximum(np.abs(azimuth) - WITHIN, 0.0)
    eyes = middle + np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], 1) @ turn.T
    return seen_colour(gaussians, eyes)


def splat_arrays(gaussians: Gaussians, rgbs: np.ndarray | None = None, keep: np.ndarray | None = None) -> SplatArrays:
    """Arrays for viser, in centimetres.

    Args:
        gaussians: N Gaussians in metres.
        rgbs: [N, 3] colours in [0, 1]; `baked_colour` without it.
        keep: bool [N] or integer indices of the Gaussians to show; all without it.
    """
    centers = numpy(gaussians.means) * UNITS_PER_METRE
    covariances = numpy(gaussians.covars) * UNITS_PER_METRE**2
    rgbs = baked_colour(gaussians) if rgbs is None else np.clip(np.asarray(rgbs, dtype=np.float32), 0.0, 1.0)
    opacities = np.clip(numpy(gaussians.opacities), 0.0, 1.0)[:, None]
    arrays = (centers, np.clip(covariances, -FLOAT16_MAX, FLOAT16_MAX), rgbs, opacities)
    finite = np.isfinite(centers).all(1) & np.isfinite(covariances).all((1, 2)) & np.isfinite(opacities[:, 0])
    if keep is not None:
        chosen = np.asarray(keep)
        chosen = chosen if chosen.dtype == bool else np.isin(np.arange(len(centers)), chosen)
        finite &= chosen
    return SplatArrays(*(array if finite.all() else array[finite] for array in arrays))


def add_splats(
    scene: viser.SceneApi,
    name: str,
    gaussians: Gaussians,
    rgbs: np.ndarray | None = None,
    keep: np.ndarray | None = None,
) -> viser.GaussianSplatHandle:
    """Put Gaussians (metres) into a viser scene; arguments as in `splat_arrays`."""
    arrays = splat_arrays(gaussians, rgbs, keep)
    return scene.add_gaussian_splats(name, *arrays, scale=1.0 / UNITS_PER_METRE)


def update_splats(
    handle: viser.GaussianSplatHandle,
    gaussians: Gaussians,
    rgbs: np.ndarray | None = None,
    keep: np.ndarray | None = None,
) -> None:
    """Replace all Gaussians of a node made by `add_splats` in one message; their number may change."""
    handle.set_gaussians(*splat_arrays(gaussians, rgbs, keep))
