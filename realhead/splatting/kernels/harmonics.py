"""Colours from spherical harmonics and their derivative, W at once; the basis is `realhead.splatting.harmonics`'."""

from __future__ import annotations

import numpy as np

from realhead.splatting import harmonics as sh
from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.jit import inlined
from realhead.splatting.kernels.memory import load, splat, store
from realhead.splatting.kernels.scratch import S_BASIS, S_BASIS_GRADIENT, S_COLOR, read_rows
from realhead.splatting.kernels.simd import fma, select

f32 = np.float32
C0, C1 = f32(sh.C0), f32(sh.C1)
C2A, C2B, C2C = (f32(c) for c in sh.C2)
C3A, C3B, C3C, C3D, C3E = (f32(c) for c in sh.C3)
ZERO, HALF = f32(0.0), f32(0.5)
TWO, THREE, FOUR, SIX, EIGHT = f32(2.0), f32(3.0), f32(4.0), f32(6.0), f32(8.0)


@inlined
def write_basis(lanes, degree, x, y, z, scratch, base):
    """Writes the basis functions, one Vector each, from scratch[base] on."""
    w = len(lanes)
    store(scratch, base, splat(lanes, C0))
    if degree < 1:
        return
    store(scratch, base + w, -C1 * y)
    store(scratch, base + 2 * w, C1 * z)
    store(scratch, base + 3 * w, -C1 * x)
    if degree < 2:
        return
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    store(scratch, base + 4 * w, C2A * xy)
    store(scratch, base + 5 * w, -C2A * yz)
    store(scratch, base + 6 * w, C2B * (TWO * zz - xx - yy))
    store(scratch, base + 7 * w, -C2A * xz)
    store(scratch, base + 8 * w, C2C * (xx - yy))
    if degree < 3:
        return
    store(scratch, base + 9 * w, -C3A * y * (THREE * xx - yy))
    store(scratch, base + 10 * w, C3B * xy * z)
    store(scratch, base + 11 * w, -C3C * y * (FOUR * zz - xx - yy))
    store(scratch, base + 12 * w, C3D * z * (TWO * zz - THREE * (xx + yy)))
    store(scratch, base + 13 * w, -C3C * x * (FOUR * zz - xx - yy))
    store(scratch, base + 14 * w, C3E * z * (xx - yy))
    store(scratch, base + 15 * w, -C3A * x * (xx - THREE * yy))


@inlined
def direction_gradient(lanes, degree, x, y, z, scratch, base):
    """Gradient to the direction, from those to the basis functions, which lie from scratch[base] on."""
    w = len(lanes)
    zero = splat(lanes, f32(0.0))
    gx, gy, gz = zero, zero, zero
    if degree >= 1:
        gx = -C1 * load(lanes, scratch, base + 3 * w)
        gy = -C1 * load(lanes, scratch, base + w)
        gz = C1 * load(lanes, scratch, base + 2 * w)
    if degree >= 2:
        d4, d5 = load(lanes, scratch, base + 4 * w), load(lanes, scratch, base + 5 * w)
        d6, d7 = load(lanes, scratch, base + 6 * w), load(lanes, scratch, base + 7 * w)
        d8 = load(lanes, scratch, base + 8 * w)
        gx += C2A * (y * d4 - z * d7) + TWO * x * (C2C * d8 - C2B * d6)
        gy += C2A * (x * d4 - z * d5) - TWO * y * (C2C * d8 + C2B * d6)
        gz += FOUR * C2B * z * d6 - C2A * (y * d5 + x * d7)
    if degree >= 3:
        xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
        d9, d10 = load(lanes, scratch, base + 9 * w), load(lanes, scratch, base + 10 * w)
        d11, d12 = load(lanes, scratch, base + 11 * w), load(lanes, scratch, base + 12 * w)
        d13, d14 = load(lanes, scratch, base + 13 * w), load(lanes, scratch, base + 14 * w)
        d15 = load(lanes, scratch, base + 15 * w)
        gx += C3B * yz * d10 - SIX * C3A * xy * d9 + TWO * C3C * xy * d11 - SIX * C3D * xz * d12
        gx += TWO * C3E * xz * d14 - C3C * (FOUR * zz - THREE * xx - yy) * d13 - THREE * C3A * (xx - yy) * d15
        gy += C3B * xz * d10 - THREE * C3A * (xx - yy) * d9 - C3C * (FOUR * zz - xx - THREE * yy) * d11
        gy += TWO * C3C * xy * d13 - SIX * C3D * yz * d12 - TWO * C3E * yz * d14 + SIX * C3A * xy * d15
        gz += C3B * xy * d10 - EIGHT * C3C * (yz * d11 + xz * d13) + C3E * (xx - yy) * d14
        gz += C3D * (SIX * zz - THREE * (xx + yy)) * d12
    return gx, gy, gz


@inlined
def shade(lanes, degree, direction, colors, stride, first, scratch):
    """max(0, 1/2 + sum of coefficient times basis) of W Gaussians, per channel."""
    width = len(lanes)
    coefficients = (degree + 1) * (degree + 1)
    write_basis(lanes, degree, direction[0], direction[1], direction[2], scratch, S_BASIS * width)
    read_rows(lanes, colors, first, stride, 3 * coefficients, scratch, S_COLOR)
    red = splat(lanes, HALF)
    green, blue = red, red
    for j in range(coefficients):
        basis, place = load(lanes, scratch, (S_BASIS + j) * width), (S_COLOR + 3 * j) * width
        red = fma(basis, load(lanes, scratch, place), red)
        green = fma(basis, load(lanes, scratch, place + width), green)
        blue = fma(basis, load(lanes, scratch, place + 2 * width), blue)
    return red, green, blue


@inlined
def shade_backward(lanes, degree, direction, colors, stride, first, scratch, record, gradient):
    """Writes the coefficient gradients to scratch; returns the gradient of the direction."""
    w = len(lanes)
    count = (degree + 1) * (degree + 1)
    write_basis(lanes, degree, direction[0], direction[1], direction[2], scratch, S_BASIS * w)
    if degree > 0:
        read_rows(lanes, colors, first, stride, 3 * count, scratch, S_COLOR)
    place = gradient + rec.COLOR * w
    seen = record + rec.COLOR * w
    red = select(load(lanes, scratch, seen) > ZERO, load(lanes, scratch, place), ZERO)
    green = select(load(lanes, scratch, seen + w) > ZERO, load(lanes, scratch, place + w), ZERO)
    blue = select(load(lanes, scratch, seen + 2 * w) > ZERO, load(lanes, scratch, place + 2 * w), ZERO)
    for j in range(count):
        basis, place = load(lanes, scratch, (S_BASIS + j) * w), (S_COLOR + 3 * j) * w
        if degree > 0:
            total = blue * load(lanes, scratch, place + 2 * w)
            total = fma(red, load(lanes, scratch, place), fma(green, load(lanes, scratch, place + w), total))
            store(scratch, (S_BASIS_GRADIENT + j) * w, total)
        store(scratch, place, red * basis)
        store(scratch, place + w, green * basis)
        store(scratch, place + 2 * w, blue * basis)
    return direction_gradient(lanes, degree, direction[0], direction[1], direction[2], scratch, S_BASIS_GRADIENT * w)
