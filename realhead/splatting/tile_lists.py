"""The depth-ordered lists of Gaussians that compositing walks through, one for each tile."""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import tiles
from realhead.splatting.project_function import Drawn, Settings
from realhead.splatting.scene import refuse
from realhead.splatting.threads import num_threads, run

MAX_PAIRS = 1 << 27  # (Gaussian, tile) pairs of one camera: their gradient rows take 8 GB
DIGIT_BITS = 12  # of a depth, sorted at a time
WORTH_SPLITTING = 5_000  # Gaussians; fewer are sorted sooner by one thread


class TileLists:
    """Lists of one camera, and where its gradient rows lie.

    Attributes:
        ids: Gaussians, tile by tile, each tile near to far, int32 [pairs].
        offsets: Where each tile begins in `ids`, int64 [tiles + 1].
        jobs: The tiles, longest list first: started early, it does not keep the others waiting at the end.
        shared: Gaussians in several tiles, chunk by chunk.
        totals: Sums of each chunk (see `kernels.project.project`).
        num_extra: Gradient rows that these need besides their own.
        bases: The first of them, for each chunk.
    """

    def __init__(self, settings: Settings, drawn: Drawn):
        number, self.num_extra = int(drawn.totals[:, 1].sum()), int(drawn.totals[:, 2].sum())
        pairs = number + self.num_extra
        if pairs > MAX_PAIRS:
            refuse(f"{number} Gaussians cover {pairs} tiles of 64x32 pixels; make them or the image smaller.")
        pieces = num_threads() if number > WORTH_SPLITTING else 1
        order = depth_order(drawn, pieces)
        self.ids, self.offsets = list_tiles(settings, drawn.spans, order, pairs, pieces)
        self.jobs = np.argsort(self.offsets[:-1] - self.offsets[1:], kind="stable")
        self.bases = np.cumsum(drawn.totals[:, 2]) - drawn.totals[:, 2]
        self.shared, self.totals = drawn.shared, drawn.totals


def depth_order(drawn: Drawn, pieces: int) -> np.ndarray:
    """Sorts the drawn Gaussians near to far; equal depths keep their order.

    A radix sort on the bits of the depths, which order positive floats as integers. Only the bits in which they differ
    are looked at: two rounds for a head.

    Args:
        drawn: From the projection.
        pieces: In how many pieces the work is done; the result does not depend on it.

    Returns:
        Indices, int32.
    """
    numbers = drawn.totals[:, 1]
    count = int(numbers.sum())
    keys, order = np.empty(count, np.uint32), np.empty(count, np.int32)
    ranges = np.zeros((len(numbers), 2), np.uint32)
    run(pieces, tiles.collect_drawn, drawn.keys, np.cumsum(numbers) - numbers, keys, order, ranges)
    if count == 0:
        return order
    lowest = ranges[:, 0].min()
    bits = int(ranges[:, 1].max() - lowest).bit_length()
    rounds = -(-bits // DIGIT_BITS)
    new_keys, new_order = np.empty_like(keys), np.empty_like(order)
    for turn in range(rounds):
        digit_bits = -(-bits // rounds)
        shift = np.uint32(turn * digit_bits)
        starts = np.empty((pieces, 1 << digit_bits), np.int32)
        run(pieces, tiles.count_digits, keys, lowest, shift, starts)
        tiles.to_starts(starts)
        run(pieces, tiles.scatter, keys, order, lowest, shift, starts, new_keys, new_order)
        keys, new_keys, order, new_order = new_keys, keys, new_order, order
    return order


def list_tiles(settings: Settings, spans: np.ndarray, order: np.ndarray, pairs: int, pieces: int):
    """Sorts the pairs by tile, each tile near to far: a counting sort.

    Returns:
        Gaussians by tile, int32 [pairs], and where each tile begins, int64 [tiles + 1].
    """
    tiles_x, tiles_y = settings.tiles
    starts = np.empty((pieces, tiles_x * tiles_y), np.int32)
    sorted_spans, ids = np.empty(len(order), np.int64), np.empty(pairs, np.int32)
    run(pieces, tiles.count_tiles, spans, order, tiles_x, sorted_spans, starts)
    tiles.to_starts(starts)
    offsets = np.append(starts[0], pairs).astype(np.int64)
    run(pieces, tiles.fill_tiles, sorted_spans, order, tiles_x, starts, ids)
    return ids, offsets
