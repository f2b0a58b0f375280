"""Visibility for the generator's renderer: which triangle, or which hair, does every sub-pixel see?

Works on points already projected to (x, y, depth) in sub-pixel units, camera axes as OpenCV. Triangles are drawn first
into a depth and an index buffer, then strands as camera-facing ribbons that write their own (already lit) colour. The
surface is shaded afterwards, only where it is still visible (`shading.py`): that is what makes it fast.
"""

from __future__ import annotations

import numba
import numpy as np

HAIR = -2
"""Value of the index buffer where a strand is nearest; -1 is background."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def project(points, K, cam_from_world, scale, out):
    """Projects world points [V, 3] to (x, y) in sub-pixels (`scale` per pixel) and camera depth, into out [V, 3]."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        cx = cam_from_world[0, 0] * x + cam_from_world[0, 1] * y + cam_from_world[0, 2] * z + cam_from_world[0, 3]
        cy = cam_from_world[1, 0] * x + cam_from_world[1, 1] * y + cam_from_world[1, 2] * z + cam_from_world[1, 3]
        cz = cam_from_world[2, 0] * x + cam_from_world[2, 1] * y + cam_from_world[2, 2] * z + cam_from_world[2, 3]
        inverse = np.float32(1.0) / max(cz, np.float32(1e-4))
        out[i, 0] = (K[0, 0] * cx * inverse + K[0, 2]) * scale
        out[i, 1] = (K[1, 1] * cy * inverse + K[1, 2]) * scale
        out[i, 2] = cz


@numba.njit(cache=True, nogil=True, fastmath=True)
def draw_triangles(points, faces, depth, index):
    """Z-buffers triangles, both windings. `depth` (inf where empty) and `index` (-1) [H, W] are updated in place.

    Depth is interpolated as 1/z, which is linear on the screen.
    """
    height, width = depth.shape
    one, half = np.float32(1.0), np.float32(0.5)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if min(az, bz, cz) <= np.float32(1e-3):
            continue
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < np.float32(1e-9):
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - half))), min(width - 1, int(np.floor(max(ax, bx, cx) - half)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - half))), min(height - 1, int(np.floor(max(ay, by, cy) - half)))
        if x1 < x0 or y1 < y0:
            continue
        inverse = one / area
        ia, ib, ic = one / az, one / bz, one / cz
        ux, vx = (by - cy) * inverse, (cy - ay) * inverse  # change of barycentric u, v for one step in x
        for y in range(y0, y1 + 1):
            py = np.float32(y) + half
            px = np.float32(x0) + half
            u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) * inverse
            v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) * inverse
            for x in range(x0, x1 + 1):
                w = one - u - v
                if u >= 0 and v >= 0 and w >= 0:
                    z = one / (u * ia + v * ib + w * ic)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        index[y, x] = f
                u += ux
                v += vx


@numba.njit(cache=True, nogil=True, fastmath=True)
def draw_ribbons(points, colors, widths, starts, order, focal, depth, index, image):
    """Draws strands as ribbons that face the camera, with a depth test.

    A ribbon narrower than a sub-pixel covers it with a probability equal to its width (a sequence of numbers that
    starts from the segment's index decides, so the picture is the same every time): thin ends stay thin after the
    average over sub-pixels. A segment whose ends both lie behind what is already drawn is skipped; this pays off when
    near strands come first.

    Args:
        points: Projected strand points (x, y, depth) [M, 3].
        colors: Lit linear colour at each point [M, 3].
        widths: Ribbon width at each point, metres [M].
        starts: First point of each strand and, as last entry, M [S + 1].
        order: Strands in drawing order [S].
        focal: Focal length in sub-pixels.
        depth: Depth buffer [H, W], updated.
        index: Index buffer [H, W], set to HAIR where a strand wins.
        image: Linear colour [H, W, 3], written where a strand wins.
    """
    height, width = depth.shape
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    right, bottom = np.float32(width - 2), np.float32(height - 2)
    slack = np.float32(0.0015)
    for s in order:
        for i in range(starts[s], starts[s + 1] - 1):
            ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
            bx, by, bz = points[i + 1, 0], points[i + 1, 1], points[i + 1, 2]
            if min(az, bz) <= np.float32(1e-3):
                continue
            if min(ax, bx) < 1 or min(ay, by) < 1 or max(ax, bx) >= right or max(ay, by) >= bottom:
                if max(ax, bx) < 0 or max(ay, by) < 0 or min(ax, bx) >= width or min(ay, by) >= height:
                    continue
                ax, bx = min(max(ax, one), right - one), min(max(bx, one), right - one)
                ay, by = min(max(ay, one), bottom - one), min(max(by, one), bottom - one)
            hidden = az > depth[int(ay), int(ax)] + slack and bz > depth[int(by), int(bx)] + slack
            if hidden and min(az, bz) > depth[int((ay + by) * half), int((ax + bx) * half)] + slack:
                continue
            dx, dy = bx - ax, by - ay
            steep = abs(dy) > abs(dx)
            length = max(abs(dx), abs(dy))
            steps = max(1, int(np.ceil(length)))
            share = one / np.float32(steps)
            # Width across the minor axis: a slanted line cuts it longer than its true width.
            slant = np.sqrt(dx * dx + dy * dy) / length if length > np.float32(1e-6) else one
            span, end = widths[i] * focal / az * slant, widths[i + 1] * focal / bz * slant
            grow = (end - span) * share
            x, y, z = ax + half * share * dx, ay + half * share * dy, az + half * share * (bz - az)
            dx, dy, dz = dx * share, dy * share, (bz - az) * share
            chance = np.uint32(i * 2654435761 + 97)
            for k in range(steps):
                # Numba widens 32-bit products to 64 bits: the cast brings back the wrap-around.
                chance = np.uint32(chance * np.uint32(1664525) + np.uint32(1013904223))
                count = int(span + np.float32(chance >> np.uint32(8)) * np.float32(1.0 / 16777216.0))
                if count > 0:
                    t = (np.float32(k) + half) * share
                    low = half * np.float32(count - 1)
                    for j in range(count):
                        offset = np.float32(j) - low
                        px, py = int(x + (offset if steep else zero)), int(y + (zero if steep else offset))
                        if z < depth[py, px]:
                            depth[py, px] = z
                            index[py, px] = HAIR
                            for c in range(3):
                                image[py, px, c] = colors[i, c] * (one - t) + colors[i + 1, c] * t
                x += dx
                y += dy
                z += dz
                span += grow
