"""From projected Gaussians to depth-ordered lists, one for each tile of the image.

The kernels work in `PIECES` pieces of the Gaussians; `realhead.splatting.tile_lists` calls them in turn.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.jit import kernel
from realhead.splatting.kernels.memory import get, prefetch
from realhead.splatting.kernels.parallel import parallel, take

INFINITY = np.uint32(0x7F800000)
AHEAD = 16


@parallel
def collect_drawn(counter, depths, firsts, keys, order, ranges):
    """Lists the drawn Gaussians chunk by chunk.

    Args:
        counter: Of the chunks that were taken.
        depths: As uint32, +infinity where a Gaussian is not drawn, [N].
        firsts: Where those of each chunk go, [chunks].
        keys, order: Depths and indices of the drawn ones, are written.
        ranges: Least and greatest depth of each chunk, uint32 [chunks, 2], is written.
    """
    while True:
        chunk = take(counter)
        if chunk >= firsts.shape[0]:
            return
        place, low, high = firsts[chunk], INFINITY, np.uint32(0)
        for i in range(chunk * rec.CHUNK, min(depths.shape[0], (chunk + 1) * rec.CHUNK)):
            depth = depths[i]
            if depth < INFINITY:
                keys[place], order[place] = depth, i
                place += 1
                low, high = min(low, depth), max(high, depth)
        ranges[chunk, 0], ranges[chunk, 1] = low, high


@parallel
def count_digits(counter, keys, lowest, shift, starts):
    """Counts, in each piece, how often each digit of the keys occurs: starts [pieces, digits]."""
    count, mask = keys.shape[0], np.uint32(starts.shape[1] - 1)
    pieces = starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        mine[:] = 0
        for j in range(count * piece // pieces, count * (piece + 1) // pieces):
            mine[((keys[j] - lowest) >> shift) & mask] += 1


@parallel
def scatter(counter, keys, order, lowest, shift, starts, new_keys, new_order):
    """Moves keys and order to where their digits begin."""
    count, mask = keys.shape[0], np.uint32(starts.shape[1] - 1)
    pieces = starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        for j in range(count * piece // pieces, count * (piece + 1) // pieces):
            key = keys[j]
            digit = ((key - lowest) >> shift) & mask
            place = mine[digit]
            mine[digit] = place + 1
            new_keys[place], new_order[place] = key, order[j]


@kernel
def to_starts(counts):
    """Turns counts [pieces, bins] into where each piece of each bin begins: bin by bin, in a bin piece by piece."""
    total = 0
    for b in range(counts.shape[1]):
        for piece in range(counts.shape[0]):
            number = counts[piece, b]
            counts[piece, b] = total
            total += number
    return total


@parallel
def count_tiles(counter, spans, order, tiles_x, sorted_spans, starts):
    """Counts, in each piece of `order`, the Gaussians of each tile: starts [pieces, tiles]; and sorts the spans.

    Args:
        counter: Of the pieces that were taken.
        spans: Tiles of each Gaussian: first x, last x, first y, last y, 16 bits each, int64 [N].
        order: Drawn Gaussians near to far.
        tiles_x: Tiles in a row.
        sorted_spans: The spans in that order, is written.
        starts: Is written.
    """
    count, pieces = order.shape[0], starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        mine[:] = 0
        first, last = count * piece // pieces, count * (piece + 1) // pieces
        for j in range(first, last):
            prefetch(spans, get(order, min(j + AHEAD, last - 1)))
            span = get(spans, order[j])
            sorted_spans[j] = span
            for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
                for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                    mine[tile_y * tiles_x + tile_x] += 1


@parallel
def fill_tiles(counter, sorted_spans, order, tiles_x, starts, ids):
    """Writes the Gaussians of each tile, near to far, to where `starts` says."""
    count, pieces = order.shape[0], starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        for j in range(count * piece // pieces, count * (piece + 1) // pieces):
            span, i = sorted_spans[j], order[j]
            for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
                for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                    tile = tile_y * tiles_x + tile_x
                    place = mine[tile]
                    mine[tile] = place + 1
                    ids[place] = i
