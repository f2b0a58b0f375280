"""Projection of 3D Gaussians into one camera, with their colours: W Gaussians at a time, one in each lane.

See `geometry` for the conventions and `shapes` for the covariances; here these become records (see `records`), boxes of
pixels and lists of what is drawn.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.geometry import (
    CX,
    CY,
    EPS2D,
    FX,
    FY,
    HALF,
    HEIGHT,
    ONE,
    RADIUS_CLIP,
    TWO,
    WIDTH,
    ZERO,
    linearise,
    to_camera,
    view_direction,
)  # fmt: skip
from realhead.splatting.kernels.harmonics import shade
from realhead.splatting.kernels.jit import inlined, inner
from realhead.splatting.kernels.memory import any_lane, get, load, not_finite, splat, store, store_pairs, transpose
from realhead.splatting.kernels.parallel import parallel, take
from realhead.splatting.kernels.scratch import FORWARD_SIZE, S_COLOR, S_MEAN, read_rows, whole_groups
from realhead.splatting.kernels.shapes import project_shape, read_shape
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
LOG2E = f32(1.4426950408889634)
LN4 = f32(1.3862943611198906)
LOG2_255 = f32(7.994353436858858)
VISIBLE = f32(1 / 255)
SIZE, CHUNK = rec.SIZE, rec.CHUNK
BAD_VALUE, BAD_OPACITY, BAD_QUATERNION = 1, 2, 4


@inlined
def pixel_interval(centre, reach, size):
    """Pixels whose centre lies within `reach`, clipped to the image and packed; and whether there are any."""
    low = maximum(ceil(centre - reach - HALF), ZERO)
    high = minimum(floor(centre + reach - HALF), size - ONE)
    drawn = low <= high
    return pack_int16(select(drawn, low, ONE), select(drawn, high, ZERO)), drawn


@inlined
def extents(lanes, camera, u, v, a, c, peak, solid):
    """Where Gaussians are seen: alpha >= 1/255 inside an ellipse whose half width is sqrt(2 ln(255 peak) xx).

    Args:
        u, v: Projected means.
        a, c: Diagonal of the blurred covariance.
        peak: Greatest alpha.
        solid: Whether they can be drawn at all.

    Returns:
        Radii in whole pixels, 0 where not seen; and packed boxes, empty where not drawn.
    """
    cut = LN4 * maximum(log2(maximum(peak, VISIBLE)) + LOG2_255, ZERO)
    reach_x = square_root(cut * maximum(a, ZERO))
    reach_y = square_root(cut * maximum(c, ZERO))
    radius_x, radius_y = ceil(reach_x), ceil(reach_y)
    seen = solid & (peak >= VISIBLE) & (maximum(radius_x, radius_y) > camera[RADIUS_CLIP])
    seen = seen & (u + radius_x > ZERO) & (u - radius_x < camera[WIDTH])
    seen = seen & (v + radius_y > ZERO) & (v - radius_y < camera[HEIGHT])
    margin, little = f32(1.0 + 1e-5), f32(1e-3)  # cover rounding
    box_x, any_x = pixel_interval(u, reach_x * margin + little, camera[WIDTH])
    box_y, any_y = pixel_interval(v, reach_y * margin + little, camera[HEIGHT])
    drawn = seen & any_x & any_y
    empty = pack_int16(splat(lanes, ONE), ZERO)
    most = f32(2.0**30)
    radii = select(seen, minimum(radius_x, most), ZERO), select(seen, minimum(radius_y, most), ZERO)
    return radii, select(drawn, box_x, empty), select(drawn, box_y, empty)


@inlined
def write_records(lanes, scratch, records, first, mean, conic, peak, color, box_x, box_y, compensation):
    """Writes the records of a group by way of the scratch, whose inputs are used up."""
    width = len(lanes)
    out = S_COLOR * width
    store(scratch, out + rec.MX * width, mean[0])
    store(scratch, out + rec.MY * width, mean[1])
    store(scratch, out + rec.QA * width, conic[0])
    store(scratch, out + rec.QB * width, conic[1])
    store(scratch, out + rec.QC * width, conic[2])
    store(scratch, out + rec.OPACITY * width, peak)
    for c in range(4):
        store(scratch, out + (rec.COLOR + c) * width, color[c])
    store(scratch, out + rec.RATIO * width, exp2(maximum(TWO * conic[2], f32(-126.0))))
    store(scratch, out + rec.BOX_X * width, box_x)
    store(scratch, out + rec.BOX_Y * width, box_y)
    store(scratch, out + rec.EXTRA * width, splat(lanes, ZERO))
    store(scratch, out + rec.COMPENSATION * width, compensation)
    store(scratch, out + rec.DEPTH * width, color[3])
    for j in range(0, SIZE, width):
        transpose(lanes, scratch, out + j * width, width, records, first * SIZE + j, SIZE)


@inlined
def group_colors(lanes, camera, x, y, z, depth, colors, degree, count, first, scratch):
    """Three colours and the depth of W Gaussians, and whether a colour is not finite."""
    if degree < 0:  # no harmonics: the first of these is the channel of the modes D and ED
        return (depth, depth, depth, depth), False
    dx, dy, dz, _ = view_direction(camera, x, y, z)
    red, green, blue = shade(lanes, degree, (dx, dy, dz), colors, colors.size // count, first, scratch)
    odd = not_finite(red + green + blue)
    return (maximum(red, ZERO), maximum(green, ZERO), maximum(blue, ZERO), depth), odd


@inner
def project_group(
    lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased, first, scratch,
    records, means2d, depths, radii,
):  # fmt: skip
    """Projects the W Gaussians from `first` on; returns what is wrong with them (bits BAD_*)."""
    width, bad = len(lanes), 0
    read_rows(lanes, means, first, 3, 3, scratch, S_MEAN)
    if read_shape(lanes, covars, quats, scales, first, scratch):
        bad |= BAD_QUATERNION
    x, y, z = load(lanes, scratch, 0), load(lanes, scratch, width), load(lanes, scratch, 2 * width)
    opacity = load(lanes, opacities, first)
    if any_lane(opacity < ZERO) or any_lane(opacity > ONE):
        bad |= BAD_OPACITY
    px, py, depth, in_front, pz = to_camera(camera, x, y, z)
    inverse_z = ONE / pz
    x_z, y_z = px * inverse_z, py * inverse_z
    t0, t1, _, _ = linearise(camera, x_z, y_z, inverse_z)
    a, b, c, det = project_shape(lanes, scratch, covars, t0, t1)
    eps = camera[EPS2D]
    blurred_a, blurred_c, blurred_det = a + eps, c + eps, det + eps * (a + c) + eps * eps
    solid = in_front & (blurred_det > ZERO) & (blurred_a > ZERO)
    safe_det = select(solid, blurred_det, ONE)
    compensation = splat(lanes, ONE)
    if antialiased:
        compensation = square_root(maximum(det / safe_det, ZERO))
    peak, scale = opacity * compensation, -HALF * LOG2E / safe_det
    conic = scale * blurred_c, -TWO * scale * b, scale * blurred_a
    u, v = fma(camera[FX], x_z, camera[CX]), fma(camera[FY], y_z, camera[CY])
    radius, box_x, box_y = extents(lanes, camera, u, v, blurred_a, blurred_c, peak, solid)
    color, odd = group_colors(lanes, camera, x, y, z, depth, colors, degree, opacities.size, first, scratch)
    if odd or not_finite(px + py + depth) or not_finite(a + b + c + opacity) or not_finite(blurred_det + u + v):
        bad |= BAD_VALUE
    write_records(lanes, scratch, records, first, (u, v), conic, peak, color, box_x, box_y, compensation)
    store(depths, first, depth)
    store_pairs(radii, 2 * first, int_bits(radius[0]), int_bits(radius[1]))
    store_pairs(means2d, 2 * first, u, v)
    return bad


@inlined
def list_chunk(words, chunk, end, spans, shared):
    """Notes the tiles of the Gaussians of a chunk, and numbers the extra gradient rows of those in several.

    Returns:
        How many are drawn, how many extra rows they need, and how many are in several tiles.
    """
    drawn, extra, several = 0, 0, chunk * CHUNK
    for i in range(chunk * CHUNK, end):
        box_x, box_y = get(words, i * SIZE + rec.BOX_X), get(words, i * SIZE + rec.BOX_Y)
        first_x, last_x, first_y, last_y = rec.tile_box(box_x, box_y)
        spans[i] = first_x | (last_x << 16) | (first_y << 32) | (last_y << 48)
        if last_x < first_x:
            continue
        drawn += 1
        more = (last_x - first_x + 1) * (last_y - first_y + 1) - 1
        if more > 0:
            words[i * SIZE + rec.EXTRA] = extra
            shared[several] = i
            extra += more
            several += 1
    return drawn, extra, several - chunk * CHUNK


@parallel
def project(
    counter, lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased,
    records, words, means2d, depths, radii, spans, shared, totals,
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
        radii: [N * 2] int32 in float32, is written.
        spans: [N] int64, is written: the tiles of each (see `kernels.tiles`), none of those not drawn.
        shared: [N] int32, is written: those in several tiles, chunk by chunk.
        totals: [chunks, 4] int64, is written: what is wrong (BAD_*), Gaussians drawn, extra gradient rows, and number
            of those in several tiles.
    """
    count, width = opacities.shape[0], len(lanes)
    scratch = np.empty(FORWARD_SIZE * width, np.float32)
    while True:
        chunk = take(counter)
        if chunk >= totals.shape[0]:
            return
        bad, i, end = 0, chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        while i < whole_groups(count, chunk, width):
            bad |= project_group(
                lanes, camera, means, covars, quats, scales, opacities, colors, degree, antialiased, i, scratch,
                records, means2d, depths, radii,
            )  # fmt: skip
            i += width
        while i < end:
            bad |= project_group(
                (0,), camera, means, covars, quats, scales, opacities, colors, degree, antialiased, i, scratch,
                records, means2d, depths, radii,
            )  # fmt: skip
            i += 1
        totals[chunk, 0] = bad
        totals[chunk, 1], totals[chunk, 2], totals[chunk, 3] = list_chunk(words, chunk, end, spans, shared)
