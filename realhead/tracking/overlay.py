"""Pictures that show how well a head fits: landmarks, the mesh over the photograph, and where the fit misses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from realhead.head.raster import rasterize_triangles

if TYPE_CHECKING:
    from realhead.capture.capture import View
    from realhead.head.model import Head

PART_COLOURS = {
    "skin": (0.82, 0.66, 0.58),
    "scalp": (0.55, 0.60, 0.68),
    "brows": (0.35, 0.26, 0.20),
    "lips": (0.75, 0.38, 0.38),
    "mouth": (0.35, 0.12, 0.12),
    "teeth_upper": (0.95, 0.94, 0.90),
    "teeth_lower": (0.95, 0.94, 0.90),
    "tongue": (0.75, 0.42, 0.42),
    "eye_left": (0.93, 0.93, 0.93),
    "eye_right": (0.93, 0.93, 0.93),
}

DOT_COLOUR = (0.1, 0.9, 0.4)


def mesh_overlay(head: Head, view: View, opacity: float = 0.6) -> np.ndarray:
    """Draws a view's tracked mesh, shaded, over its picture.

    Args:
        head: The capture's head.
        view: A picture with its frame.
        opacity: Of the mesh, in [0, 1].

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    with torch.no_grad():
        vertices = head(**view.frame.parameters())[0].cpu()
    xy, depth = view.camera.project(vertices)
    faces = head.faces.cpu().numpy()
    points = torch.cat([xy, depth[:, None]], 1).numpy()
    face, barycentric, _ = rasterize_triangles(points, faces, view.camera.width, view.camera.height, perspective=True)
    seen = face >= 0
    corners = faces[face[seen]]
    normals = np.einsum("nk,nkc->nc", barycentric[seen], _vertex_normals(vertices.numpy(), faces)[corners])
    colours = np.einsum("nk,nkc->nc", barycentric[seen], _part_colours(head)[corners])
    to_camera = (view.camera.centre - vertices.mean(0)).numpy()
    light = to_camera / np.linalg.norm(to_camera)
    shaded = colours * (0.35 + 0.65 * np.abs(normals @ light))[:, None]
    picture = view.image().numpy().copy()
    picture[seen] = (1 - opacity) * picture[seen] + opacity * shaded
    return picture.clip(0, 1).astype(np.float32)


def _part_colours(head: Head) -> np.ndarray:
    colours = np.full((head.num_vertices, 3), 0.8)
    for name, colour in PART_COLOURS.items():
        if name in head.regions:
            colours[head.regions[name].cpu().numpy()] = colour
    for side in (3, 4):  # the iris: what lies within half a radian of an eyeball's axis
        name = "eye_left" if side == 3 else "eye_right"
        if name in head.regions:
            rest = head.v_template.cpu().numpy()
            offset = rest - (head.J_regressor @ head.v_template)[side].cpu().numpy()
            front = offset[:, 2] > np.cos(0.5) * np.linalg.norm(offset, axis=1)
            colours[head.regions[name].cpu().numpy() & front] = (0.25, 0.35, 0.45)
    return colours


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def region_mask(head: Head, view: View, region: str) -> np.ndarray:
    """Where a view's tracked mesh shows a region of the head, as "beard" or "face".

    Args:
        head: The capture's head.
        view: A picture with its frame.
        region: A name of `head.regions`.

    Returns:
        float32 [H, W], 1 inside.
    """
    with torch.no_grad():
        xy, depth = view.camera.project(head(**view.frame.parameters())[0].cpu())
    faces = head.faces.cpu().numpy()
    points = torch.cat([xy, depth[:, None]], 1).numpy()
    face = rasterize_triangles(points, faces, view.camera.width, view.camera.height, perspective=True)[0]
    inside = head.regions[region].cpu().numpy()[faces].all(1)
    return ((face >= 0) & inside[face]).astype(np.float32)


def landmark_overlay(image: np.ndarray, points: np.ndarray, radius: float | None = None) -> np.ndarray:
    """Draws points into a picture.

    Args:
        image: uint8 [H, W, 3].
        points: Pixels, [n, 2].
        radius: Of the dots in pixels; by the picture's size when None.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    return _dots(image, points, np.tile(DOT_COLOUR, (len(points), 1)), radius)


def residual_overlay(
    image: np.ndarray, points: np.ndarray, errors: np.ndarray, worst: float = 0.03, radius: float | None = None
) -> np.ndarray:
    """Draws how far a fit misses each landmark: blue where it hits, over white to red at `worst` and beyond.

    Args:
        image: uint8 [H, W, 3].
        points: Where the landmarks were found, pixels, [n, 2].
        errors: Distance of the fitted from the found landmark, as from `Fitter.errors`, [n].
        worst: Error that is drawn in full red, in the unit of `errors`.
        radius: Of the dots in pixels; by the picture's size when None.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    share = np.clip(errors / worst, 0, 1)[:, None]
    blue, white, red = (np.array(c) for c in ((0.15, 0.35, 0.8), (1.0, 1.0, 1.0), (0.8, 0.1, 0.1)))
    colours = np.where(share < 0.5, blue + 2 * share * (white - blue), white + (2 * share - 1) * (red - white))
    return _dots(image, points, colours, radius)


def _dots(image: np.ndarray, points: np.ndarray, colours: np.ndarray, radius: float | None) -> np.ndarray:
    picture = image.astype(np.float32) / 255
    height, width = picture.shape[:2]
    radius = max(1.0, max(height, width) / 200) if radius is None else radius
    reach = int(np.ceil(radius))
    for (x, y), colour in zip(points, colours):
        rows = np.arange(max(0, int(y) - reach), min(height, int(y) + reach + 1))
        columns = np.arange(max(0, int(x) - reach), min(width, int(x) + reach + 1))
        near = (rows[:, None] + 0.5 - y) ** 2 + (columns[None] + 0.5 - x) ** 2 <= radius**2
        picture[np.ix_(rows, columns)] = np.where(near[..., None], colour, picture[np.ix_(rows, columns)])
    return picture
