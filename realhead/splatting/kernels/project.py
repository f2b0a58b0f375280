"""Projection of 3D Gaussians into one camera, with their colours: W Gaussians at a time, one in each lane.

EWA splatting (Zwicker et al. 2001) with gsplat's conventions: the perspective is linearised at the mean, clamped to
15 % outside the image; `eps2d` is added to the diagonal. With T the 2 x 3 matrix of that linearisation times the camera
rotation, the projected covariance of C is T C T^T. Means are read, and records written, in memory order: gathering
192-byte rows of SH coefficients in any other order would cost more than the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.harmonics import write_basis
from realhead.splatting.kernels.jit import FAST, inlined, kernel, take
from realhead.splatting.kernels.memory import any_lane, get, load, not_finite, splat, store, store_pairs, transpose
from realhead.splatting.kernels.simd import (
    ceil,
    exp2,
    floor,
    fma,
    int_bits,
    log2,
    maximum,
    minimum,
    pack_int16,
    select,
    square_root,
)  # fmt: skip

f32 = np.float32
JIT = {"fastmath": set(FAST)}
ZERO, ONE, TWO, HALF = f32(0.0), f32(1.0), f32(2.0), f32(0.5)
LOG2E = f32(1.4426950408889634)
LN4 = f32(1.3862943611198906)
LOG2_255 = f32(7.994353436858858)
VISIBLE = f32(1 / 255)
SIZE, CHUNK = rec.SIZE, rec.CHUNK
# Where the words of a camera lie in its array: rotation, translation, centre, intrinsics, clamps of x / z and y / z
ROTATION, TRANSLATION, CENTRE, FX, FY, CX, CY, X_LOW, X_HIGH, Y_LOW, Y_HIGH = 0, 9, 12, 15, 16, 17, 18, 19, 20, 21, 22
NEAR, FAR, EPS2D, RADIUS_CLIP, WIDTH, HEIGHT = 23, 24, 25, 26, 27, 28
CAMERA_SIZE = 29
# Scratch of one group, in Vectors: the inputs of W Gaussians, transposed. Reading a short row fills more of it than
# its own place, up to 16 Vectors, so what comes next in the scratch is read later.
S_MEAN, S_SHAPE, S_BASIS, S_COLOR, S_SPARE, SCRATCH = 0, 3, 14, 30, 78, 94
BAD_VALUE, BAD_OPACITY, BAD_QUATERNION = 1, 2, 4


@inlined
def read_rows(lanes, source, first, stride, count, scratch, slot):
    """scratch[(slot + j) W + l] = source[(first + l) stride + j] for j < count: a row of each of W Gaussians.

    Rows shorter than W are read W long all the same (and written so): see `whole_groups`.
    """
    width = len(lanes)
    done = 0
    while done < count:  # the last block may overlap the one before
        start = max(min(done, count - width), 0)
        transpose(lanes, source, first * stride + start, stride, scratch, (slot + start) * width, width)
        done = start + width


@inlined
def whole_groups(count, chunk, width):
    """Up to where the Gaussians of a chunk are worked on W at a time; the others one by one.

    The last W / 2 of all are among the others, so that reading W words from a row of two stays inside the array.
    """
    first, last = chunk * CHUNK, min(count - width // 2, (chunk + 1) * CHUNK)
    return first + max(last - first, 0) // width * width


@inlined
def to_camera(lanes, camera, x, y, z):
    """Camera coordinates; those out of the depth range are put to z = 1, so that nothing divides by zero."""
    px = camera[0] * x + camera[1] * y + camera[2] * z + camera[TRANSLATION]
    py = camera[3] * x + camera[4] * y + camera[5] * z + camera[TRANSLATION + 1]
    depth = camera[6] * x + camera[7] * y + camera[8] * z + camera[TRANSLATION + 2]
    in_front = (depth > camera[NEAR]) & (depth < camera[FAR])
    return px, py, depth, in_front, select(in_front, depth, ONE)


@inlined
def linearise(camera, x_z, y_z, inverse_z):
    """The rows t0, t1 of T, and the clamped x / z and y / z."""
    tx = minimum(maximum(x_z, camera[X_LOW]), camera[X_HIGH])
    ty = minimum(maximum(y_z, camera[Y_LOW]), camera[Y_HIGH])
    sx, sy = camera[FX] * inverse_z, camera[FY] * inverse_z
    t0 = (sx * (camera[0] - tx * camera[6]), sx * (camera[1] - tx * camera[7]), sx * (camera[2] - tx * camera[8]))
    t1 = (sy * (camera[3] - ty * camera[6]), sy * (camera[4] - ty * camera[7]), sy * (camera[5] - ty * camera[8]))
    return t0, t1, tx, ty


@inlined
def dot(a, b):
    """Scalar product of two triples."""
    return fma(a[0], b[0], fma(a[1], b[1], a[2] * b[2]))


@inlined
def read_covariance(lanes, scratch):
    """The six values xx, xy, xz, yy, yz, zz of the symmetric part of the matrices in scratch."""
    width = len(lanes)
    c = (S_SHAPE + 0) * width
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
    base = (S_SHAPE + 4) * len(lanes)
    return (
        load(lanes, scratch, base),
        load(lanes, scratch, base + len(lanes)),
        load(lanes, scratch, base + 2 * len(lanes)),
    )


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
def view_direction(camera, x, y, z):
    """Unit vector from the camera to the Gaussian, and the inverse distance."""
    dx, dy, dz = x - camera[CENTRE], y - camera[CENTRE + 1], z - camera[CENTRE + 2]
    inverse = ONE / square_root(fma(dx, dx, fma(dy, dy, dz * dz)))
    return dx * inverse, dy * inverse, dz * inverse, inverse


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


def read_shape(lanes, covars, quats, scales, first, scratch):
    """Reads covariances, or quaternions and scales, of W Gaussians; returns whether a quaternion is zero."""
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
        return any_lane(norm <= ZERO)

    return from_quats if isinstance(covars, types.NoneType) else from_covars


@inlined
def pixel_interval(centre, reach, size):
    """Pixels whose centre lies within `reach`, clipped to the image and packed; and whether there are any."""
    low = maximum(ceil(centre - reach - HALF), ZERO)
    high = minimum(floor(centre + reach - HALF), size - ONE)
    drawn = low <= high
    return pack_int16(select(drawn, low, ONE), select(drawn, high, ZERO)), drawn


@kernel
def project_group(
    lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased, first, scratch,
    records, means2d, depths, keys, radii,
):  # fmt: skip
    """Projects the W Gaussians from `first` on; returns what is wrong with them (bits BAD_*)."""
    width = len(lanes)
    bad = 0
    read_rows(lanes, means, first, 3, 3, scratch, S_MEAN)
    if read_shape(lanes, covars, quats, scales, first, scratch):
        bad |= BAD_QUATERNION
    x, y, z = load(lanes, scratch, 0), load(lanes, scratch, width), load(lanes, scratch, 2 * width)
    opacity = load(lanes, opacities, first)
    if any_lane(opacity < ZERO) or any_lane(opacity > ONE):
        bad |= BAD_OPACITY
    px, py, depth, in_front, pz = to_camera(lanes, camera, x, y, z)
    inverse_z = ONE / pz
    x_z, y_z = px * inverse_z, py * inverse_z
    t0, t1, _, _ = linearise(camera, x_z, y_z, inverse_z)
    a, b, c, det = project_shape(lanes, scratch, covars, t0, t1)
    eps = camera[EPS2D]
    blurred_a, blurred_c = a + eps, c + eps
    blurred_det = det + eps * (a + c) + eps * eps
    solid = in_front & (blurred_det > ZERO)
    safe_det = select(solid, blurred_det, ONE)
    compensation = splat(lanes, ONE)
    if antialiased:
        compensation = square_root(maximum(det / safe_det, ZERO))
    peak = opacity * compensation
    scale = -HALF * LOG2E / safe_det
    qa, qb, qc = scale * blurred_c, -TWO * scale * b, scale * blurred_a
    u, v = fma(camera[FX], x_z, camera[CX]), fma(camera[FY], y_z, camera[CY])

    # alpha >= 1/255 inside an ellipse whose half width is sqrt(2 ln(255 peak) xx); the margin covers rounding
    cut = LN4 * maximum(log2(maximum(peak, VISIBLE)) + LOG2_255, ZERO)
    reach_x = square_root(cut * maximum(blurred_a, ZERO))
    reach_y = square_root(cut * maximum(blurred_c, ZERO))
    radius_x, radius_y = ceil(reach_x), ceil(reach_y)
    seen = solid & (peak >= VISIBLE) & (maximum(radius_x, radius_y) > camera[RADIUS_CLIP])
    seen = seen & (u + radius_x > ZERO) & (u - radius_x < camera[WIDTH])
    seen = seen & (v + radius_y > ZERO) & (v - radius_y < camera[HEIGHT])
    margin = f32(1.0 + 1e-5)
    box_x, any_x = pixel_interval(u, reach_x * margin + f32(1e-3), camera[WIDTH])
    box_y, any_y = pixel_interval(v, reach_y * margin + f32(1e-3), camera[HEIGHT])
    drawn = seen & any_x & any_y

    if not_finite(px + py + depth) or not_finite(a + b + c + opacity) or not_finite(blurred_det + u + v):
        bad |= BAD_VALUE
    red, green, blue = depth, depth, depth  # without harmonics: the channel of the modes D and ED
    if degree >= 0:
        dx, dy, dz, _ = view_direction(camera, x, y, z)
        stride = colors.size // opacities.size
        red, green, blue = shade(lanes, degree, (dx, dy, dz), colors, stride, first, scratch)
        if not_finite(red + green + blue):
            bad |= BAD_VALUE
        red, green, blue = maximum(red, ZERO), maximum(green, ZERO), maximum(blue, ZERO)

    empty = pack_int16(splat(lanes, ONE), ZERO)
    box_x, box_y = select(drawn, box_x, empty), select(drawn, box_y, empty)
    out = S_COLOR * width  # the inputs are used up: their scratch holds the records of the group
    store(scratch, out + rec.MX * width, u)
    store(scratch, out + rec.MY * width, v)
    store(scratch, out + rec.QA * width, qa)
    store(scratch, out + rec.QB * width, qb)
    store(scratch, out + rec.QC * width, qc)
    store(scratch, out + rec.OPACITY * width, peak)
    store(scratch, out + rec.COLOR * width, red)
    store(scratch, out + (rec.COLOR + 1) * width, green)
    store(scratch, out + (rec.COLOR + 2) * width, blue)
    store(scratch, out + (rec.COLOR + 3) * width, depth)
    store(scratch, out + rec.RATIO * width, exp2(maximum(TWO * qc, f32(-126.0))))
    store(scratch, out + rec.BOX_X * width, box_x)
    store(scratch, out + rec.BOX_Y * width, box_y)
    store(scratch, out + rec.EXTRA * width, splat(lanes, ZERO))
    store(scratch, out + rec.COMPENSATION * width, compensation)
    store(scratch, out + rec.DEPTH * width, depth)
    for j in range(0, SIZE, width):
        transpose(lanes, scratch, out + j * width, width, records, first * SIZE + j, SIZE)
    store(depths, first, depth)
    store(keys, first, select(drawn, depth, f32(np.inf)))
    most = f32(2.0**30)
    radius_x, radius_y = select(seen, minimum(radius_x, most), ZERO), select(seen, minimum(radius_y, most), ZERO)
    store_pairs(radii, 2 * first, int_bits(radius_x), int_bits(radius_y))
    store_pairs(means2d, 2 * first, u, v)
    return bad


@kernel
def project(
    counter, lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased,
    records, words, means2d, depths, keys, radii, spans, shared, totals,
):  # fmt: skip
    """Projects all Gaussians, chunk by chunk.

    Args:
        counter: Of the chunks that were taken.
        lanes: Lane width as a type.
        camera: [CAMERA_SIZE].
        means, covars, quats, scales, opacities, colors: Flat float32 arrays; covars, or quats and scales, may be None.
        degree: Of the spherical harmonics in colors; -1: there are none.
        antialiased: Whether the opacity is compensated for the blur.
        records, words: [N * 16] float32 and the same memory as int32, are written.
        means2d, depths: [N * 2], [N], are written.
        keys: [N], depth, or infinity where a Gaussian is not drawn, is written.
        radii: [N * 2] int32 in float32, is written.
        spans: [N] int64, is written: the tiles of those drawn (see `tiles.tile_lists`).
        shared: [N] int32, is written: those in several tiles, chunk by chunk.
        totals: [chunks, 4] int64, is written: what is wrong (BAD_*), Gaussians drawn, extra gradient rows, and number
            of those in several tiles.
    """
    count, width = opacities.shape[0], len(lanes)
    scratch = np.empty(SCRATCH * width, np.float32)
    while True:
        chunk = take(counter)
        if chunk >= totals.shape[0]:
            return
        bad, i, end = 0, chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        while i < whole_groups(count, chunk, width):
            bad |= project_group(
                lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased, i, scratch,
                records, means2d, depths, keys, radii,
            )  # fmt: skip
            i += width
        while i < end:
            bad |= project_group(
                (0,), camera, means, covars, quats, scales, opacities, colors, degree, antialiased, i, scratch,
                records, means2d, depths, keys, radii,
            )  # fmt: skip
            i += 1
        drawn, extra, several = 0, 0, chunk * CHUNK
        for i in range(chunk * CHUNK, end):
            box_x, box_y = get(words, i * SIZE + rec.BOX_X), get(words, i * SIZE + rec.BOX_Y)
            first_x, last_x, first_y, last_y = rec.tile_box(box_x, box_y)
            if last_x < first_x:
                continue
            spans[i] = first_x | (last_x << 16) | (first_y << 32) | (last_y << 48)
            drawn += 1
            more = (last_x - first_x + 1) * (last_y - first_y + 1) - 1
            if more > 0:
                words[i * SIZE + rec.EXTRA] = extra
                shared[several] = i
                extra += more
                several += 1
        totals[chunk, 0], totals[chunk, 1] = bad, drawn
        totals[chunk, 2], totals[chunk, 3] = extra, several - chunk * CHUNK
