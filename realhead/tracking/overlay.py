"""Pictures that show how well a head fits: the mesh over the photograph, and where landmarks miss."""

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
