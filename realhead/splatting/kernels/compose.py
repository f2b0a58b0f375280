"""Compositing: blends the projected Gaussians of each tile front to back.

A tile is a block of the image whose planes stay in the cache; inside it only the Gaussian's own box is visited, in
strips of W columns and blocks of R rows. Down a column the exponent of a Gaussian is quadratic in y, so

    alpha(y + 1) = alpha(y) growth(y),    growth(y + 1) = growth(y) ratio,    ratio = 2^(2 QC):

two products a row instead of an exponential. Rounding errors of R = 8 steps stay below 1e-6. A Gaussian that is visible
in a block may be as small as 2^-187 in the block's first row (for eps2d = 0.3), below the least float32; therefore
alpha is carried times 2^64 and the transmittance times 2^-64, which costs nothing. With a smaller eps2d the blocks have
one row, and each alpha is an exponential.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.channels import add_to_planes, splats
from realhead.splatting.kernels.memory import get, iota, load, prefetch, store
from realhead.splatting.kernels.simd import (
    FASTMATH,
    exp2,
    fma,
    maximum,
    minimum,
    minus_abs,
    select,
)  # fmt: skip

f32 = np.float32
TILE_W, TILE_H = 64, 32  # pixels
AHEAD = 8  # list entries between asking for a record and using it
UP, DOWN, LIFT = f32(2.0**64), f32(2.0**-64), f32(64.0)
ALPHA_MIN, ALPHA_MAX = f32(2.0**64 / 255), f32(0.999 * 2.0**64)
FINISHED = f32(1e-4 * 2.0**-64)
ZERO, ONE, TWO, HALF = f32(0.0), f32(1.0), f32(2.0), f32(0.5)
MX, MY, QA, QB, QC, OPACITY, RATIO = rec.MX, rec.MY, rec.QA, rec.QB, rec.QC, rec.OPACITY, rec.RATIO
BOX_X, BOX_Y, SIZE = rec.BOX_X, rec.BOX_Y, rec.SIZE


@njit(inline="always")
def pixel_span(packed, start, size, step):
    """Clips a packed pixel interval to a tile and rounds it up to whole steps that stay inside the tile.

    What is visited in excess lies outside the Gaussian's box, where alpha is below 1/255 and ignored.
    """
    low = max((packed & 65535) - start, 0)
    high = min((packed >> 16) - start, size - 1)
    count = (high - low + step) // step
    return min(low, size - count * step), count


@njit(inline="always")
def start_column(dx, dy, qa, qb, qc, opacity):
    """alpha 2^64 in row dy, and its growth to the next row."""
    slope = dx * qb
    alpha = exp2(fma(fma(splat_like(dx, qc), dy, slope), dy, fma(dx * dx, qa, LIFT))) * opacity
    return alpha, exp2(minimum(maximum(slope + qc * (TWO * dy + ONE), f32(-126.0)), f32(126.0)))


@njit(inline="always")
def splat_like(vector, value):
    """A number in the lanes of a Vector."""
    return vector * ZERO + value


@njit(fastmath=FASTMATH, cache=True)
def _blend_tile(lanes, rows, channels, color_word, records, words, ids, first, last, left, top, planes):
    """Draws the list of one tile into its planes: transmittance 2^-64 (negative: finished), then D colours."""
    width, height, row_step = len(lanes), len(rows), (1 + len(channels)) * TILE_W
    for entry in range(first, last):
        prefetch(records, SIZE * get(ids, min(entry + AHEAD, last - 1)))
        k = SIZE * get(ids, entry)
        x_start, strips = pixel_span(get(words, k + BOX_X), left, TILE_W, width)
        y_start, blocks = pixel_span(get(words, k + BOX_Y), top, TILE_H, height)
        mx, my = get(records, k + MX) - (left + HALF), get(records, k + MY) - (top + HALF)
        qa, qb, qc = get(records, k + QA), get(records, k + QB), get(records, k + QC)
        opacity, ratio = get(records, k + OPACITY), get(records, k + RATIO)
        color = splats(lanes, channels, records, k + color_word)
        for strip in range(strips):
            x = x_start + strip * width
            dx = iota(lanes) + (f32(x) - mx)
            for block in range(blocks):
                y = y_start + block * height
                place = y * row_step + x
                alpha, growth = start_column(dx, f32(y) - my, qa, qb, qc, opacity)
                for _ in range(height):
                    solid = minimum(select(alpha >= ALPHA_MIN, alpha, ZERO), ALPHA_MAX)
                    before = load(lanes, planes, place)
                    weight = solid * before
                    after = fma(weight, -DOWN, before)
                    unfinished = after > FINISHED
                    weight = select(unfinished, weight, ZERO)
                    store(planes, place, select(unfinished, after, minus_abs(before)))
                    add_to_planes(weight, color, planes, place + TILE_W, TILE_W)
                    alpha = alpha * growth
                    growth = growth * ratio
                    place += row_step


@njit(parallel=True, fastmath=FASTMATH, cache=True)
def blend(lanes, rows, channels, color_word, records, words, ids, offsets, jobs, background, channel, image, alpha):
    """Composites all tiles.

    Args:
        lanes, rows, channels: Types of the code (see `simd`, `channels`); rows is the height of a block.
        color_word: Where the D colours begin in a record.
        records, words: [N * 16] float32, and the same memory as int32.
        ids, offsets: Depth-ordered Gaussians of tile t are ids[offsets[t] : offsets[t + 1]].
        jobs: The tiles in the order of work.
        background: [D].
        channel: Where the D channels go in the image.
        image: [H, W, any], is written.
        alpha: [H, W], is written.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE_W - 1) // TILE_W
    depth = len(channels)
    row_step = (1 + depth) * TILE_W
    for job in prange(jobs.shape[0]):
        tile = jobs[job]
        left, top = tile % tiles_x * TILE_W, tile // tiles_x * TILE_H
        planes = np.zeros(row_step * TILE_H, np.float32)
        for y in range(TILE_H):
            planes[y * row_step : y * row_step + TILE_W] = DOWN
        first, last = offsets[tile], offsets[tile + 1]
        _blend_tile(lanes, rows, channels, color_word, records, words, ids, first, last, left, top, planes)
        for y in range(min(TILE_H, height - top)):
            for x in range(min(TILE_W, width - left)):
                place = y * row_step + x
                transmittance = abs(planes[place]) * UP
                alpha[top + y, left + x] = ONE - transmittance
                for c in range(depth):
                    value = planes[place + (1 + c) * TILE_W] + transmittance * background[c]
                    image[top + y, left + x, channel + c] = value
