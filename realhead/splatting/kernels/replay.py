"""The backward pass of compositing.

It replays the forward one front to back: no list is reversed and nothing is stored per pixel. With `rest` = what the
Gaussians behind the current one, and the background, still add to g . colour (g: the gradient that reaches the pixel),

    d loss / d log alpha_i = weight_i (g . colour_i - rest_i / transmittance behind i).

Of this slope a Gaussian needs six moments over its pixels (1, x, y, x^2, x y, y^2), which give the gradients of its
mean, its conic and its opacity. Each (tile, Gaussian) pair writes to a row of its own (see `records`), and `gather`
adds them up in a fixed order: no atomics, and the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.channels import (
    accumulate,
    dot_planes,
    dot_tuples,
    load_pixels,
    splats,
    store_planes,
    zeros,
)  # fmt: skip
from realhead.splatting.kernels.compose import (
    AHEAD,
    ALPHA_MAX,
    ALPHA_MIN,
    BOX_X,
    BOX_Y,
    COLOR,
    DOWN,
    FINISHED,
    HALF,
    LOOK,
    MX,
    MY,
    ONE,
    OPACITY,
    QA,
    QB,
    QC,
    RATIO,
    SIZE,
    TILE_H,
    TILE_W,
    ZERO,
    column_span,
    finished,
    row_span,
    start_column,
)  # fmt: skip
from realhead.splatting.kernels.jit import inlined, inner
from realhead.splatting.kernels.memory import get, iota, load, prefetch, splat, store, store_sums
from realhead.splatting.kernels.parallel import parallel, take
from realhead.splatting.kernels.simd import fma, minimum, minus_abs, select

f32 = np.float32
MINUS_LN2, MINUS_2_LN2 = f32(-0.6931471805599453), f32(-1.3862943611198906)
# Rows of a block are counted from its middle, which keeps the squares small
MIDDLE = f32(3.5)
ROW = np.arange(8, dtype=np.float32) - MIDDLE
ROW_SQUARED = ROW * ROW


@inner
def _replay_tile(
    lanes, rows, channels, records, words, ids, bases, first, last, left, top, columns, rows_here, planes, grads,
    first_row, extra_row,
):  # fmt: skip
    """Replays the list of one tile and writes a gradient row for each entry that is reached.

    The planes are transmittance 2^-64 (negative: finished), rest, and the D gradients of the image.
    """
    width, height, row_step = len(lanes), len(rows), (2 + len(channels)) * TILE_W
    zero = splat(lanes, ZERO)
    for entry in range(first, last):
        if (entry - first) % LOOK == LOOK - 1 and finished(planes, row_step, columns, rows_here):
            return
        later = get(ids, min(entry + AHEAD, last - 1))
        prefetch(records, SIZE * later)
        prefetch(grads, SIZE * (first_row + later))
        i = get(ids, entry)
        k = SIZE * i
        box_x, box_y = get(words, k + BOX_X), get(words, k + BOX_Y)
        x_start, strips = column_span(box_x, left, width)
        y_start, y_end = row_span(box_y, top)
        mx, my = get(records, k + MX) - (f32(left) + HALF), get(records, k + MY) - (f32(top) + HALF)
        qa, qb, qc = get(records, k + QA), get(records, k + QB), get(records, k + QC)
        opacity, ratio = get(records, k + OPACITY), get(records, k + RATIO)
        color = splats(lanes, channels, records, k + COLOR)
        sums = zeros(lanes, channels)
        m0, m_x, m_y, m_xx, m_xy, m_yy = zero, zero, zero, zero, zero, zero
        for strip in range(strips):
            x = x_start + strip * width
            dx = iota(lanes) + (f32(x) - mx)
            for y in range(y_start, y_end, height):
                place = y * row_step + x
                dy = f32(y) - my
                alpha, growth = start_column(dx, dy, qa, qb, qc, opacity)
                s0, s1, s2 = zero, zero, zero
                for r in range(min(height, y_end - y)):
                    solid = minimum(select(alpha >= ALPHA_MIN, alpha, ZERO), ALPHA_MAX)
                    before = load(lanes, planes, place)
                    weight = solid * before
                    after = fma(weight, -DOWN, before)
                    unfinished = after > FINISHED
                    weight = select(unfinished, weight, ZERO)
                    store(planes, place, select(unfinished, after, minus_abs(before)))
                    wanted = dot_planes(color, planes, place + 2 * TILE_W, TILE_W)  # g . colour
                    rest = fma(weight, ZERO - wanted, load(lanes, planes, place + TILE_W))
                    store(planes, place + TILE_W, rest)
                    sums = accumulate(sums, weight, planes, place + 2 * TILE_W, TILE_W)
                    # alpha is flat at its clamp
                    slope = select(alpha <= ALPHA_MAX, weight, ZERO) * (wanted - rest * (DOWN / after))
                    s0 = s0 + slope
                    s1 = fma(slope, get(ROW, r), s1)
                    s2 = fma(slope, get(ROW_SQUARED, r), s2)
                    alpha = alpha * growth
                    growth = growth * ratio
                    place += row_step
                dy_middle = splat(lanes, dy + MIDDLE)
                s_y = fma(dy_middle, s0, s1)
                s_x = s0 * dx
                m0, m_x, m_y = m0 + s0, m_x + s_x, m_y + s_y
                m_xx, m_xy = fma(s_x, dx, m_xx), fma(s_y, dx, m_xy)
                m_yy = m_yy + fma(dy_middle, s1 + s_y, s2)
        nth = rec.nth_tile(box_x, box_y, left, top)
        row = first_row + i
        if nth > 0:
            row = extra_row + get(bases, i // rec.CHUNK) + get(words, k + rec.EXTRA) + nth - 1
        a, b, c = MINUS_2_LN2 * qa, MINUS_LN2 * qb, MINUS_2_LN2 * qc  # the conic
        mean = (fma(a, m_x, b * m_y), fma(b, m_x, c * m_y))
        store_sums(grads, SIZE * row, mean + (m_xx, m_xy, m_yy, m0) + sums)


@inlined
def _read_row(
    lanes, channels, planes, place, count, image, grad_image, target, channel, alpha, grad_alpha, pixel, totals
):
    """Fills one row of the planes of a tile, and adds transmittance times g to `totals`."""
    width, depth = len(lanes), len(channels)
    stride = image.size // alpha.size
    x = 0
    if stride == depth:
        while x + width <= count:
            transmittance = ONE - load(lanes, alpha, pixel + x)
            g = load_pixels(lanes, channels, grad_image, target + x * depth)
            rest = splat(lanes, ZERO)
            if grad_alpha.size:
                rest = fma(transmittance, ZERO - load(lanes, grad_alpha, pixel + x), rest)
            rest = dot_tuples(g, load_pixels(lanes, channels, image, target + x * depth), rest)
            store(planes, place + TILE_W + x, rest)
            store_planes(g, planes, place + 2 * TILE_W + x, TILE_W)
            x += width
    while x < count:
        transmittance = ONE - alpha[pixel + x]
        rest = ZERO
        if grad_alpha.size:
            rest = -transmittance * grad_alpha[pixel + x]
        for c in range(depth):
            g = grad_image[target + x * stride + channel + c]
            planes[place + (2 + c) * TILE_W + x] = g
            rest += g * image[target + x * stride + channel + c]
        planes[place + TILE_W + x] = rest
        x += 1
    if totals.size:
        for x in range(count):
            for c in range(depth):
                totals[c] += (ONE - alpha[pixel + x]) * planes[place + (2 + c) * TILE_W + x]


@parallel
def replay(
    counter, lanes, rows, channels, records, words, ids, offsets, bases, jobs, image_width, image_height, channel,
    image, alpha, grad_image, grad_alpha, grads, first_row, extra_row, grad_background,
):  # fmt: skip
    """Writes the gradient rows of all (tile, Gaussian) pairs; arguments as in `blend`.

    Args:
        bases: First extra row of each chunk of Gaussians.
        image, alpha: What the forward pass returned.
        grad_image, grad_alpha: Gradients of these; grad_alpha is of size 0 where this is not the first pass.
        grads: [rows * 16] of zeros, is written: from row `first_row` one for each Gaussian, from `extra_row` the rest.
        grad_background: [tiles, D], sums over the pixels of a tile, is written; or [tiles, 0].
    """
    tiles_x = (image_width + TILE_W - 1) // TILE_W
    row_step = (2 + len(channels)) * TILE_W
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
        if offsets[tile] == offsets[tile + 1] and grad_background.size == 0:
            continue
        planes[:] = ZERO
        for y in range(TILE_H):
            for x in range(0, TILE_W, len(lanes)):
                store(planes, y * row_step + x, full)
        for y in range(rows_here):
            pixel = (top + y) * image_width + left
            _read_row(
                lanes, channels, planes, y * row_step, columns, image, grad_image, pixel * stride, channel, alpha,
                grad_alpha, pixel, grad_background[tile],
            )  # fmt: skip
        _replay_tile(
            lanes, rows, channels, records, words, ids, bases, offsets[tile], offsets[tile + 1], left, top, columns,
            rows_here, planes, grads, first_row, extra_row,
        )  # fmt: skip


@parallel
def gather(counter, lanes, words, shared, totals, bases, grads, first_row, extra_row):
    """Adds the extra rows of Gaussians in several tiles to their first one.

    Args:
        lanes: Lane width as a type.
        words: Records as int32.
        shared: Which Gaussians of a chunk lie in several tiles, int32 [N], from the chunk's first place on.
        totals: Their number per chunk in column 3 (see `project`).
        bases, grads, first_row, extra_row: As in `replay`.
    """
    while True:
        chunk = take(counter)
        if chunk >= totals.shape[0]:
            return
        extra = SIZE * (extra_row + bases[chunk])
        for j in range(chunk * rec.CHUNK, chunk * rec.CHUNK + totals[chunk, 3]):
            k = shared[j] * SIZE
            first_x, last_x, first_y, last_y = rec.tile_box(get(words, k + BOX_X), get(words, k + BOX_Y))
            target = SIZE * (first_row + shared[j])
            for _ in range((last_x - first_x + 1) * (last_y - first_y + 1) - 1):
                for word in range(0, SIZE, len(lanes)):
                    total = load(lanes, grads, target + word) + load(lanes, grads, extra + word)
                    store(grads, target + word, total)
                extra += SIZE
