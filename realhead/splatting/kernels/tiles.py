"""From projected Gaussians to depth-ordered lists, one for each tile of the image."""

from __future__ import annotations

import numpy as np
from numba import prange

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.jit import kernel
from realhead.splatting.kernels.memory import get, prefetch

BITS = 12  # of the depth are sorted in one pass, at most
INFINITY = np.uint32(0x7F800000)
ALONE = 30_000  # Gaussians that one thread sorts sooner than several would begin
AHEAD = 16


@kernel()
def _count(keys, first, last, low, shift, mask, starts):
    for j in range(first, last):
        starts[((keys[j] - low) >> shift) & mask] += 1


@kernel()
def _scatter(keys, order, first, last, low, shift, mask, starts, new_keys, new_order):
    for j in range(first, last):
        key = keys[j]
        digit = ((key - low) >> shift) & mask
        place = starts[digit]
        starts[digit] = place + 1
        new_keys[place], new_order[place] = key, order[j]


@kernel()
def to_starts(counts):
    """Turns counts [pieces, bins] into where each piece of each bin begins; bin by bin, in a bin piece by piece."""
    total = 0
    for b in range(counts.shape[1]):
        for piece in range(counts.shape[0]):
            number = counts[piece, b]
            counts[piece, b] = total
            total += number
    return total


@kernel(parallel=True)
def depth_order(keys, drawn, pieces):
    """Sorts the drawn Gaussians near to far; equal depths keep their order.

    A radix sort on the bits of the depths, which order positive floats as integers. Only the bits in which they
    differ are looked at: two passes for a head.

    Args:
        keys: Depths as uint32, +infinity where a Gaussian is not drawn, [N].
        drawn: How many of each chunk are drawn, int64 [chunks].
        pieces: In how many pieces the work is done; the result does not depend on it.

    Returns:
        Indices of the drawn ones, int32.
    """
    firsts = np.zeros(drawn.shape[0] + 1, np.int64)
    firsts[1:] = np.cumsum(drawn)
    count = firsts[-1]
    key, order = np.empty(count, np.uint32), np.empty(count, np.int32)
    new_key, new_order = np.empty(count, np.uint32), np.empty(count, np.int32)
    lows, highs = np.full(drawn.shape[0], INFINITY), np.zeros(drawn.shape[0], np.uint32)
    for chunk in prange(drawn.shape[0]):
        place, low, high = firsts[chunk], INFINITY, np.uint32(0)
        for i in range(chunk * rec.CHUNK, min(keys.shape[0], (chunk + 1) * rec.CHUNK)):
            depth = keys[i]
            if depth < INFINITY:
                key[place], order[place] = depth, i
                place += 1
                low, high = min(low, depth), max(high, depth)
        lows[chunk], highs[chunk] = low, high
    nearest, span, bits = np.uint32(0), np.uint32(0), 0
    if count:
        nearest = lows.min()
        span = highs.max() - nearest
    while span >> np.uint32(bits):
        bits += 1
    passes = (bits + BITS - 1) // BITS
    digit_bits = (bits + max(passes, 1) - 1) // max(passes, 1)
    mask = np.uint32((1 << digit_bits) - 1)
    if count < ALONE:
        pieces = 1
    for turn in range(passes):
        shift = np.uint32(turn * digit_bits)
        starts = np.zeros((pieces, 1 << digit_bits), np.int32)
        for piece in prange(pieces):
            first, last = count * piece // pieces, count * (piece + 1) // pieces
            _count(key, first, last, nearest, shift, mask, starts[piece])
        to_starts(starts)
        for piece in prange(pieces):
            first, last = count * piece // pieces, count * (piece + 1) // pieces
            _scatter(key, order, first, last, nearest, shift, mask, starts[piece], new_key, new_order)
        key, new_key, order, new_order = new_key, key, new_order, order
    return order


@kernel()
def _count_tiles(spans, order, first, last, tiles_x, sorted_spans, starts):
    for j in range(first, last):
        prefetch(spans, get(order, min(j + AHEAD, last - 1)))
        span = get(spans, order[j])
        sorted_spans[j] = span
        for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
            for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                starts[tile_y * tiles_x + tile_x] += 1


@kernel()
def _fill_tiles(spans, order, first, last, tiles_x, starts, ids):
    for j in range(first, last):
        span, i = spans[j], order[j]
        for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
            for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                tile = tile_y * tiles_x + tile_x
                place = starts[tile]
                starts[tile] = place + 1
                ids[place] = i


@kernel(parallel=True)
def tile_lists(spans, order, tiles_x, tiles_y, pieces):
    """Lists the Gaussians of each tile near to far: a counting sort of the pairs by tile.

    Args:
        spans: Tiles of each Gaussian: first x, last x, first y, last y, 16 bits each, int64 [N].
        order: Drawn Gaussians near to far.
        tiles_x, tiles_y: Number of tiles.
        pieces: In how many pieces the work is done; the result does not depend on it.

    Returns:
        Gaussians by tile, int32 [pairs], and where each tile begins, int64 [tiles + 1].
    """
    count, tiles = order.shape[0], tiles_x * tiles_y
    starts = np.zeros((pieces, tiles), np.int32)
    sorted_spans = np.empty(count, np.int64)
    for piece in prange(pieces):
        first, last = count * piece // pieces, count * (piece + 1) // pieces
        _count_tiles(spans, order, first, last, tiles_x, sorted_spans, starts[piece])
    total = to_starts(starts)
    offsets = np.empty(tiles + 1, np.int64)
    offsets[:tiles], offsets[tiles] = starts[0], total
    ids = np.empty(total, np.int32)
    for piece in prange(pieces):
        first, last = count * piece // pieces, count * (piece + 1) // pieces
        _fill_tiles(sorted_spans, order, first, last, tiles_x, starts[piece], ids)
    return ids, offsets


def deal(offsets, threads: int):
    """Orders the tiles for `threads` threads of equal load.

    Numba's OpenMP layer gives each thread one contiguous run of a parallel loop. So the tiles, heaviest first, are
    dealt out like cards, and the hands are laid one after the other.
    """
    heaviest_first = np.argsort(offsets[:-1] - offsets[1:], kind="stable")
    return np.concatenate([heaviest_first[hand::threads] for hand in range(threads)])
