"""The generator's renderer: a lit scene and a camera give a picture on white and its mask.

`light_scene` does the work that all cameras of a timestep share (normals, shadows, surroundings), `render` the rest.
Everything runs on one core without the GIL; several pictures at a time come from several processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from realhead.capture.openheads.lighting import Lighting
from realhead.capture.openheads.occlusion import reach
from realhead.capture.openheads.rasterize import draw_ribbons, draw_triangles, project
from realhead.capture.openheads.shading import shade_strands, shade_surface

_BOUNCE = np.array([0.24, 0.13, 0.11], np.float32)


@dataclass(frozen=True)
class Surface:
    """What a person's triangles look like; fixed over all timesteps.

    faces int32 [F, 3]; corner_texels float32 [F, 3, 2]; material_of_face int32 [F]; materials float32 [P, 9] (columns
    in `shading.py`); texture float32 [H, W, 7] (linear albedo, bump normal, specular strength).
    """

    faces: np.ndarray
    corner_texels: np.ndarray
    material_of_face: np.ndarray
    materials: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True)
class Strands:
    """Hair at one timestep: points [M, 3] in the world, colors [M, 3] linear, widths [M] metres, starts int32 [S + 1],
    gloss [M].
    """

    points: np.ndarray
    colors: np.ndarray
    widths: np.ndarray
    starts: np.ndarray
    gloss: np.ndarray


@dataclass(frozen=True)
class LitScene:
    """Everything `render` needs besides a camera."""

    surface: Surface
    vertices: np.ndarray
    normals: np.ndarray
    ambient: np.ndarray
    shadow: np.ndarray
    strands: Strands
    strand_tangents: np.ndarray
    strand_ambient: np.ndarray
    strand_shadow: np.ndarray
    detail_rotation: np.ndarray
    lighting: Lighting


@numba.njit(cache=True, nogil=True, fastmath=True)
def vertex_normals(vertices, faces):
    """Area-weighted unit normals, float32 [V, 3]."""
    out = np.zeros(vertices.shape, np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        scale = np.float32(1.0) / max(length, np.float32(1e-15))  # a vertex of empty triangles keeps a zero normal
        for k in range(3):
            out[i, k] *= scale
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _strand_tangents(points, starts, widths):
    """Unit directions [M, 3] and the area that each point stands for [M]."""
    tangents = np.zeros(points.shape, np.float32)
    area = np.zeros(points.shape[0], np.float32)
    for s in range(starts.shape[0] - 1):
        for i in range(starts[s], starts[s + 1]):
            a, b = max(i - 1, starts[s]), min(i + 1, starts[s + 1] - 1)
            dx, dy, dz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz) + np.float32(1e-12)
            tangents[i, 0], tangents[i, 1], tangents[i, 2] = dx / length, dy / length, dz / length
            area[i] = length * np.float32(0.5) * widths[i]
    return tangents, area


def light_scene(
    surface: Surface, vertices: np.ndarray, strands: Strands, lighting: Lighting, detail_rotation: np.ndarray,
    strand_ambient: np.ndarray | None = None,
) -> LitScene:  # fmt: skip
    """Computes what all cameras of a timestep share.

    Args:
        surface: The person's surface.
        vertices: World positions, float32 [V, 3].
        strands: Hair at this timestep.
        lighting: Lamps and surroundings.
        detail_rotation: Rotation from template axes to the world, for the bump normals [3, 3].
        strand_ambient: Surroundings at the strand points of an earlier timestep (they hardly change; finding them is
            what costs most) [M].
    """
    vertices = np.ascontiguousarray(vertices, np.float32)
    normals = vertex_normals(vertices, surface.faces)
    tangents, area = _strand_tangents(strands.points, strands.starts, strands.widths)
    # One strand in three stands for all of them in the surroundings' maps.
    sparse = np.arange(0, len(strands.points), 3)
    ambient = np.zeros((len(vertices), 3), np.float32)
    thin = np.zeros(len(sparse), np.float32)
    hair, hair_area = strands.points[sparse], area[sparse] * 3
    share = np.float32(4.0 / len(lighting.around))
    for direction, radiance in zip(lighting.around, lighting.radiance, strict=True):
        seen, seen_hair = reach(
            vertices, normals, surface.faces, hair, hair_area, direction, 96, 1, 0.7, strand_ambient is None
        )
        cosine = np.clip(normals @ direction * 0.85 + 0.15, 0, 1)
        # Where the surroundings are hidden, flesh is near and sends part of the light back, reddened.
        cosine = cosine * share
        ambient += (seen * cosine)[:, None] * radiance + ((1 - seen) * cosine)[:, None] * (radiance * _BOUNCE)
        if strand_ambient is None:
            thin += seen_hair * (share / 4)
    if strand_ambient is None:
        strand_ambient = np.repeat(thin, 3)[: len(strands.points)]
    half, half_area = np.ascontiguousarray(strands.points[::2]), area[::2] * 2
    shadow = np.empty((len(vertices), len(lighting.directions)), np.float32)
    strand_shadow = np.empty((len(strands.points), len(lighting.directions)), np.float32)
    for k, direction in enumerate(lighting.directions):
        shadow[:, k], at_hair = reach(
            vertices, normals, surface.faces, half, half_area, direction, 160, int(lighting.softness[k]), 0.8
        )
        strand_shadow[:, k] = np.repeat(at_hair, 2)[: len(strands.points)]
    return LitScene(
        surface, vertices, normals, ambient, shadow, strands, tangents, strand_ambient, strand_shadow,
        np.ascontiguousarray(detail_rotation, np.float32), lighting,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, fastmath=True)
def _resolve(image, index, factor, exposure, table, picture, mask):
    """Averages sub-pixels, encodes as sRGB and lays the result on white; mask is the covered share.

    The average is a tent two pixels wide, as soft as a good lens: within a single pixel, hair would be salt and pepper.
    """
    height, width = mask.shape
    rows, columns = index.shape
    last = table.shape[0] - 1
    half = factor // 2
    tent = np.empty(2 * factor, np.float32)
    for k in range(2 * factor):
        tent[k] = (factor - abs(np.float32(k) + np.float32(0.5) - factor)) / np.float32(factor * factor)
    for y in range(height):
        for x in range(width):
            alpha, red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for j in range(2 * factor):
                row = min(max(y * factor - half + j, 0), rows - 1)
                for i in range(2 * factor):
                    column = min(max(x * factor - half + i, 0), columns - 1)
                    if index[row, column] != -1:
                        weight = tent[j] * tent[i]
                        alpha += weight
                        # A lamp's mirror image must not outweigh its neighbours: each sub-pixel is limited first.
                        red += weight * min(image[row, column, 0] * exposure, np.float32(2.0))
                        green += weight * min(image[row, column, 1] * exposure, np.float32(2.0))
                        blue += weight * min(image[row, column, 2] * exposure, np.float32(2.0))
            mask[y, x] = np.uint8(alpha * 255 + np.float32(0.5))
            share = np.float32(last) / max(alpha, np.float32(1e-6)) * np.float32(0.5)
            for c, value in enumerate((red, green, blue)):
                code = table[min(int(value * share), last)]
                picture[y, x, c] = np.uint8(code * alpha + 255 * (1 - alpha) + np.float32(0.5))


def _tone_table(size: int = 8192) -> np.ndarray:
    """sRGB codes (0..255, float32) of linear values 0..2, with a soft shoulder above 0.75."""
    linear = np.linspace(0, 2, size)
    knee = 0.75
    soft = knee + (1 - knee) * (1 - np.exp(-(linear - knee) / (1 - knee)))
    linear = np.where(linear > knee, soft, linear)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255).astype(np.float32)


_TABLE = _tone_table()


def render(
    scene: LitScene, K: np.ndarray, cam_from_world: np.ndarray, width: int, height: int, supersampling: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Renders one picture.

    Args:
        scene: A lit scene.
        K: Intrinsics in pixels [3, 3].
        cam_from_world: Camera axes as OpenCV [4, 4].
        width, height: Picture size in pixels.
        supersampling: Sub-pixels along each side of a pixel.

    Returns:
        Picture on white, uint8 [H, W, 3], and mask, uint8 [H, W].
    """
    K, cam_from_world = np.asarray(K, np.float32), np.asarray(cam_from_world, np.float32)
    factor = np.float32(supersampling)
    surface, strands, lighting = scene.surface, scene.strands, scene.lighting
    depth = np.full((height * supersampling, width * supersampling), np.inf, np.float32)
    index = np.full(depth.shape, -1, np.int32)
    image = np.zeros((*depth.shape, 3), np.float32)
    eye = (-cam_from_world[:3, :3].T @ cam_from_world[:3, 3]).astype(np.float32)
    points = np.empty_like(scene.vertices)
    project(scene.vertices, K, cam_from_world, factor, points)
    draw_triangles(points, surface.faces, depth, index)
    if len(strands.points):
        on_screen, lit = np.empty_like(strands.points), np.empty_like(strands.points)
        project(strands.points, K, cam_from_world, factor, on_screen)
        surroundings = lighting.radiance.mean(0).astype(np.float32)
        shade_strands(
            strands.points, scene.strand_tangents, strands.colors, scene.strand_ambient, scene.strand_shadow,
            strands.gloss, eye, lighting.directions, lighting.colors, surroundings, lit,
        )  # fmt: skip
        order = np.argsort(on_screen[strands.starts[:-1], 2])
        draw_ribbons(on_screen, lit, strands.widths, strands.starts, order, K[0, 0] * factor, depth, index, image)
    shade_surface(
        index, points, surface.faces, scene.vertices, scene.normals, scene.ambient, scene.shadow,
        surface.corner_texels, surface.material_of_face, surface.materials, surface.texture, scene.detail_rotation,
        eye, lighting.directions, lighting.colors, lighting.gloss, image,
    )  # fmt: skip
    picture, mask = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
    _resolve(image, index, supersampling, np.float32(lighting.exposure), _TABLE, picture, mask)
    return picture, mask
