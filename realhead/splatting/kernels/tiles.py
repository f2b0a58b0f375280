"""From projected Gaussians to depth-ordered lists, one for each tile of the image.

The Gaussians of each tile are counted, written down, and sorted tile by tile, where the list stays in the cache.
`realhead.splatting.tile_lists` calls the kernels in turn.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels.jit import inlined, inner, kernel
from realhead.splatting.kernels.parallel import parallel, take

SHORT = 24  # entries that are sorted sooner by insertion
LONG = 1200
SHORT_DIGIT, LONG_DIGIT = 8, 11  # bits of a depth, sorted at a time


@inlined
def in_one_tile(span):
    """Whether first and last are the same, in x and in y; most are: asking is quicker than a loop of one round."""
    return (span ^ (span >> 16)) & 0x0000FFFF0000FFFF == 0


@parallel
def count_tiles(counter, spans, tiles_x, starts):
    """Counts, in each piece of the Gaussians, those of each tile: starts [pieces, tiles].

    Args:
        counter: Of the pieces that were taken.
        spans: Tiles of each Gaussian: first x, last x, first y, last y, 16 bits each, int64 [N].
        tiles_x: Tiles in a row.
        starts: Is written.
    """
    count, pieces = spans.shape[0], starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        mine[:] = 0
        for i in range(count * piece // pieces, count * (piece + 1) // pieces):
            span = spans[i]
            if in_one_tile(span):
                mine[(span >> 48) * tiles_x + (span & 65535)] += 1
                continue
            for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
                for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                    mine[tile_y * tiles_x + tile_x] += 1


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
def fill_tiles(counter, spans, depths, tiles_x, starts, entries):
    """Writes the Gaussians of each tile, by number, to where `starts` says.

    Args:
        counter: Of the pieces that were taken.
        spans: As in `count_tiles`.
        depths: The bits of the depths, which order positive floats as integers, int32 [N].
        tiles_x: Tiles in a row.
        starts: [pieces, tiles], is used up.
        entries: [pairs] int64, is written: the depth in the upper half, the number in the lower.
    """
    count, pieces = spans.shape[0], starts.shape[0]
    while True:
        piece = take(counter)
        if piece >= pieces:
            return
        mine = starts[piece]
        for i in range(count * piece // pieces, count * (piece + 1) // pieces):
            span, entry = spans[i], (np.int64(depths[i]) << 32) | i
            if in_one_tile(span):
                tile = (span >> 48) * tiles_x + (span & 65535)
                place = mine[tile]
                mine[tile] = place + 1
                entries[place] = entry
                continue
            for tile_y in range((span >> 32) & 65535, (span >> 48) + 1):
                for tile_x in range(span & 65535, ((span >> 16) & 65535) + 1):
                    tile = tile_y * tiles_x + tile_x
                    place = mine[tile]
                    mine[tile] = place + 1
                    entries[place] = entry


@parallel
def sort_tiles(counter, offsets, jobs, entries, spare, ids):
    """Sorts the list of each tile near to far; equal depths keep the order of their numbers.

    Args:
        counter: Of the tiles that were taken.
        offsets: Where each tile begins, [tiles + 1].
        jobs: The tiles, longest list first.
        entries, spare: From `fill_tiles`, and as much room, are used up.
        ids: [pairs] int32, is written: the numbers.
    """
    starts = np.empty(1 << LONG_DIGIT, np.int32)
    while True:
        job = take(counter)
        if job >= jobs.shape[0]:
            return
        first, last = offsets[jobs[job]], offsets[jobs[job] + 1]
        if last - first > SHORT:
            sort_by_digits(entries[first:last], spare[first:last], ids[first:last], starts)
        else:
            sort_by_insertion(entries[first:last], ids[first:last])


@inner
def sort_by_insertion(entries, ids):
    """Sorts a short list; entries of one depth are in the order of their numbers in any case."""
    for j in range(entries.shape[0]):
        entry, place = entries[j], j
        while place > 0 and entries[place - 1] > entry:
            entries[place] = entries[place - 1]
            place -= 1
        entries[place] = entry
    for j in range(entries.shape[0]):
        ids[j] = entries[j] & 0xFFFFFFFF


@inner
def sort_by_digits(entries, spare, ids, starts):
    """A radix sort from the lowest digit on, over the bits in which the depths of this list differ."""
    low, high = entries[0] >> 32, entries[0] >> 32
    for entry in entries:
        low, high = min(low, entry >> 32), max(high, entry >> 32)
    bits = 0
    while (high - low) >> bits:
        bits += 1
    widest = LONG_DIGIT if entries.shape[0] > LONG else SHORT_DIGIT
    rounds = (bits + widest - 1) // widest
    digit_bits = (bits + rounds - 1) // max(rounds, 1)
    base, mask = low << 32, (1 << digit_bits) - 1
    for turn in range(rounds):
        shift = 32 + turn * digit_bits
        starts[: mask + 1] = 0
        for entry in entries:
            starts[((entry - base) >> shift) & mask] += 1
        total = 0
        for digit in range(mask + 1):
            number = starts[digit]
            starts[digit] = total
            total += number
        for entry in entries:
            digit = ((entry - base) >> shift) & mask
            spare[starts[digit]] = entry
            starts[digit] += 1
        entries, spare = spare, entries
    for j in range(entries.shape[0]):
        ids[j] = entries[j] & 0xFFFFFFFF
