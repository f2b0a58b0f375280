"""Fewer Gaussians that look the same: neighbours in UV space are merged by matching their moments.

An avatar has one Gaussian per texel: 14,000 to 60,000. A web page has room for about 16,000. Dropping the least
important ones tears holes; merging does not: a group's mean and covariance are those of the weighted mixture (law of
total covariance), widened within the surface until opacity times area is what the group had, since four small discs
cover more than one that has their spread. The face keeps full resolution longest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realhead.view.attributes import Surface, scales
from realhead.view.splats import numpy

if TYPE_CHECKING:
    from realhead.splatting.gaussians import Gaussians

INVISIBLE = 0.02
DETAILED = ("face", "lips", "mouth", "tongue", "teeth_lower", "teeth_upper", "eye_left", "eye_right", "lashes", "brows",
            "socket")  # fmt: skip


def groups(gaussians: Gaussians, surface: Surface | None, maximum: int) -> np.ndarray:
    """Assign each of N Gaussians to one of at most `maximum` groups: integers [N], -1 for the invisible ones.

    Without a surface (no texels known) the most visible `maximum` Gaussians are kept, each as its own group.
    """
    whole = np.isfinite(numpy(gaussians.means)).all(1) & np.isfinite(numpy(gaussians.covars)).all((1, 2))
    visible = whole & (numpy(gaussians.opacities) > INVISIBLE)
    if visible.sum() <= maximum:
        return _numbered(np.arange(len(visible)), visible)
    if surface is None or len(surface.texel) != len(visible):
        order = np.argsort(-_weights(gaussians) * visible)
        kept = np.zeros(len(visible), dtype=bool)
        kept[order[:maximum]] = True
        return _numbered(np.arange(len(visible)), kept)
    detailed = np.isin(np.array(surface.region_names)[surface.region], DETAILED)
    for coarse, fine in ((2, 1), (3, 1), (4, 1), (3, 2), (4, 2), (6, 2), (6, 3), (8, 4), (16, 8)):
        step = np.where(detailed, fine, coarse)[:, None]
        cell = np.concatenate([surface.texel // step, surface.region[:, None]], 1)
        label = np.unique(cell, axis=0, return_inverse=True)[1].reshape(-1)
        assigned = _numbered(_split_torn(label, gaussians), visible)
        if assigned.max() < maximum:
            return assigned
    return groups(gaussians, None, maximum)


def _split_torn(label: np.ndarray, gaussians: Gaussians) -> np.ndarray:
    """Neighbours in UV space may lie far apart on the head (across a seam): label such members one by one."""
    means, sigma = numpy(gaussians.means).astype(np.float64), scales(gaussians)[:, 2]
    size = np.bincount(label)
    centre = np.stack([np.bincount(label, column) / size for column in means.T], 1)
    reach = np.zeros(len(size))
    np.maximum.at(reach, label, np.linalg.norm(means - centre[label], axis=1))
    side = np.sqrt(size)  # a group of k x k texels reaches k / sqrt(2) texels from its middle
    torn = reach > 2.0 * side * np.bincount(label, sigma) / size
    return np.where(torn[label], len(size) + np.arange(len(label)), label)


def merge(gaussians: Gaussians, assigned: np.ndarray) -> Gaussians:
    """One Gaussian per group (see `groups`)."""
    import torch

    from realhead.splatting.gaussians import Gaussians

    count, members = int(assigned.max()) + 1, assigned >= 0
    if count == members.sum():  # nothing to merge: the groups are in the Gaussians' order
        index = torch.from_numpy(np.flatnonzero(members))
        chosen = (tensor.detach().cpu()[index] for tensor in (gaussians.means, gaussians.covars, gaussians.opacities))
        return Gaussians(*chosen, gaussians.sh.detach().cpu()[index])
    group, weight = assigned[members], _weights(gaussians)[members]
    total = np.bincount(group, weight, count)

    def mean(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(group), -1)
        sums = np.stack([np.bincount(group, weight * column, count) for column in flat.T], 1)
        return (sums / total[:, None]).reshape(count, *values.shape[1:])

    means = numpy(gaussians.means)[members].astype(np.float64)
    covars = numpy(gaussians.covars)[members].astype(np.float64)
    centre = mean(means)
    away = means - centre[group]
    spread = mean(covars + away[:, :, None] * away[:, None, :])
    opacity = mean(numpy(gaussians.opacities)[members])
    covered = _widened(spread, total / np.maximum(opacity, 1e-6))
    tensors = (centre, covered, opacity, mean(numpy(gaussians.sh)[members]))
    return Gaussians(*(torch.from_numpy(array.astype(np.float32)) for array in tensors))


def _widened(covars: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Stretch the two widest axes (by at most 2) until their product is `area`; never shrink."""
    variance, axes = np.linalg.eigh(covars)
    sigma = np.sqrt(np.clip(variance, 0.0, None))
    factor = np.clip(np.sqrt(area / np.maximum(sigma[:, 1] * sigma[:, 2], 1e-12)), 1.0, 2.0)
    half = axes * (sigma * np.stack([np.ones_like(factor), factor, factor], 1))[:, None, :]
    return half @ half.transpose(0, 2, 1)


def _weights(gaussians: Gaussians) -> np.ndarray:
    """Opacity times area of the two widest axes."""
    sigma = scales(gaussians)
    return numpy(gaussians.opacities).astype(np.float64) * np.maximum(sigma[:, 1] * sigma[:, 2], 1e-12)


def _numbered(label: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Labels of the kept ones renumbered from 0 without gaps; -1 elsewhere."""
    result = np.full(len(label), -1, dtype=np.int64)
    if kept.any():
        result[kept] = np.unique(label[kept], return_inverse=True)[1].reshape(-1)
    return result
