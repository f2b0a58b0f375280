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

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.channels import add_to_planes, fma_tuples, load_planes, splats, store_pixels
from realhead.splatting.kernels.jit import inlined, inner
from realhead.splatting.kernels.memory import get, iota, load, prefetch, splat, store
from realhead.splatting.kernels.parallel import parallel, take
from realhead.splatting.kernels.simd import exp2, fma, maximum, minimum, minus_abs, select

f32 = np.float32
AHEAD = 8  # list entries between asking for a record and using it
LOOK = 256  # list entries between two looks whether the tile is finished
UP, DOWN, LIFT = f32(2.0**64), f32(2.0**-64), f32(64.0)
ALPHA_MIN, ALPHA_MAX = f32(2.0**64 / 255), f32(0.999 * 2.0**64)
FINISHED = f32(1e-4 * 2.0**-64)
ZERO, ONE, TWO, HALF = f32(0.0), f32(1.0), f32(2.0), f32(0.5)
MX, MY, QA, QB, QC, OPACITY, COLOR = rec.MX, rec.MY, rec.QA, rec.QB, rec.QC, rec.OPACITY, rec.COLOR
RATIO, BOX_X, BOX_Y, SIZE = rec.RATIO, rec.BOX_X, rec.BOX_Y, rec.SIZE
TILE_W, TILE_H = rec.TILE_W, rec.TILE_H


@inlined
def column_span(packed, start, width):
    """Clips a packed interval of columns to a tile: first column, and number of strips.

    The last strip ends with the tile at most. What is visited in excess lies outside the Gaussian's box, where alpha is
    below 1/255 and ignored.
    """
    low = max((packed & 65535) - start, 0)
    high = min((packed >> 16) - start, TILE_W - 1)
    strips = (high - low + width) // width
    return min(low, TILE_W - strips * width), strips


@inlined
def row_span(packed, start):
    """Clips a packed interval of rows to a tile: first row, and the row after the last."""
    return max((packed & 65535) - start, 0), min((packed >> 16) - start, TILE_H - 1) + 1


@inlined
def start_column(dx, dy, qa, qb, qc, opacity):
    """alpha 2^64 in row dy, and its growth to the next row."""
    slope = dx * qb
    alpha = exp2(fma(slope + qc * dy, dy, fma(dx * dx, qa, LIFT))) * opacity
    return alpha, exp2(minimum(maximum(slope + qc * (TWO * dy + ONE), f32(-126.0)), f32(126.0)))


@inlined
def finished(planes, row_step, columns, rows):
    """Whether no pixel of a tile takes any more colour: behind large opaque Gaussians the rest of a list is skipped."""
    for y in range(rows):
        for x in range(columns):
            if planes[y * row_step + x] > ZERO:
                return False
    return True


@inner
def _blend_tile(lanes, rows, channels, records, words, ids, first, last, left, top, columns, rows_here, planes):
    """Draws the list of one tile into its planes: transmittance 2^-64 (negative: finished), then D colours."""
    width, height, row_step = len(lanes), len(rows), (1 + len(channels)) * TILE_W
    for entry in range(first, last):
        if (entry - first) % LOOK == LOOK - 1 and finished(planes, row_step, columns, rows_here):
            return
        prefetch(records, SIZE * get(ids, min(entry + AHEAD, last - 1)))
        k = SIZE * get(ids, entry)
        x_start, strips = column_span(get(words, k + BOX_X), left, width)
        y_start, y_end = row_span(get(words, k + BOX_Y), top)
        mx, my = get(records, k + MX) - (f32(left) + HALF), get(records, k + MY) - (f32(top) + HALF)
        qa, qb, qc = get(records, k + QA), get(records, k + QB), get(records, k + QC)
        opacity, ratio = get(records, k + OPACITY), get(records, k + RATIO)
        color = splats(lanes, channels, records, k + COLOR)
        for strip in range(strips):
            x = x_start + strip * width
            dx = iota(lanes) + (f32(x) - mx)
            for y in range(y_start, y_end, height):
                place = y * row_step + x
                alpha, growth = start_column(dx, f32(y) - my, qa, qb, qc, opacity)
                for _ in range(min(height, y_end - y)):
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


@inlined
def _write_row(lanes, channels, planes, place, count, background, image, target, channel, alpha, alpha_target):
    """Writes one row of a tile to image and alpha, a Vector at a time where the image has no other channels."""
    width, depth = len(lanes), len(channels)
    stride = image.size // alpha.size
    behind = splats(lanes, channels, background, 0)
    x = 0
    if stride == depth:
        while x + width <= count:
            transmittance = fma(minus_abs(load(lanes, planes, place + x)), -UP, ZERO)
            store(alpha, alpha_target + x, ONE - transmittance)
            color = load_planes(lanes, channels, planes, place + TILE_W + x, TILE_W)
            store_pixels(image, target + x * depth, fma_tuples(behind, transmittance, color))
            x += width
    while x < count:
        transmittance = abs(planes[place + x]) * UP
        alpha[alpha_target + x] = ONE - transmittance
        for c in range(depth):
            value = planes[place + (1 + c) * TILE_W + x] + transmittance * background[c]
            image[target + x * stride + channel + c] = value
        x += 1


@parallel
def blend(
    counter, lanes, rows, channels, records, words, ids, offsets, jobs, background, image_width, image_height, channel,
    image, alpha,
):  # fmt: skip
    """Composites all tiles.

    Args:
        counter: Of the tiles that were taken.
        lanes, rows, channels: Types of the code (see `simd`, `channels`); rows is the greatest height of a block.
        records, words: [N * 16] float32, and the same memory as int32.
        ids, offsets: Depth-ordered Gaussians of tile t are ids[offsets[t] : offsets[t + 1]].
        jobs: The tiles in the order of work.
        background: [D].
        image_width, image_height: In pixels.
        channel: Where the D channels go in the image.
        image: [H * W * channels of the image], is written.
        alpha: [H * W], is written.
    """
    tiles_x = (image_width + TILE_W - 1) // TILE_W
    row_step = (1 + len(channels)) * TILE_W
    stride = image.size // alpha.size
    full = splat(lanes, DOWN)
    planes = np.empty(row_step * TILE_H, np.float32)
    while True:
        job = take(counter)
        if job >= jobs.shape[0]:
            return
        tile = jobs[job]
        left, top = tile % tiles_x * TILE_W, tile // tiles_x * TILE_H
        columns, rows_here = min(TILE_W, image_width - left), min(TILE_H, image_height - top)
        planes[:] = ZERO
        for y in range(TILE_H):
            for x in range(0, TILE_W, len(lanes)):
                store(planes, y * row_step + x, full)
        _blend_tile(
            lanes, rows, channels, records, words, ids, offsets[tile], offsets[tile + 1], left, top, columns, rows_here,
            planes,
        )  # fmt: skip
        for y in range(rows_here):
            pixel = (top + y) * image_width + left
            _write_row(
                lanes, channels, planes, y * row_step, columns, background, image, pixel * stride, channel, alpha, pixel
            )
