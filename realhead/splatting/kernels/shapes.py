"""The shapes of Gaussians: covariances, or quaternions and scales; their projection and its backward pass.

Which of the two a scene has is part of the types that a kernel is compiled for (`covars` is None or an array).
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from realhead.splatting.kernels.geometry import HALF, ONE, TWO, ZERO, dot, scaled_sum
from realhead.splatting.kernels.jit import FAST, inlined
from realhead.splatting.kernels.memory import any_lane, load, not_finite, splat, store
from realhead.splatting.kernels.scratch import S_SHAPE, read_rows, write_rows
from realhead.splatting.kernels.simd import fma, square_root

JIT = {"fastmath": set(FAST)}


@inlined
def read_covariance(lanes, scratch):
    """The six values xx, xy, xz, yy, yz, zz of the symmetric part of the matrices in scratch."""
    width = len(lanes)
    c = S_SHAPE * width
    xx, yy, zz = load(lanes, scratch, c), load(lanes, scratch, c + 4 * width), load(lanes, scratch, c + 8 * width)
    xy = HALF * (load(lanes, scratch, c + width) + load(lanes, scratch, c + 3 * width))
    xz = HALF * (load(lanes, scratch, c + 2 * width) + load(lanes, scratch, c + 6 * width))
    yz = HALF * (load(lanes, scratch, c + 5 * width) + load(lanes, scratch, c + 7 * width))
    return xx, xy, xz, yy, yz, zz


@inlined
def times_symmetric(c, v):
    """Product of a symmetric matrix, given by six values, and a triple."""
    return (
        fma(c[0], v[0], fma(c[1], v[1], c[2] * v[2])),
        fma(c[1], v[0], fma(c[3], v[1], c[4] * v[2])),
        fma(c[2], v[0], fma(c[4], v[1], c[5] * v[2])),
    )


@inlined
def read_rotation(lanes, scratch):
    """Unit quaternion, its inverse length and the columns of its rotation matrix."""
    width = len(lanes)
    base = S_SHAPE * width
    w, x = load(lanes, scratch, base), load(lanes, scratch, base + width)
    y, z = load(lanes, scratch, base + 2 * width), load(lanes, scratch, base + 3 * width)
    inverse = ONE / square_root(fma(w, w, fma(x, x, fma(y, y, z * z))))
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    c0 = (ONE - TWO * (y * y + z * z), TWO * (x * y + w * z), TWO * (x * z - w * y))
    c1 = (TWO * (x * y - w * z), ONE - TWO * (x * x + z * z), TWO * (y * z + w * x))
    c2 = (TWO * (x * z + w * y), TWO * (y * z - w * x), ONE - TWO * (x * x + y * y))
    return (w, x, y, z), inverse, (c0, c1, c2)


@inlined
def read_scales(lanes, scratch):
    """Standard deviations of W Gaussians."""
    w, base = len(lanes), (S_SHAPE + 4) * len(lanes)
    return load(lanes, scratch, base), load(lanes, scratch, base + w), load(lanes, scratch, base + 2 * w)


def read_shape(lanes, covars, quats, scales, first, scratch):
    """Reads covariances, or quaternions and scales, of W Gaussians; returns whether a quaternion has no direction."""
    raise NotImplementedError("compiled code only: its version depends on what describes the shape")


@overload(read_shape, jit_options=JIT)
def _read_shape(lanes, covars, quats, scales, first, scratch):
    def from_covars(lanes, covars, quats, scales, first, scratch):
        read_rows(lanes, covars, first, 9, 9, scratch, S_SHAPE)
        return False

    def from_quats(lanes, covars, quats, scales, first, scratch):
        read_rows(lanes, quats, first, 4, 4, scratch, S_SHAPE)
        read_rows(lanes, scales, first, 3, 3, scratch, S_SHAPE + 4)
        norm = splat(lanes, ZERO)
        for j in range(4):
            part = load(lanes, scratch, (S_SHAPE + j) * len(lanes))
            norm = fma(part, part, norm)
        return any_lane(norm <= ZERO) or not_finite(norm)

    return from_quats if isinstance(covars, types.NoneType) else from_covars


def project_shape(lanes, scratch, covars, t0, t1):
    """Projected covariance (xx, xy, yy) without blur, and its determinant."""
    raise NotImplementedError("compiled code only: its version depends on what describes the shape")


@overload(project_shape, jit_options=JIT)
def _project_shape(lanes, scratch, covars, t0, t1):
    def from_covars(lanes, scratch, covars, t0, t1):
        c = read_covariance(lanes, scratch)
        c0, c1 = times_symmetric(c, t0), times_symmetric(c, t1)
        a, b, d = dot(t0, c0), dot(t0, c1), dot(t1, c1)
        return a, b, d, a * d - b * b

    def from_quats(lanes, scratch, covars, t0, t1):
        # C = M M^T with M = rotation scale; |M^T t0 x M^T t1|^2 is the determinant without cancellation
        _, _, columns = read_rotation(lanes, scratch)
        s = read_scales(lanes, scratch)
        u0 = (s[0] * dot(columns[0], t0), s[1] * dot(columns[1], t0), s[2] * dot(columns[2], t0))
        u1 = (s[0] * dot(columns[0], t1), s[1] * dot(columns[1], t1), s[2] * dot(columns[2], t1))
        n = (u0[1] * u1[2] - u0[2] * u1[1], u0[2] * u1[0] - u0[0] * u1[2], u0[0] * u1[1] - u0[1] * u1[0])
        return dot(u0, u0), dot(u0, u1), dot(u1, u1), dot(n, n)

    return from_quats if isinstance(covars, types.NoneType) else from_covars


@inlined
def covars_backward(lanes, scratch, t0, t1, g, grad_covars, first, add):
    """C -> T C T^T: writes the gradient T^T g T of C, and returns those of t0 and t1."""
    w = len(lanes)
    c = read_covariance(lanes, scratch)
    v0, v1 = scaled_sum(g[0], t0, g[1], t1), scaled_sum(g[1], t0, g[2], t1)
    for i in range(3):
        for j in range(3):
            store(scratch, (S_SHAPE + 3 * i + j) * w, fma(t0[i], v0[j], t1[i] * v1[j]))
    g0, g1 = times_symmetric(c, v0), times_symmetric(c, v1)
    write_rows(lanes, scratch, S_SHAPE, grad_covars, first, 9, 9, add)
    return (TWO * g0[0], TWO * g0[1], TWO * g0[2]), (TWO * g1[0], TWO * g1[1], TWO * g1[2])


@inlined
def rotation_backward(lanes, scratch, quaternion, inverse, g0, g1, g2):
    """Stores the gradient of a quaternion of any length, from those of the columns of its rotation."""
    width, (w, x, y, z) = len(lanes), quaternion
    gw = TWO * (x * (g1[2] - g2[1]) + y * (g2[0] - g0[2]) + z * (g0[1] - g1[0]))
    gx = TWO * (w * (g1[2] - g2[1]) + y * (g0[1] + g1[0]) + z * (g0[2] + g2[0]) - TWO * x * (g1[1] + g2[2]))
    gy = TWO * (w * (g2[0] - g0[2]) + x * (g0[1] + g1[0]) + z * (g1[2] + g2[1]) - TWO * y * (g0[0] + g2[2]))
    gz = TWO * (w * (g0[1] - g1[0]) + x * (g0[2] + g2[0]) + y * (g1[2] + g2[1]) - TWO * z * (g0[0] + g1[1]))
    along = gw * w + gx * x + gy * y + gz * z  # the length does not matter: normalised inside
    store(scratch, S_SHAPE * width, (gw - along * w) * inverse)
    store(scratch, (S_SHAPE + 1) * width, (gx - along * x) * inverse)
    store(scratch, (S_SHAPE + 2) * width, (gy - along * y) * inverse)
    store(scratch, (S_SHAPE + 3) * width, (gz - along * z) * inverse)


@inlined
def quats_backward(lanes, scratch, t0, t1, g, grad_quats, grad_scales, first, add):
    """C = M M^T with M = rotation scale: writes the gradients of both, and returns those of t0 and t1."""
    quaternion, inverse, q = read_rotation(lanes, scratch)
    s = read_scales(lanes, scratch)
    zero = splat(lanes, ZERO)
    gt0, gt1 = (zero, zero, zero), (zero, zero, zero)
    gq = ((zero, zero, zero), (zero, zero, zero), (zero, zero, zero))
    for j in range(3):  # column j of M
        r0, r1 = dot(q[j], t0), dot(q[j], t1)
        h0, h1 = TWO * (g[0] * r0 + g[1] * r1), TWO * (g[1] * r0 + g[2] * r1)
        store(scratch, (S_SHAPE + 4 + j) * len(lanes), s[j] * (h0 * r0 + h1 * r1))
        ss = s[j] * s[j]
        h0, h1 = h0 * ss, h1 * ss
        gq = (gq[1], gq[2], scaled_sum(h0, t0, h1, t1))
        gt0 = (fma(h0, q[j][0], gt0[0]), fma(h0, q[j][1], gt0[1]), fma(h0, q[j][2], gt0[2]))
        gt1 = (fma(h1, q[j][0], gt1[0]), fma(h1, q[j][1], gt1[1]), fma(h1, q[j][2], gt1[2]))
    rotation_backward(lanes, scratch, quaternion, inverse, gq[0], gq[1], gq[2])
    write_rows(lanes, scratch, S_SHAPE, grad_quats, first, 4, 4, add)
    write_rows(lanes, scratch, S_SHAPE + 4, grad_scales, first, 3, 3, add)
    return gt0, gt1


def shape_backward(lanes, scratch, covars, t0, t1, g, grad_covars, grad_quats, grad_scales, first, add):
    """From the gradient g = (xx, xy, yy) of the projected covariance; xy counts once for each of the two entries.

    Writes the gradients of covariances, or of quaternions and scales; returns those of t0 and t1.
    """
    raise NotImplementedError("compiled code only: its version depends on what describes the shape")


@overload(shape_backward, jit_options=JIT)
def _shape_backward(lanes, scratch, covars, t0, t1, g, grad_covars, grad_quats, grad_scales, first, add):
    def from_covars(lanes, scratch, covars, t0, t1, g, grad_covars, grad_quats, grad_scales, first, add):
        return covars_backward(lanes, scratch, t0, t1, g, grad_covars, first, add)

    def from_quats(lanes, scratch, covars, t0, t1, g, grad_covars, grad_quats, grad_scales, first, add):
        return quats_backward(lanes, scratch, t0, t1, g, grad_quats, grad_scales, first, add)

    return from_quats if isinstance(covars, types.NoneType) else from_covars
