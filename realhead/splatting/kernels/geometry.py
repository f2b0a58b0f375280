"""The camera as kernels read it, and what projection and its backward pass both need of EWA splatting.

EWA splatting (Zwicker et al. 2001) with gsplat's conventions: the perspective is linearised at the mean, clamped to
15 % outside the image. With T the 2 x 3 matrix of that linearisation times the camera rotation, with rows t0 and t1,
the projected covariance of C is T C T^T. Everything works on W Gaussians at once, one in each lane.
"""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels.jit import inlined
from realhead.splatting.kernels.simd import fma, maximum, minimum, select, square_root

f32 = np.float32
ZERO, ONE, TWO, HALF = f32(0.0), f32(1.0), f32(2.0), f32(0.5)
# Where the words of a camera lie in its array: rotation, translation, centre, intrinsics, clamps of x / z and y / z
ROTATION, TRANSLATION, CENTRE, FX, FY, CX, CY, X_LOW, X_HIGH, Y_LOW, Y_HIGH = 0, 9, 12, 15, 16, 17, 18, 19, 20, 21, 22
NEAR, FAR, EPS2D, RADIUS_CLIP, WIDTH, HEIGHT = 23, 24, 25, 26, 27, 28
CAMERA_SIZE = 29


@inlined
def dot(a, b):
    """Scalar product of two triples."""
    return fma(a[0], b[0], fma(a[1], b[1], a[2] * b[2]))


@inlined
def scaled_sum(a, u, b, v):
    """a u + b v of two triples."""
    return fma(a, u[0], b * v[0]), fma(a, u[1], b * v[1]), fma(a, u[2], b * v[2])


@inlined
def to_camera(camera, x, y, z):
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
def view_direction(camera, x, y, z):
    """Unit vector from the camera to the Gaussian, and the inverse distance."""
    dx, dy, dz = x - camera[CENTRE], y - camera[CENTRE + 1], z - camera[CENTRE + 2]
    inverse = ONE / square_root(fma(dx, dx, fma(dy, dy, dz * dz)))
    return dx * inverse, dy * inverse, dz * inverse, inverse
