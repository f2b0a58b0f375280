"""Projection under autograd: from Gaussians to the records that compositing reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.geometry import CAMERA_SIZE
from realhead.splatting.kernels.project import project
from realhead.splatting.kernels.project_backward import CAMERA_GRADIENTS, project_backward
from realhead.splatting.threads import run

LONGEST_BLOCK = 8  # rows between two exponentials, where eps2d allows it
SAFE_EPS2D = 0.299  # square pixels; see `kernels.compose`
NO_COLORS = np.empty(0, np.float32)


class OutOfRangeError(ArithmeticError):
    """A kernel met values that it cannot draw; the caller finds out which."""


@dataclass(frozen=True)
class Settings:
    """What the autograd functions need besides tensors."""

    width: int
    height: int
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    degree: int
    """Of the spherical harmonics; -1: there are none."""
    lanes: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """Greatest height of a block as a type."""
        return (0,) * (LONGEST_BLOCK if self.eps2d >= SAFE_EPS2D else 1)

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles in x and y."""
        return -(-self.width // rec.TILE_W), -(-self.height // rec.TILE_H)


@dataclass(frozen=True)
class Drawn:
    """What the projection into one camera found out besides the records, for the lists of tiles."""

    depths: np.ndarray
    """The bits of the depths, int32 [N]."""
    spans: np.ndarray
    """Tiles of each Gaussian, none where it is not drawn, [N]."""
    shared: np.ndarray
    """Those in several tiles, chunk by chunk, [N]."""
    totals: np.ndarray
    """[chunks, 4]; see `kernels.project.project`."""


def flat(tensor: Tensor | None) -> np.ndarray | None:
    """A tensor's values as a flat array, shared where it is contiguous."""
    return None if tensor is None else tensor.detach().contiguous().numpy().reshape(-1)


def camera_words(settings: Settings, view: np.ndarray, K: np.ndarray, centre: Tensor) -> np.ndarray:
    """Packs a camera as the kernels read it; the clamps of x / z and y / z reach 15 % outside the image."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    width, height = settings.width, settings.height
    clamps = (
        -(cx + 0.15 * width) / fx,
        (1.15 * width - cx) / fx,
        -(cy + 0.15 * height) / fy,
        (1.15 * height - cy) / fy,
    )
    rest = (fx, fy, cx, cy, *clamps, settings.near, settings.far, settings.eps2d, settings.radius_clip, width, height)
    words = [*view[:3, :3].flat, *view[:3, 3], *centre.tolist(), *rest]
    assert len(words) == CAMERA_SIZE
    with np.errstate(over="ignore"):  # an infinite clamp or far plane is what was meant
        return np.asarray(words, np.float32)


class Project(torch.autograd.Function):
    """Projects the Gaussians into each camera."""

    @staticmethod
    def forward(ctx, settings, cameras, means, covars, quats, scales, opacities, colors, viewmats, centres):
        """Returns means2d [C, N, 2], depths [C, N], records [C, N, 16], radii [C, N, 2] and a list of `Drawn`."""
        arrays, opacity = [flat(t) for t in (means, covars, quats, scales)], flat(opacities)
        count, num_cameras = len(opacity), len(cameras)
        means2d, depths = torch.empty(num_cameras, count, 2), torch.empty(num_cameras, count)
        records = torch.empty(num_cameras, count, rec.SIZE)
        radii = torch.empty(num_cameras, count, 2, dtype=torch.int32)
        drawn = []
        for c, camera in enumerate(cameras):
            record, depth = flat(records[c]), flat(depths[c])
            spans, shared = np.empty(count, np.int64), np.empty(count, np.int32)
            totals = np.zeros((-(-count // rec.CHUNK), 4), np.int64)
            run(
                len(totals), project, settings.lanes, camera, *arrays, opacity, _colors_of(colors, c, settings),
                settings.degree, settings.antialiased, record, record.view(np.int32), flat(means2d[c]),
                depth, flat(radii[c]).view(np.float32), spans, shared, totals,
            )  # fmt: skip
            drawn.append(Drawn(depth.view(np.int32), spans, shared, totals))
        if any(d.totals[:, 0].any() for d in drawn):
            raise OutOfRangeError
        ctx.settings, ctx.cameras = settings, cameras
        ctx.save_for_backward(means, covars, quats, scales, opacities, colors, records)
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return means2d, depths, records, radii, drawn

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_means2d, grad_depths, grad_records, *_):
        """Adds up the gradients of all cameras."""
        means, covars, quats, scales, opacities, colors, records = ctx.saved_tensors
        settings, (num_cameras, count) = ctx.settings, records.shape[:2]
        grads = [None if t is None else torch.empty(t.shape) for t in (means, covars, quats, scales, opacities)]
        grad_colors = _empty_color_gradient(colors, settings)
        sums = np.zeros((num_cameras, -(-count // rec.CHUNK), CAMERA_GRADIENTS), np.float32)
        want_camera = ctx.needs_input_grad[8] or ctx.needs_input_grad[9]
        arrays = [flat(t) for t in (means, covars, quats, scales)]
        if grad_records is None:
            grad_records = torch.zeros_like(records)
        for c, camera in enumerate(ctx.cameras):
            grad_depth = np.zeros(count, np.float32) if grad_depths is None else flat(grad_depths[c])
            run(
                sums.shape[1], project_backward, settings.lanes, camera, *arrays, _colors_of(colors, c, settings),
                settings.degree, settings.antialiased, flat(records[c]),
                *_rows_of_means2d(grad_means2d, grad_records, c), grad_depth, flat(grad_records[c]), c > 0,
                want_camera, *(flat(g) for g in grads), _colors_of(grad_colors, c, settings), sums[c],
            )  # fmt: skip
        if not want_camera:
            return None, None, *grads, grad_colors, None, None
        total = torch.from_numpy(sums.sum(1, dtype=np.float64).astype(np.float32))
        grad_views = torch.zeros(num_cameras, 4, 4)
        grad_views[:, :3, :3], grad_views[:, :3, 3] = total[:, :9].reshape(-1, 3, 3), total[:, 9:12]
        return None, None, *grads, grad_colors, grad_views, total[:, 12:]


def _colors_of(colors: Tensor | None, camera: int, settings: Settings) -> np.ndarray:
    """The SH coefficients, or their gradient, that belong to a camera."""
    if colors is None:
        return NO_COLORS
    return flat(colors[camera] if colors.ndim == 4 else colors)


def _empty_color_gradient(colors: Tensor | None, settings: Settings) -> Tensor | None:
    """Room for the gradient of SH coefficients; zeros where the kernel does not write everything first."""
    if colors is None:
        return None
    all_written = (settings.degree + 1) ** 2 == colors.shape[-2] and colors.ndim == 3
    return (torch.empty if all_written else torch.zeros)(colors.shape)


def _rows_of_means2d(grad_means2d: Tensor | None, grad_records: Tensor, camera: int) -> tuple[np.ndarray, int]:
    """The gradients of the projected means, and how far apart they lie.

    From `Composite` they come as a view of the first words of the gradient rows; somebody's own loss on the projected
    means makes them a tensor of their own.
    """
    if grad_means2d is None:
        return np.zeros(2 * grad_records.shape[1], np.float32), 2
    if grad_means2d.data_ptr() == grad_records.data_ptr() and grad_means2d.stride() == grad_records.stride():
        return flat(grad_records[camera]), rec.SIZE
    return flat(grad_means2d[camera]), 2
