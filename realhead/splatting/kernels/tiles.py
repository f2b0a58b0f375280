"""From projected Gaussians to depth-ordered lists, one for each tile of the image."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.memory import get, prefetch

BITS = 11  # of the depth are sorted in one pass
BINS = 1 << BITS


@njit(cache=True)
def depth_order(keys, drawn):
    """Sorts the drawn Gaussians near to far; equal depths keep their order.

    A radix sort on the bits of the depths, which order positive floats as integers. Only the bits in which they
    differ are looked at: two passes for a head, where the depth varies by less than a factor of two.

    Args:
        keys: uint32 view of the depths, those of +infinity are left out, [N].
        drawn: Number of finite ones.

    Returns:
        Their indices, int32 [drawn].
    """
    infinity = np.uint32(0x7F800000)
    key, order = np.empty(drawn, np.uint32), np.empty(drawn, np.int32)
    other_key, other = np.empty(drawn, np.uint32), np.empty(drawn, np.int32)
    low, high, m = infinity, np.uint32(0), 0
    for i in range(keys.shape[0]):
        if keys[i] < infinity:
            key[m], order[m] = keys[i], i
            low, high = min(low, keys[i]), max(high, keys[i])
            m += 1
    shift = np.uint32(0)
    while m and (high - low) >> shift:
        starts = np.zeros(BINS + 1, np.int64)
        for j in range(m):
            starts[1 + (((key[j] - low) >> shift) & np.uint32(BINS - 1))] += 1
        for b in range(BINS):
            starts[b + 1] += starts[b]
        for j in range(m):
            b = ((key[j] - low) >> shift) & np.uint32(BINS - 1)
            place = starts[b]
            starts[b] = place + 1
            other_key[place], other[place] = key[j], order[j]
        key, other_key, order, other = other_key, key, other, order
        shift += np.uint32(BITS)
    return order


@njit(parallel=True, cache=True)
def tile_lists(words, order, tile_w, tile_h, tiles_x, tiles_y, pieces):
    """Lists the Gaussians of each tile near to far: a counting sort of the pairs by tile.

    Args:
        words: Records as int32, [N * 16].
        order: Drawn Gaussians near to far.
        tile_w, tile_h: Size of a tile in pixels.
        tiles_x, tiles_y: Number of tiles.
        pieces: In how many pieces `order` is worked on; the result does not depend on it.

    Returns:
        Gaussians by tile, int32 [pairs], and where each tile begins, int64 [tiles + 1].
    """
    count, tiles = order.shape[0], tiles_x * tiles_y
    starts = np.zeros((pieces, tiles), np.int64)
    for piece in prange(pieces):
        for j in range(count * piece // pieces, count * (piece + 1) // pieces):
            prefetch(words, get(order, min(j + 16, count - 1)) * rec.SIZE + rec.BOX_X)
            k = order[j] * rec.SIZE
            first_x, last_x = rec.tile_span(words[k + rec.BOX_X], tile_w)
            first_y, last_y = rec.tile_span(words[k + rec.BOX_Y], tile_h)
            for tile_y in range(first_y, last_y + 1):
                for tile_x in range(first_x, last_x + 1):
                    starts[piece, tile_y * tiles_x + tile_x] += 1
    offsets = np.empty(tiles + 1, np.int64)
    total = 0
    for tile in range(tiles):
        offsets[tile] = total
        for piece in range(pieces):
            number = starts[piece, tile]
            starts[piece, tile] = total
            total += number
    offsets[tiles] = total
    ids = np.empty(total, np.int32)
    for piece in prange(pieces):
        for j in range(count * piece // pieces, count * (piece + 1) // pieces):
            prefetch(words, get(order, min(j + 16, count - 1)) * rec.SIZE + rec.BOX_X)
            k = order[j] * rec.SIZE
            first_x, last_x = rec.tile_span(words[k + rec.BOX_X], tile_w)
            first_y, last_y = rec.tile_span(words[k + rec.BOX_Y], tile_h)
            for tile_y in range(first_y, last_y + 1):
                for tile_x in range(first_x, last_x + 1):
                    place = starts[piece, tile_y * tiles_x + tile_x]
                    starts[piece, tile_y * tiles_x + tile_x] = place + 1
                    ids[place] = order[j]
    return ids, offsets


def deal(offsets, threads: int):
    """Orders the tiles for `threads` threads of equal load.

    Numba's OpenMP layer gives each thread one contiguous run of a parallel loop. So the tiles, heaviest first, are
    dealt out like cards, and the hands are laid one after the other.
    """
    heaviest_first = np.argsort(offsets[:-1] - offsets[1:], kind="stable")
    return np.concatenate([heaviest_first[hand::threads] for hand in range(threads)])
