"""The backward pass of projection and colours: from gradients of records to gradients of Gaussians and cameras.

As in `project`, W Gaussians at a time and in memory order; what the forward pass knew is computed again rather than
stored. With several cameras, each adds to the gradients of those before.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.geometry import (
    EPS2D,
    FX,
    FY,
    HALF,
    ONE,
    X_HIGH,
    X_LOW,
    Y_HIGH,
    Y_LOW,
    ZERO,
    dot,
    linearise,
    to_camera,
    view_direction,
)  # fmt: skip
from realhead.splatting.kernels.harmonics import shade_backward
from realhead.splatting.kernels.jit import inlined, inner
from realhead.splatting.kernels.memory import load, splat, store
from realhead.splatting.kernels.parallel import parallel, take
from realhead.splatting.kernels.scratch import (
    BACKWARD_SIZE,
    S_CAMERA,
    S_COLOR,
    S_GRADIENT,
    S_MEAN,
    S_MEAN2D,
    S_RECORD,
    read_rows,
    whole_groups,
    write_rows,
)  # fmt: skip
from realhead.splatting.kernels.shapes import read_shape, shape_backward
from realhead.splatting.kernels.simd import maximum, select

f32 = np.float32
SIZE, CHUNK = rec.SIZE, rec.CHUNK
CAMERA_GRADIENTS = 15  # rotation, translation, centre
MINUS_2_LN2 = f32(-2.0 * 0.6931471805599453)
SMALL = f32(1e-30)


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


@inlined
def point_backward(lanes, camera, scratch, px, py, in_front, pz, t0, t1, tx, ty, gt0, gt1):
    """Gradient of the camera coordinates, from those of projected mean, t0 and t1 (without that of the depth itself).

    t0 = (FX / z) (R0 - tx R2), t1 = (FY / z) (R1 - ty R2), where tx = x / z and ty = y / z are constant where clamped.
    """
    inverse_z = ONE / pz
    x_z, y_z = px * inverse_z, py * inverse_z
    sx, sy = camera[FX] * inverse_z, camera[FY] * inverse_z
    r2 = (splat(lanes, camera[6]), splat(lanes, camera[7]), splat(lanes, camera[8]))
    g_tx, g_ty = ZERO - sx * dot(gt0, r2), ZERO - sy * dot(gt1, r2)
    g_inverse_z = (dot(gt0, t0) + dot(gt1, t1)) * pz
    g_u, g_v = load(lanes, scratch, S_MEAN2D * len(lanes)), load(lanes, scratch, (S_MEAN2D + 1) * len(lanes))
    free_x = (x_z >= camera[X_LOW]) & (x_z <= camera[X_HIGH])
    free_y = (y_z >= camera[Y_LOW]) & (y_z <= camera[Y_HIGH])
    g_x_z = camera[FX] * g_u + select(free_x, g_tx, ZERO)
    g_y_z = camera[FY] * g_v + select(free_y, g_ty, ZERO)
    g_px, g_py = select(in_front, g_x_z * inverse_z, ZERO), select(in_front, g_y_z * inverse_z, ZERO)
    g_inverse_z += g_x_z * px + g_y_z * py
    return g_px, g_py, select(in_front, ZERO - g_inverse_z * inverse_z * inverse_z, ZERO)


@inlined
def color_backward(lanes, camera, x, y, z, degree, colors, count, first, scratch, add, grad_colors):
    """Writes the gradients of SH coefficients; returns that of the camera's centre, minus that of the mean."""
    zero = splat(lanes, ZERO)
    if degree < 0:
        return zero, zero, zero
    dx, dy, dz, inverse = view_direction(camera, x, y, z)
    stride, record, gradient = colors.size // count, S_RECORD * len(lanes), S_GRADIENT * len(lanes)
    gd = shade_backward(lanes, degree, (dx, dy, dz), colors, stride, first, scratch, record, gradient)
    write_rows(lanes, scratch, S_COLOR, grad_colors, first, stride, 3 * (degree + 1) * (degree + 1), add)
    if degree == 0:  # seen the same from everywhere, and the distance may have overflowed
        return zero, zero, zero
    along = gd[0] * dx + gd[1] * dy + gd[2] * dz
    return (along * dx - gd[0]) * inverse, (along * dy - gd[1]) * inverse, (along * dz - gd[2]) * inverse


@inlined
def opacity_backward(lanes, scratch, antialiased, first, add, grad_opacities):
    """From d / d log(peak) to d / d opacity; those with a gradient are above 1/255."""
    record, gradient = S_RECORD * len(lanes), S_GRADIENT * len(lanes)
    g = load(lanes, scratch, gradient + rec.OPACITY * len(lanes))
    g = g / maximum(load(lanes, scratch, record + rec.OPACITY * len(lanes)), SMALL)
    if antialiased:
        g = g * load(lanes, scratch, record + rec.COMPENSATION * len(lanes))
    if add:
        g += load(lanes, grad_opacities, first)
    store(grad_opacities, first, g)


@inner
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
    x, y, z = load(lanes, scratch, 0), load(lanes, scratch, width), load(lanes, scratch, 2 * width)
    px, py, _, in_front, pz = to_camera(camera, x, y, z)
    inverse_z = ONE / pz
    t0, t1, tx, ty = linearise(camera, px * inverse_z, py * inverse_z, inverse_z)
    g = covariance_gradient(lanes, scratch, S_RECORD * width, S_GRADIENT * width, camera[EPS2D], antialiased)
    gt0, gt1 = shape_backward(lanes, scratch, covars, t0, t1, g, grad_covars, grad_quats, grad_scales, first, add)
    g_px, g_py, g_pz = point_backward(lanes, camera, scratch, px, py, in_front, pz, t0, t1, tx, ty, gt0, gt1)
    g_pz += load(lanes, scratch, (S_GRADIENT + rec.COLOR + 3) * width) + load(lanes, grad_depths, first)
    count = grad_opacities.size
    gc = color_backward(lanes, camera, x, y, z, degree, colors, count, first, scratch, add, grad_colors)
    store(scratch, 0, camera[0] * g_px + camera[3] * g_py + camera[6] * g_pz - gc[0])
    store(scratch, width, camera[1] * g_px + camera[4] * g_py + camera[7] * g_pz - gc[1])
    store(scratch, 2 * width, camera[2] * g_px + camera[5] * g_py + camera[8] * g_pz - gc[2])
    write_rows(lanes, scratch, S_MEAN, grad_means, first, 3, 3, add)
    opacity_backward(lanes, scratch, antialiased, first, add, grad_opacities)
    if want_camera:
        sx, sy = camera[FX] * inverse_z, camera[FY] * inverse_z
        camera_backward(lanes, scratch, x, y, z, (g_px, g_py, g_pz), gt0, gt1, sx, sy, tx, ty, gc)


@parallel
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
    scratch = np.empty(BACKWARD_SIZE * width, np.float32)
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
