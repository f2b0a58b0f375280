"""Drawing on pictures: landmarks, the mesh, the error. All take and return numpy pictures [H, W, 3] in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from realhead.errors import RealheadError
from realhead.view.palette import PALETTE, hex_to_rgb, ramp
from realhead.view.splats import numpy

if TYPE_CHECKING:
    from realhead.capture import Camera

MESH_BLUE = np.array([0.45, 0.65, 0.85], dtype=np.float32)


def picture(image) -> np.ndarray:
    """Any usual picture as [H, W, 3] float32 in [0, 1]: uint8 or float, grey, channels first, a batch of one, a tensor.

    Raises:
        RealheadError: for a shape that is no picture.
    """
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    array = np.asarray(image)
    array = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.astype(np.float32)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise RealheadError(f"A picture has shape [H, W, 3], [H, W] or [3, H, W], not {list(array.shape)}.")
    return np.clip(np.nan_to_num(np.broadcast_to(array, (*array.shape[:2], 3))), 0.0, 1.0)


def draw_points(image, xy, colour: str = PALETTE[1], radius: float | None = None) -> np.ndarray:
    """Landmarks as discs.

    Args:
        image: picture.
        xy: [N, 2] pixel coordinates, pixel centres at integer + 0.5; points that are not finite are left out.
        colour: '#RRGGBB'.
        radius: in pixels; a 150th of the picture's width without it.
    """
    canvas = picture(image).copy()
    height, width = canvas.shape[:2]
    radius = max(width / 150, 1.0) if radius is None else radius
    reach = int(np.ceil(radius)) + 1
    for x, y in np.asarray(numpy(xy), dtype=np.float64):
        if not (np.isfinite([x, y]).all() and -reach <= x < width + reach and -reach <= y < height + reach):
            continue
        rows = slice(max(int(y) - reach, 0), min(int(y) + reach + 1, height))
        columns = slice(max(int(x) - reach, 0), min(int(x) + reach + 1, width))
        v, u = np.mgrid[rows, columns] + 0.5
        cover = np.clip(radius + 0.5 - np.hypot(u - x, v - y), 0.0, 1.0)[..., None]
        canvas[rows, columns] = (1 - cover) * canvas[rows, columns] + cover * hex_to_rgb(colour)
    return canvas


def draw_mesh(
    image,
    vertices,
    faces,
    camera: Camera,
    style: Literal["shaded", "wireframe"] = "shaded",
    opacity: float = 0.7,
) -> np.ndarray:
    """The mesh over a picture of the same camera, hidden parts hidden.

    Args:
        image: picture of the camera's size.
        vertices: [V, 3] world, metres.
        faces: [F, 3].
        camera: that took the picture.
        style: a lit surface, or its edges.
        opacity: of the mesh over the picture.

    Raises:
        RealheadError: if the picture has another size than the camera.
    """
    from realhead.head.raster import rasterize_triangles

    canvas = picture(image)
    if canvas.shape[:2] != (camera.height, camera.width):
        raise RealheadError(
            f"The picture is {canvas.shape[1]}x{canvas.shape[0]} but camera '{camera.name}' takes "
            f"{camera.width}x{camera.height}: use camera.scaled(width, height)."
        )
    points, triangles = numpy(vertices), numpy(faces).astype(np.int64)
    transform = numpy(camera.cam_from_world)
    local = points @ transform[:3, :3].T + transform[:3, 3]
    projected = local @ numpy(camera.K).T
    depth = np.maximum(local[:, 2:], 1e-6)
    pixels = np.concatenate([projected[:, :2] / depth, local[:, 2:]], 1).astype(np.float32)
    index, barycentric, _ = rasterize_triangles(pixels, triangles.astype(np.int32), camera.width, camera.height)
    covered = index >= 0
    corners = local[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    light = MESH_BLUE * (0.25 + 0.75 * facing[index.clip(0)])[..., None]
    if style == "wireframe":
        edge = _distance_to_edge(pixels, triangles, index, barycentric)
        cover = covered * np.clip(1.2 - edge, 0.0, 1.0) * opacity
    else:
        cover = covered * opacity
    return (1 - cover[..., None]) * canvas + cover[..., None] * light


def _distance_to_edge(pixels, triangles, index, barycentric) -> np.ndarray:
    """Distance in pixels from each pixel centre to the nearest edge of its triangle, [H, W]."""
    corners = pixels[triangles, :2].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    twice_area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    sides = [corners[:, (k + 1) % 3] - corners[:, (k + 2) % 3] for k in range(3)]
    opposite = np.stack([np.linalg.norm(side, axis=1) for side in sides], 1)
    heights = twice_area[:, None] / np.maximum(opposite, 1e-9)
    return (barycentric * heights[index.clip(0)]).min(-1)


def residual_map(prediction, target, top: float = 0.2) -> np.ndarray:
    """Mean absolute difference over the channels as a heat map: dark 0, bright `top` and above.

    Raises:
        RealheadError: if the pictures differ in size.
    """
    a, b = picture(prediction), picture(target)
    if a.shape != b.shape:
        raise RealheadError(f"The pictures differ in size: {list(a.shape[:2])} and {list(b.shape[:2])}.")
    return ramp(np.abs(a - b).mean(-1), 0.0, top, "inferno")
