"""Light on what is visible: skin, eyes, teeth, tongue and cloth per sub-pixel, hair per strand point.

All colours here are linear. Diffuse light wraps around the terminator, furthest in red, as it does in skin (a cheap
stand-in for subsurface scattering: the wrap of each channel is a material constant). Highlights are Blinn-Phong
with Schlick's Fresnel term; hair follows Kajiya and Kay 1989 with two shifted lobes (Marschner et al. 2003 in spirit).
"""

from __future__ import annotations

import numba
import numpy as np

# Columns of a material row.
WRAP_R, WRAP_G, WRAP_B, SPECULAR, GLOSS, COAT, COAT_GLOSS, DETAIL, SHEEN = range(9)


@numba.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _bilinear(texture, x, y, out):
    height, width, channels = texture.shape
    x = min(max(x - np.float32(0.5), np.float32(0.0)), np.float32(width - 1.001))
    y = min(max(y - np.float32(0.5), np.float32(0.0)), np.float32(height - 1.001))
    ix, iy = int(x), int(y)
    fx, fy = x - np.float32(ix), y - np.float32(iy)
    w11 = fx * fy
    w10, w01 = fx - w11, fy - w11
    w00 = np.float32(1.0) - fx - w01
    for c in range(channels):
        out[c] = (
            texture[iy, ix, c] * w00
            + texture[iy, ix + 1, c] * w10
            + texture[iy + 1, ix, c] * w01
            + texture[iy + 1, ix + 1, c] * w11
        )


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade_surface(
    index, points, faces, positions, normals, ambient, shadow, corner_texels, material_of_face, materials, texture,
    detail_rotation, eye_world, light_directions, light_colors, light_gloss, image,
):  # fmt: skip
    """Fills `image` [H, W, 3] (linear) wherever `index` [H, W] names a triangle.

    Args:
        points: Projected vertices (x, y, depth) [V, 3]; `positions` and `normals` are in the world [V, 3].
        ambient: Irradiance of the surroundings at each vertex, occlusion included [V, 3].
        shadow: Part of each lamp that reaches each vertex [V, L].
        corner_texels: Texture position of each face corner in texels [F, 3, 2].
        texture: Linear albedo (3), bump normal in template axes (3), specular strength (1) [H, W, 7].
        detail_rotation: Rotation that takes template axes to the world for the bump normal [3, 3].
        light_directions: Unit vectors towards the lamps [L, 3]; `light_colors` [L, 3].
        light_gloss: Factor on the highlight's exponent for each lamp, below 1 for a large lamp [L].
    """
    height, width = index.shape
    one, half, zero = np.float32(1.0), np.float32(0.5), np.float32(0.0)
    num_lights = light_directions.shape[0]
    texel = np.empty(7, np.float32)
    for y in range(height):
        for x in range(width):
            f = index[y, x]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            px, py = np.float32(x) + half, np.float32(y) + half
            ax, ay, bx, by, cx, cy = (
                points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1],
            )  # fmt: skip
            u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) / points[a, 2]
            v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) / points[b, 2]
            w = ((ax - px) * (by - py) - (bx - px) * (ay - py)) / points[c, 2]
            total = one / (u + v + w)
            u, v, w = u * total, v * total, w * total
            _bilinear(
                texture,
                u * corner_texels[f, 0, 0] + v * corner_texels[f, 1, 0] + w * corner_texels[f, 2, 0],
                u * corner_texels[f, 0, 1] + v * corner_texels[f, 1, 1] + w * corner_texels[f, 2, 1],
                texel,
            )
            m = materials[material_of_face[f]]
            # Direction to the eye and the smooth normal, turned towards the eye.
            ex = eye_world[0] - (u * positions[a, 0] + v * positions[b, 0] + w * positions[c, 0])
            ey = eye_world[1] - (u * positions[a, 1] + v * positions[b, 1] + w * positions[c, 1])
            ez = eye_world[2] - (u * positions[a, 2] + v * positions[b, 2] + w * positions[c, 2])
            r = one / np.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex * r, ey * r, ez * r
            sx = u * normals[a, 0] + v * normals[b, 0] + w * normals[c, 0]
            sy = u * normals[a, 1] + v * normals[b, 1] + w * normals[c, 1]
            sz = u * normals[a, 2] + v * normals[b, 2] + w * normals[c, 2]
            r = one / np.sqrt(sx * sx + sy * sy + sz * sz + np.float32(1e-12))
            sx, sy, sz = sx * r, sy * r, sz * r
            d0, d1, d2 = texel[3] * m[DETAIL], texel[4] * m[DETAIL], texel[5] * m[DETAIL]
            nx = sx + detail_rotation[0, 0] * d0 + detail_rotation[0, 1] * d1 + detail_rotation[0, 2] * d2
            ny = sy + detail_rotation[1, 0] * d0 + detail_rotation[1, 1] * d1 + detail_rotation[1, 2] * d2
            nz = sz + detail_rotation[2, 0] * d0 + detail_rotation[2, 1] * d1 + detail_rotation[2, 2] * d2
            r = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
            nx, ny, nz = nx * r, ny * r, nz * r
            facing = max(nx * ex + ny * ey + nz * ez, zero)
            rim = (one - facing) * (one - facing)
            rim = rim * rim * (one - facing)
            red, green, blue, gleam = zero, zero, zero, zero
            spec_r, spec_g, spec_b = zero, zero, zero
            for k in range(num_lights):
                lx, ly, lz = light_directions[k, 0], light_directions[k, 1], light_directions[k, 2]
                reach = u * shadow[a, k] + v * shadow[b, k] + w * shadow[c, k]
                cosine = nx * lx + ny * ly + nz * lz
                red += light_colors[k, 0] * reach * max((cosine + m[WRAP_R]) / (one + m[WRAP_R]), zero)
                green += light_colors[k, 1] * reach * max((cosine + m[WRAP_G]) / (one + m[WRAP_G]), zero)
                blue += light_colors[k, 2] * reach * max((cosine + m[WRAP_B]) / (one + m[WRAP_B]), zero)
                if cosine <= zero:
                    continue
                hx, hy, hz = lx + ex, ly + ey, lz + ez
                r = one / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
                gloss = m[GLOSS] * light_gloss[k]
                lobe = (nx * hx + ny * hy + nz * hz) * r
                lobe = lobe**gloss if lobe > half else zero
                gleam = lobe * (gloss + 8) * np.float32(0.04) * m[SPECULAR] * texel[6] * (np.float32(0.04) + rim) * 25
                if m[COAT] > zero:
                    gloss = m[COAT_GLOSS] * light_gloss[k]
                    lobe = (sx * hx + sy * hy + sz * hz) * r
                    gleam += lobe**gloss * m[COAT] if lobe > half else zero
                gleam *= reach * min(cosine * 4, one)
                spec_r += light_colors[k, 0] * gleam
                spec_g += light_colors[k, 1] * gleam
                spec_b += light_colors[k, 2] * gleam
            mirror = m[SHEEN] * (np.float32(0.3) + rim * 3)
            amb_r = u * ambient[a, 0] + v * ambient[b, 0] + w * ambient[c, 0]
            amb_g = u * ambient[a, 1] + v * ambient[b, 1] + w * ambient[c, 1]
            amb_b = u * ambient[a, 2] + v * ambient[b, 2] + w * ambient[c, 2]
            image[y, x, 0] = texel[0] * (red + amb_r) + spec_r + mirror * amb_r
            image[y, x, 1] = texel[1] * (green + amb_g) + spec_g + mirror * amb_g
            image[y, x, 2] = texel[2] * (blue + amb_b) + spec_b + mirror * amb_b


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade_strands(
    points, tangents, colors, ambient, shadow, gloss, eye_world, light_directions, light_colors, ambient_color, out
):
    """Lights strand points (Kajiya-Kay diffuse plus a white and a tinted highlight) into out [M, 3], linear.

    Args:
        points, tangents: World position and unit direction (root to tip) [M, 3].
        colors: Linear hair colour [M, 3].
        ambient: Share of the surroundings that reaches the point [M].
        shadow: Share of each lamp that reaches the point [M, L].
        gloss: Strength of the highlights [M].
        ambient_color: Colour of the surroundings [3].
    """
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    shift = np.float32(0.09)
    for i in range(points.shape[0]):
        ex, ey, ez = eye_world[0] - points[i, 0], eye_world[1] - points[i, 1], eye_world[2] - points[i, 2]
        r = one / np.sqrt(ex * ex + ey * ey + ez * ez)
        ex, ey, ez = ex * r, ey * r, ez * r
        tx, ty, tz = tangents[i, 0], tangents[i, 1], tangents[i, 2]
        te = tx * ex + ty * ey + tz * ez
        sin_e = np.sqrt(max(one - te * te, zero))
        light_r = ambient_color[0] * ambient[i]
        light_g = ambient_color[1] * ambient[i]
        light_b = ambient_color[2] * ambient[i]
        white_r, white_g, white_b = zero, zero, zero
        for k in range(light_directions.shape[0]):
            reach = shadow[i, k]
            if reach < np.float32(0.01):
                continue
            tl = tx * light_directions[k, 0] + ty * light_directions[k, 1] + tz * light_directions[k, 2]
            sin_l = np.sqrt(max(one - tl * tl, zero))
            # cos of the angle between the reflected cone and the eye; the two lobes tilt to root and to tip.
            tl_root, tl_tip = tl + shift, tl - shift
            primary = sin_l * sin_e - tl_root * te
            secondary = sin_l * sin_e - tl_tip * te
            # Below one half both lobes are next to nothing, and most strands are there: spare the powers.
            primary = primary ** np.float32(60.0) * gloss[i] * reach if primary > half else zero
            secondary = secondary ** np.float32(16.0) * gloss[i] * reach * np.float32(1.8) if secondary > half else zero
            # Fur has no normal: light from behind is held back by how far it is opposite to the eye.
            back = ex * light_directions[k, 0] + ey * light_directions[k, 1] + ez * light_directions[k, 2]
            diffuse = reach * sin_l * (np.float32(0.75) + np.float32(0.25) * back) * np.float32(0.7) + secondary
            light_r += light_colors[k, 0] * diffuse
            light_g += light_colors[k, 1] * diffuse
            light_b += light_colors[k, 2] * diffuse
            white_r += light_colors[k, 0] * primary * np.float32(0.07)
            white_g += light_colors[k, 1] * primary * np.float32(0.07)
            white_b += light_colors[k, 2] * primary * np.float32(0.07)
        out[i, 0] = colors[i, 0] * light_r + white_r
        out[i, 1] = colors[i, 1] * light_g + white_g
        out[i, 2] = colors[i, 2] * light_b + white_b
