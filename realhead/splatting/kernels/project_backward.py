"""The backward pass of projection and colours: from gradients of records to gradients of Gaussians and cameras.

As in `project`, W Gaussians at a time and in memory order; what the forward pass knew is computed again rather than
stored. With several cameras, each adds to the gradients of those before.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.harmonics import direction_gradient, write_basis
from realhead.splatting.kernels.jit import inlined, kernel, take
from realhead.splatting.kernels.memory import load, splat, store, transpose, transpose_add
from realhead.splatting.kernels.project import (
    CHUNK,
    EPS2D,
    FX,
    FY,
    HALF,
    JIT,
    ONE,
    S_BASIS,
    S_COLOR,
    S_MEAN,
    S_SHAPE,
    SIZE,
    TWO,
    X_HIGH,
    X_LOW,
    Y_HIGH,
    Y_LOW,
    ZERO,
    dot,
    linearise,
    read_covariance,
    read_rotation,
    read_rows,
    read_scales,
    read_shape,
    times_symmetric,
    to_camera,
    view_direction,
    whole_groups,
)  # fmt: skip
from realhead.splatting.kernels.simd import fma, maximum, select

f32 = np.float32
CAMERA_GRADIENTS = 15  # rotation, translation, centre
MINUS_2_LN2 = f32(-2.0 * 0.6931471805599453)
SMALL = f32(1e-30)
# Scratch of one group, in Vectors, after those of the forward pass
S_RECORD, S_GRADIENT, S_MEAN2D, S_BASIS_GRADIENT, S_CAMERA, SCRATCH = 94, 110, 126, 142, 158, 173


@inlined
def write_rows(lanes, scratch, slot, target, first, stride, count, add):
    """target[(first + l) stride + j] = scratch[(slot + j) W + l] for j < count, or += with `add`."""
    width = len(lanes)
    done = 0
    while done < count:
        if count - done < width:
            for lane in range(width):
                place, value = (first + lane) * stride + done, scratch[(slot + done) * width + lane]
                target[place] = target[place] + value if add else value
            done += 1
        elif add:
            transpose_add(lanes, scratch, (slot + done) * width, width, target, first * stride + done, stride)
            done += width
        else:
            transpose(lanes, scratch, (slot + done) * width, width, target, first * stride + done, stride)
            done += width


@inlined
def scaled_sum(a, u, b, v):
    """a u + b v of two triples."""
    return fma(a, u[0], b * v[0]), fma(a, u[1], b * v[1]), fma(a, u[2], b * v[2])


@inlined
def covariance_gradient(lanes, scratch, record, gradient, eps, antialiased):
    """Gradient (xx, xy, yy) of the projected covariance before blur; xy counts once for each of the two entries."""
    w = len(lanes)
    # conic Q = inverse of the blurred covariance, from the exponent; G_cov = -Q G_Q Q
    a = load(lanes, scratch, record + rec.QA * w) * MINUS_2_LN2
    b = load(lanes, scratch, record + rec.QB * w) * (HALF * MINUS_2_LN2)
    c = load(lanes, scratch, record + rec.QC * w) * MINUS_2_LN2
    ga = load(lanes, scratch, gradient + rec.QA * w) * (-HALF)
    gb = load(lanes, scratch, gradient + rec.QB * w) * (-HALF)
    gc = load(lanes, scratch, gradient + rec.QC * w) * (-HALF)
    u00, u01, u10, u11 = ga * a + gb * b, ga * b + gb * c, gb * a + gc * b, gb * b + gc * c
    g_xx, g_xy, g_yy = ZERO - (a * u00 + b * u10), ZERO - (a * u01 + b * u11), ZERO - (b * u01 + c * u11)
    if antialiased:
        # peak = opacity rho; d rho^2 / d cov = (1 - rho^2) Q - eps det(Q) identity
        rho = load(lanes, scratch, record + rec.COMPENSATION * w)
        factor = HALF * load(lanes, scratch, gradient + rec.OPACITY * w) / maximum(rho * rho, SMALL)
        kept, lost = factor * (ONE - rho * rho), factor * (eps * (a * c - b * b))
        g_xx, g_xy, g_yy = g_xx + kept * a - lost, g_xy + kept * b, g_yy + kept * c - lost
    return g_xx, g_xy, g_yy


def shape_backward(lanes, scratch, covars, t0, t1, g_xx, g_xy, g_yy, grad_covars, grad_quats, grad_scales, first, add):
    """Writes the gradients of covariances, or of quaternions and scales; returns those of t0 and t1."""
    raise NotImplementedError("compiled code only: its version depends on what describes the shape")


@overload(shape_backward, jit_options=JIT)
def _shape_backward(lanes, scratch, covars, t0, t1, g_xx, g_xy, g_yy, grad_covars, grad_quats, grad_scales, first, add):
    def from_covars(lanes, scratch, covars, t0, t1, g_xx, g_xy, g_yy, grad_covars, grad_quats, grad_scales, first, add):
        w = len(lanes)
        c = read_covariance(lanes, scratch)
        v0, v1 = scaled_sum(g_xx, t0, g_xy, t1), scaled_sum(g_xy, t0, g_yy, t1)
        for i in range(3):
            for j in range(3):
                store(scratch, (S_SHAPE + 3 * i + j) * w, fma(t0[i], v0[j], t1[i] * v1[j]))
        g0, g1 = times_symmetric(c, v0), times_symmetric(c, v1)
        write_rows(lanes, scratch, S_SHAPE, grad_covars, first, 9, 9, add)
        return (TWO * g0[0], TWO * g0[1], TWO * g0[2]), (TWO * g1[0], TWO * g1[1], TWO * g1[2])

    def from_quats(lanes, scratch, covars, t0, t1, g_xx, g_xy, g_yy, grad_covars, grad_quats, grad_scales, first, add):
        width = len(lanes)
        (w, x, y, z), inverse, q = read_rotation(lanes, scratch)
        s = read_scales(lanes, scratch)
        zero = splat(lanes, ZERO)
        gt0, gt1 = (zero, zero, zero), (zero, zero, zero)
        gq = ((zero, zero, zero), (zero, zero, zero), (zero, zero, zero))
        for j in range(3):  # column j of M = rotation scale
            r0, r1 = dot(q[j], t0), dot(q[j], t1)
            h0, h1 = TWO * (g_xx * r0 + g_xy * r1), TWO * (g_xy * r0 + g_yy * r1)
            store(scratch, (S_SHAPE + 4 + j) * width, s[j] * (h0 * r0 + h1 * r1))
            ss = s[j] * s[j]
            h0, h1 = h0 * ss, h1 * ss
            column = scaled_sum(h0, t0, h1, t1)
            gq = (gq[1], gq[2], column)
            gt0 = (fma(h0, q[j][0], gt0[0]), fma(h0, q[j][1], gt0[1]), fma(h0, q[j][2], gt0[2]))
            gt1 = (fma(h1, q[j][0], gt1[0]), fma(h1, q[j][1], gt1[1]), fma(h1, q[j][2], gt1[2]))
        g0, g1, g2 = gq  # gradients of the columns of the rotation
        gw = TWO * (x * (g1[2] - g2[1]) + y * (g2[0] - g0[2]) + z * (g0[1] - g1[0]))
        gx = TWO * (w * (g1[2] - g2[1]) + y * (g0[1] + g1[0]) + z * (g0[2] + g2[0]) - TWO * x * (g1[1] + g2[2]))
        gy = TWO * (w * (g2[0] - g0[2]) + x * (g0[1] + g1[0]) + z * (g1[2] + g2[1]) - TWO * y * (g0[0] + g2[2]))
        gz = TWO * (w * (g0[1] - g1[0]) + x * (g0[2] + g2[0]) + y * (g1[2] + g2[1]) - TWO * z * (g0[0] + g1[1]))
        along = gw * w + gx * x + gy * y + gz * z  # the length does not matter: normalised inside
        store(scratch, S_SHAPE * width, (gw - along * w) * inverse)
        store(scratch, (S_SHAPE + 1) * width, (gx - along * x) * inverse)
        store(scratch, (S_SHAPE + 2) * width, (gy - along * y) * inverse)
        store(scratch, (S_SHAPE + 3) * width, (gz - along * z) * inverse)
        write_rows(lanes, scratch, S_SHAPE, grad_quats, first, 4, 4, add)
        write_rows(lanes, scratch, S_SHAPE + 4, grad_scales, first, 3, 3, add)
        return gt0, gt1

    return from_quats if isinstance(covars, types.NoneType) else from_covars


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


@inlined
def camera_backward(lanes, scratch, x, y, z, gp, gt0, gt1, sx, sy, tx, ty, gc):
    """Adds the gradients of rotation, translation and centre to their sums in scratch."""
    w = len(lanes)
    mean = (x, y, z)
    for i in range(3):
        for j in range(3):
            place = (S_CAMERA + 3 * i + j) * w
            value = gp[i] * mean[j]
            if i == 0:
                value += sx * gt0[j]
            if i == 1:
                value += sy * gt1[j]
            if i == 2:
                value = value - (tx * (sx * gt0[j]) + ty * (sy * gt1[j]))
            store(scratch, place, load(lanes, scratch, place) + value)
        place = (S_CAMERA + 9 + i) * w
        store(scratch, place, load(lanes, scratch, place) + gp[i])
        place = (S_CAMERA + 12 + i) * w
        store(scratch, place, load(lanes, scratch, place) + gc[i])


@kernel
def backward_group(
    lanes, camera, means, covars, quats, scales, colors, degree, antialiased, first, scratch, records,
    grad_means2d, means2d_stride, grad_depths, grad_records, add, want_camera,
    grad_means, grad_covars, grad_quats, grad_scales, grad_opacities, grad_colors,
):  # fmt: skip
    """Computes the gradients of the W Gaussians from `first` on."""
    width = len(lanes)
    read_rows(lanes, means, first, 3, 3, scratch, S_MEAN)
    read_shape(lanes, covars, quats, scales, first, scratch)
    read_rows(lanes, records, first, SIZE, SIZE, scratch, S_RECORD)
    read_rows(lanes, grad_records, first, SIZE, SIZE, scratch, S_GRADIENT)
    read_rows(lanes, grad_means2d, first, means2d_stride, 2, scratch, S_MEAN2D)
    record, gradient = S_RECORD * width, S_GRADIENT * width
    x, y, z = load(lanes, scratch, 0), load(lanes, scratch, width), load(lanes, scratch, 2 * width)
    px, py, depth, in_front, pz = to_camera(lanes, camera, x, y, z)
    inverse_z = ONE / pz
    x_z, y_z = px * inverse_z, py * inverse_z
    t0, t1, tx, ty = linearise(camera, x_z, y_z, inverse_z)
    g_xx, g_xy, g_yy = covariance_gradient(lanes, scratch, record, gradient, camera[EPS2D], antialiased)
    gt0, gt1 = shape_backward(
        lanes, scratch, covars, t0, t1, g_xx, g_xy, g_yy, grad_covars, grad_quats, grad_scales, first, add
    )

    # t0 = (FX / z) (R0 - tx R2), t1 = (FY / z) (R1 - ty R2); tx and ty are constant where clamped
    sx, sy = camera[FX] * inverse_z, camera[FY] * inverse_z
    r2 = (splat(lanes, camera[6]), splat(lanes, camera[7]), splat(lanes, camera[8]))
    g_tx, g_ty = ZERO - sx * dot(gt0, r2), ZERO - sy * dot(gt1, r2)
    g_inverse_z = (dot(gt0, t0) + dot(gt1, t1)) * pz
    g_u, g_v = load(lanes, scratch, S_MEAN2D * width), load(lanes, scratch, (S_MEAN2D + 1) * width)
    free_x = (x_z >= camera[X_LOW]) & (x_z <= camera[X_HIGH])
    free_y = (y_z >= camera[Y_LOW]) & (y_z <= camera[Y_HIGH])
    g_x_z = camera[FX] * g_u + select(free_x, g_tx, ZERO)
    g_y_z = camera[FY] * g_v + select(free_y, g_ty, ZERO)
    g_px, g_py = select(in_front, g_x_z * inverse_z, ZERO), select(in_front, g_y_z * inverse_z, ZERO)
    g_inverse_z += g_x_z * px + g_y_z * py
    g_pz = select(in_front, ZERO - g_inverse_z * inverse_z * inverse_z, ZERO)
    g_pz += load(lanes, scratch, gradient + (rec.COLOR + 3) * width) + load(lanes, grad_depths, first)

    zero = splat(lanes, ZERO)
    gc = (zero, zero, zero)
    if degree >= 0:
        dx, dy, dz, inverse = view_direction(camera, x, y, z)
        stride = colors.size // grad_opacities.size
        gd = shade_backward(lanes, degree, (dx, dy, dz), colors, stride, first, scratch, record, gradient)
        along = gd[0] * dx + gd[1] * dy + gd[2] * dz
        gc = ((along * dx - gd[0]) * inverse, (along * dy - gd[1]) * inverse, (along * dz - gd[2]) * inverse)
        write_rows(lanes, scratch, S_COLOR, grad_colors, first, stride, 3 * (degree + 1) * (degree + 1), add)
    store(scratch, 0, camera[0] * g_px + camera[3] * g_py + camera[6] * g_pz - gc[0])
    store(scratch, width, camera[1] * g_px + camera[4] * g_py + camera[7] * g_pz - gc[1])
    store(scratch, 2 * width, camera[2] * g_px + camera[5] * g_py + camera[8] * g_pz - gc[2])
    write_rows(lanes, scratch, S_MEAN, grad_means, first, 3, 3, add)
    # from d / d log(peak) to d / d opacity; those with a gradient are above 1/255
    g_opacity = load(lanes, scratch, gradient + rec.OPACITY * width)
    g_opacity = g_opacity / maximum(load(lanes, scratch, record + rec.OPACITY * width), SMALL)
    if antialiased:
        g_opacity = g_opacity * load(lanes, scratch, record + rec.COMPENSATION * width)
    if add:
        g_opacity += load(lanes, grad_opacities, first)
    store(grad_opacities, first, g_opacity)
    if want_camera:
        camera_backward(lanes, scratch, x, y, z, (g_px, g_py, g_pz), gt0, gt1, sx, sy, tx, ty, gc)


@kernel
def project_backward(
    counter, lanes, camera, means, covars, quats, scales, colors, degree, antialiased, records,
    grad_means2d, means2d_stride, grad_depths, grad_records, add, want_camera,
    grad_means, grad_covars, grad_quats, grad_scales, grad_opacities, grad_colors, grad_camera,
):  # fmt: skip
    """Computes all gradients of one camera; arguments as in `project`.

    Args:
        grad_means2d, means2d_stride: d / d projected mean of Gaussian i is at i * means2d_stride.
        grad_depths: [N].
        grad_records: [N * 16], see `records`; the word after three colours is that of the depth.
        add: Whether the gradients are added to what is there.
        want_camera: Whether `grad_camera` is wanted.
        grad_camera: [chunks, 15] float32, sums over the Gaussians of a chunk, is written.
    """
    count, width = grad_opacities.shape[0], len(lanes)
    scratch = np.empty(SCRATCH * width, np.float32)
    while True:
        chunk = take(counter)
        if chunk >= grad_camera.shape[0]:
            return
        scratch[S_CAMERA * width :] = ZERO
        i, end = chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        while i < whole_groups(count, chunk, width):
            backward_group(
                lanes, camera, means, covars, quats, scales, colors, degree, antialiased, i, scratch, records,
                grad_means2d, means2d_stride, grad_depths, grad_records, add, want_camera,
                grad_means, grad_covars, grad_quats, grad_scales, grad_opacities, grad_colors,
            )  # fmt: skip
            i += width
        for j in range(CAMERA_GRADIENTS):
            grad_camera[chunk, j] = np.sum(scratch[(S_CAMERA + j) * width : (S_CAMERA + j + 1) * width])
        scratch[S_CAMERA : S_CAMERA + CAMERA_GRADIENTS] = ZERO
        while i < end:
            backward_group(
                (0,), camera, means, covars, quats, scales, colors, degree, antialiased, i, scratch, records,
                grad_means2d, means2d_stride, grad_depths, grad_records, add, want_camera,
                grad_means, grad_covars, grad_quats, grad_scales, grad_opacities, grad_colors,
            )  # fmt: skip
            i += 1
        for j in range(CAMERA_GRADIENTS):
            grad_camera[chunk, j] += scratch[S_CAMERA + j]
