"""The backward pass of compositing.

It replays the forward one front to back: no list is reversed and nothing is stored per pixel. With `rest` = what the
Gaussians behind the current one, and the background, still add to g . colour (g: the gradient that reaches the pixel),

    d loss / d log alpha_i = weight_i (g . colour_i - rest_i / transmittance behind i).

Each (tile, Gaussian) pair writes its sums to a slot of its own, and `gather` adds them up in a fixed order: no atomics,
and the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.channels import accumulate, dot_planes, splats, zeros
from realhead.splatting.kernels.compose import (
    AHEAD,
    ALPHA_MAX,
    ALPHA_MIN,
    BOX_X,
    BOX_Y,
    DOWN,
    FINISHED,
    HALF,
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
    TWO,
    ZERO,
    pixel_span,
    start_column,
)  # fmt: skip
from realhead.splatting.kernels.memory import get, iota, load, prefetch, splat, store, store_sums
from realhead.splatting.kernels.simd import FASTMATH, fma, minimum, minus_abs, select

f32 = np.float32
LN2 = f32(0.6931471805599453)
NUM_MOMENTS = 6


@njit(fastmath=FASTMATH, cache=True)
def _replay_tile(
    lanes, rows, channels, color_word, records, words, ids, bases, first, last, left, top, planes, slots
):  # fmt: skip
    """Replays the list of one tile and writes, per entry, six moments of d loss / d log alpha and D colour gradients."""
    width, height, row_step = len(lanes), len(rows), (2 + len(channels)) * TILE_W
    stride = NUM_MOMENTS + len(channels)
    zero = splat(lanes, ZERO)
    for entry in range(first, last):
        prefetch(records, SIZE * get(ids, min(entry + AHEAD, last - 1)))
        k = SIZE * get(ids, entry)
        box_x, box_y = get(words, k + BOX_X), get(words, k + BOX_Y)
        x_start, strips = pixel_span(box_x, left, TILE_W, width)
        y_start, blocks = pixel_span(box_y, top, TILE_H, height)
        mx, my = get(records, k + MX) - (left + HALF), get(records, k + MY) - (top + HALF)
        qa, qb, qc = get(records, k + QA), get(records, k + QB), get(records, k + QC)
        opacity, ratio = get(records, k + OPACITY), get(records, k + RATIO)
        color = splats(lanes, channels, records, k + color_word)
        sums = zeros(lanes, channels)
        m0, m_x, m_y, m_xx, m_xy, m_yy = zero, zero, zero, zero, zero, zero
        for strip in range(strips):
            x = x_start + strip * width
            dx = iota(lanes) + (f32(x) - mx)
            s0, s_y = zero, zero
            for block in range(blocks):
                y = y_start + block * height
                place = y * row_step + x
                dy = f32(y) - my
                alpha, growth = start_column(dx, dy, qa, qb, qc, opacity)
                for _ in range(height):
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
                    # d loss / d log alpha = weight (g . colour - rest / transmittance behind); flat at the clamp
                    slope = select(alpha <= ALPHA_MAX, weight, ZERO) * (wanted - rest * (DOWN / after))
                    slope_y = slope * dy
                    s0 = s0 + slope
                    s_y = s_y + slope_y
                    m_yy = fma(slope_y, dy, m_yy)
                    dy += ONE
                    alpha = alpha * growth
                    growth = growth * ratio
                    place += row_step
            s_x = s0 * dx
            m0, m_x, m_y = m0 + s0, m_x + s_x, m_y + s_y
            m_xx, m_xy = fma(s_x, dx, m_xx), fma(s_y, dx, m_xy)
        slot = rec.slot_of(words, bases, k, box_x, box_y, left // TILE_W, top // TILE_H, TILE_W, TILE_H)
        store_sums(slots, slot * stride, (m0, m_x, m_y, m_xx, m_xy, m_yy) + sums)


@njit(parallel=True, fastmath=FASTMATH, cache=True)
def replay(
    lanes, rows, channels, color_word, records, words, ids, offsets, bases, jobs, channel, image, alpha,
    grad_image, grad_alpha, slots, grad_background,
):  # fmt: skip
    """Fills the gradient slots of all (tile, Gaussian) pairs; arguments as in `blend`.

    Args:
        bases: First slot of each chunk of Gaussians.
        image, alpha: What the forward pass returned.
        grad_image, grad_alpha: Gradients of these; grad_alpha is of size 0 where this is not the first pass.
        slots: [num_slots * (6 + D)], is written.
        grad_background: [tiles, D], sums over the pixels of a tile, is written.
    """
    height, width = alpha.shape
    tiles_x = (width + TILE_W - 1) // TILE_W
    depth = len(channels)
    row_step = (2 + depth) * TILE_W
    for job in prange(jobs.shape[0]):
        tile = jobs[job]
        left, top = tile % tiles_x * TILE_W, tile // tiles_x * TILE_H
        planes = np.zeros(row_step * TILE_H, np.float32)
        for y in range(TILE_H):
            planes[y * row_step : y * row_step + TILE_W] = DOWN
        for y in range(min(TILE_H, height - top)):
            for x in range(min(TILE_W, width - left)):
                place = y * row_step + x
                transmittance = ONE - alpha[top + y, left + x]
                rest = ZERO
                if grad_alpha.size:
                    rest = -transmittance * grad_alpha[top + y, left + x]
                for c in range(depth):
                    g = grad_image[top + y, left + x, channel + c]
                    planes[place + (2 + c) * TILE_W] = g
                    rest += g * image[top + y, left + x, channel + c]
                    grad_background[tile, c] += g * transmittance
                planes[place + TILE_W] = rest
        first, last = offsets[tile], offsets[tile + 1]
        _replay_tile(
            lanes, rows, channels, color_word, records, words, ids, bases, first, last, left, top, planes, slots
        )


@njit(parallel=True, fastmath=FASTMATH, cache=True)
def gather(depth, color_word, records, words, bases, slots, grad_means2d, grad_records, num_chunks):
    """Adds up the slots of each Gaussian: gradients of the projected mean and of the words of its record.

    Args:
        depth: D, the number of colour gradients in a slot.
        color_word: Where they go in a record.
        records, words, bases, slots: As in `replay`.
        grad_means2d: [N * 2], is added to.
        grad_records: [N * 16], is added to.
        num_chunks: Number of chunks of Gaussians.
    """
    stride = NUM_MOMENTS + depth
    count = records.shape[0] // SIZE
    for chunk in prange(num_chunks):
        slot = bases[chunk]
        sums = np.empty(16, np.float32)
        for i in range(chunk * rec.CHUNK, min(count, (chunk + 1) * rec.CHUNK)):
            k = i * SIZE
            first_x, last_x = rec.tile_span(words[k + BOX_X], TILE_W)
            first_y, last_y = rec.tile_span(words[k + BOX_Y], TILE_H)
            number = max(0, last_x - first_x + 1) * max(0, last_y - first_y + 1)
            if number == 0:
                continue
            sums[:] = ZERO
            for s in range(slot, slot + number):
                for j in range(stride):
                    sums[j] += slots[s * stride + j]
            slot += number
            qa, qb, qc = records[k + QA], records[k + QB], records[k + QC]
            grad_means2d[2 * i] += -LN2 * (TWO * qa * sums[1] + qb * sums[2])
            grad_means2d[2 * i + 1] += -LN2 * (qb * sums[1] + TWO * qc * sums[2])
            grad_records[k + QA] += LN2 * sums[3]
            grad_records[k + QB] += LN2 * sums[4]
            grad_records[k + QC] += LN2 * sums[5]
            grad_records[k + OPACITY] += sums[0] / records[k + OPACITY]
            for c in range(depth):
                grad_records[k + color_word + c] += sums[NUM_MOMENTS + c]
