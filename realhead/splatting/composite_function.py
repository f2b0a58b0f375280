"""Compositing under autograd: from records to images, in rounds of up to three features and the depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.compose import blend
from realhead.splatting.kernels.replay import gather, replay
from realhead.splatting.project_function import flat
from realhead.splatting.scene import check_memory
from realhead.splatting.threads import run
from realhead.splatting.tile_lists import TileLists

NO_GRADIENT = np.empty(0, np.float32)


@dataclass(frozen=True)
class Pass:
    """One round of compositing: up to three features, and the depth, lie side by side in the records."""

    first_feature: int
    num_features: int
    with_depth: bool

    @property
    def num_channels(self) -> int:
        """Features and depth."""
        return self.num_features + self.with_depth

    @property
    def channels(self) -> tuple[int, ...]:
        """The number of channels as a type."""
        return (0,) * self.num_channels

    @property
    def features(self) -> slice:
        """Which of all features."""
        return slice(self.first_feature, self.first_feature + self.num_features)

    @property
    def words(self) -> slice:
        """Where the features lie in a record."""
        return slice(rec.COLOR, rec.COLOR + self.num_features)


def plan_passes(num_features: int, with_depth: bool) -> list[Pass]:
    """Splits the channels into rounds; the depth goes with the last features."""
    starts = list(range(0, num_features, 3)) or [0]
    return [Pass(start, min(3, num_features - start), with_depth and start == starts[-1]) for start in starts]


class Composite(torch.autograd.Function):
    """Blends the records of each camera into its image."""

    @staticmethod
    def forward(ctx, settings, passes, drawn, means2d, records, features, backgrounds):
        """Returns images [C, H, W, D] and alphas [C, H, W]; `means2d` only receives a gradient."""
        num_cameras, num_channels = len(records), sum(p.num_channels for p in passes)
        images = torch.empty(num_cameras, settings.height, settings.width, num_channels)
        alphas = torch.empty(num_cameras, settings.height, settings.width)
        lists = [TileLists(settings, each) for each in drawn]
        for c, tiles in enumerate(lists):
            for each in passes:
                record = paint(records[c], features, c, each)
                background = np.zeros(each.num_channels, np.float32)
                if backgrounds is not None:
                    background[: each.num_features] = backgrounds[c, each.features].detach()
                run(
                    len(tiles.jobs), blend, settings.lanes, settings.rows, each.channels, record,
                    record.view(np.int32), tiles.ids, tiles.offsets, tiles.jobs, background, settings.width,
                    settings.height, each.first_feature, flat(images[c]), flat(alphas[c]),
                )  # fmt: skip
        ctx.settings, ctx.passes, ctx.lists = settings, passes, lists
        ctx.save_for_backward(records, features, backgrounds, images, alphas)
        ctx.set_materialize_grads(False)
        return images, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_images, grad_alphas):
        """Replays each image and gathers the gradients of the records."""
        records, features, backgrounds, images, alphas = ctx.saved_tensors
        if grad_images is None:
            grad_images = torch.zeros_like(images)
        total, grad_backgrounds = None, []
        grad_features = None if features is None else torch.empty(features.shape)
        for each in ctx.passes:
            grad_alpha = grad_alphas if each.first_feature == 0 else None
            rows, sums = _backward_pass(ctx, each, records, features, images, alphas, grad_images, grad_alpha)
            if features is not None:
                part = rows[..., each.words]
                grad_features[..., each.features] = part.sum(0) if features.ndim == 2 else part
            if each.with_depth and each.num_features < 3:  # `Project` looks for it behind three colours
                rows[..., rec.COLOR + 3] = rows[..., rec.COLOR + each.num_features]
            grad_backgrounds.append(sums[:, : each.num_features])
            total = rows if total is None else total.add_(rows)
        grad_backgrounds = None if backgrounds is None else torch.cat(grad_backgrounds, -1)
        return None, None, None, total[..., : rec.QA], total, grad_features, grad_backgrounds


def _backward_pass(ctx, each: Pass, records, features, images, alphas, grad_images, grad_alphas):
    """Gradient rows [C, N, 16] of one pass over all cameras, and the gradients of its background [C, D]."""
    settings, (num_cameras, count) = ctx.settings, records.shape[:2]
    extra_rows = num_cameras * count
    rows = zero_rows(extra_rows + sum(tiles.num_extra for tiles in ctx.lists))
    background_sums = torch.zeros(num_cameras, each.num_channels)
    for c, tiles in enumerate(ctx.lists):
        alone = len(ctx.passes) == 1  # what the forward pass has painted is still there
        record = flat(records[c]) if alone else paint(records[c], features, c, each)
        words, first_row = record.view(np.int32), c * count
        wanted = each.num_channels if ctx.needs_input_grad[6] else 0
        partial = np.zeros((len(tiles.offsets) - 1, wanted), np.float32)
        run(
            len(tiles.jobs), replay, settings.lanes, settings.rows, each.channels, record, words, tiles.ids,
            tiles.offsets, tiles.bases, tiles.jobs, settings.width, settings.height, each.first_feature,
            flat(images[c]), flat(alphas[c]), flat(grad_images[c]),
            NO_GRADIENT if grad_alphas is None else flat(grad_alphas[c]), rows, first_row, extra_rows, partial,
        )  # fmt: skip
        run(
            len(tiles.totals), gather, settings.lanes, words, tiles.shared, tiles.totals, tiles.bases, rows, first_row,
            extra_rows,
        )  # fmt: skip
        extra_rows += tiles.num_extra
        if wanted:
            background_sums[c] = torch.from_numpy(partial.sum(0, dtype=np.float64))
    return torch.from_numpy(rows[: num_cameras * count * rec.SIZE]).view(records.shape), background_sums


def zero_rows(count: int) -> np.ndarray:
    """Gradient rows of zeros, each in a cache line of its own, since torch's memory begins at one.

    NumPy's zeros would be fresh pages of the system at every call: a tenth of the time of a large backward pass.
    """
    sentence = f"the gradients of {count} (Gaussian, tile) pairs do not fit into memory; draw fewer or smaller ones"
    check_memory(4 * count * rec.SIZE, sentence)
    return torch.zeros(count * rec.SIZE).numpy()


def paint(records: Tensor, features: Tensor | None, camera: int, each: Pass) -> np.ndarray:
    """Writes the features of a pass, and the depth behind them, into the colour words of the records.

    This goes by way of numpy: the words painted over are nobody's saved values, so torch need not count a new version.
    """
    rows = records.detach().numpy()
    if features is not None:
        values = (features if features.ndim == 2 else features[camera]).detach().numpy()
        for channel in range(each.num_features):  # by columns: numpy takes twice as long for rows of three
            rows[:, rec.COLOR + channel] = values[:, each.first_feature + channel]
        if each.with_depth:
            rows[:, rec.COLOR + each.num_features] = rows[:, rec.DEPTH]
    return rows.reshape(-1)
