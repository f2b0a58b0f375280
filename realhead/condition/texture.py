"""Identity textures: the neutral pictures of a person, unprojected into UV space (paper IV-A).

One frontal picture gives a partial map, three pictures (front, left, right) a fuller one. A texel takes a picture's
colour where the tracked mesh faces that camera and nothing of the mesh is nearer. Seams, the thin gaps that depth test
and grazing angles leave, are filled from their neighbours. The mouth is masked out, since its looks come from the mouth
map: the mouth's texels, and, where a capture has a segmentation, what that calls mouth on any texel, since the tracked
lips are never quite where the person's are. Texels that stay unseen are zero.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.capture import View
from realhead.condition.mouth import mouth_texels, sample_image
from realhead.head.model import Head
from realhead.head.raster import rasterize_triangles
from realhead.head.uv import UVMap

DEPTH_TOLERANCE = 0.006  # metres: the mesh is this much thinner or thicker than the person (ours)
GRAZING_COSINE = 0.15  # beyond about 81 degrees a pixel smears over many texels (ours)
SEAM = 2  # texels from a seen one over which its colour is carried on (ours): wider gaps are for the prior to fill


def identity_texture(head: Head, uv_map: UVMap, views: list[View]) -> Float[Tensor, "3 r r"]:
    """Unprojects one or more pictures.

    Args:
        head: The head that the views were tracked with.
        uv_map: UV layout and resolution.
        views: Neutral pictures; the first is the frontal one.

    Returns:
        Colours in [-1, 1]; 0 where no picture sees the texel, outside of the layout, and in the mouth.
    """
    colour = torch.zeros(len(uv_map.index), 3, device=uv_map.index.device)
    total = torch.full_like(colour[:, :1], 1e-8)
    for view in views:
        vertices = head(**view.frame.parameters())[0].detach()
        weight = texel_visibility(head, uv_map, vertices, view.camera)[:, None]
        xy, _ = view.camera.project(uv_map.interpolate(vertices))
        inside = sample_image(view.mask()[..., None], xy)
        weight = weight * (inside > 0.5)
        if (mouth := view.mouth()) is not None:
            weight = weight * (sample_image(mouth[..., None], xy) < 0.5)
        colour += weight * (sample_image(view.image(), xy) * 2 - 1)
        total += weight
    skin = ~mouth_texels(uv_map)[:, None]
    seen = (total > 1e-6) & skin
    maps = (uv_map.scatter(values.float()) for values in (colour / total * seen, seen, skin))
    return fill_seams(*maps)


def fill_seams(
    texture: Float[Tensor, "3 r r"], seen: Float[Tensor, "1 r r"], allowed: Float[Tensor, "1 r r"]
) -> Float[Tensor, "3 r r"]:
    """Carries colours on to texels that are at most `SEAM` away from seen ones: the mean of those beside them.

    Args:
        texture: Colours, zero where unseen.
        seen: 1 where a texel has a colour, else 0.
        allowed: 1 where a texel may have one; colours do not cross the gaps between islands.
    """
    known = torch.cat([texture, seen])[None]
    for _ in range(SEAM):
        around = torch.nn.functional.avg_pool2d(known, 3, stride=1, padding=1)
        mean = around / around[:, 3:].clamp_min(1e-6) * (around[:, 3:] > 0) * allowed
        known = torch.where(known[:, 3:] > 0, known, mean)
    return known[0, :3]


def texel_visibility(head: Head, uv_map: UVMap, vertices: Float[Tensor, "v 3"], camera: Camera) -> Float[Tensor, "n"]:
    """How well a camera sees every covered texel.

    Returns:
        Squared cosine between surface normal and viewing direction, zero where hidden or nearly grazing; squared so
        that three views blend in favour of the one that looks straight on.
    """
    points = uv_map.interpolate(vertices)
    towards_camera = torch.nn.functional.normalize(camera.centre - points, dim=-1)
    cosine = (face_normals(vertices, head.faces)[uv_map.face] * towards_camera).sum(-1)
    xy, depth = camera.project(vertices)
    screen = torch.cat([xy, depth[:, None]], -1).cpu().numpy().astype(np.float32)
    faces = head.faces.cpu().numpy()
    nearest = torch.from_numpy(rasterize_triangles(screen, faces, camera.width, camera.height, perspective=True)[2])
    xy, depth = camera.project(points)
    column = xy[:, 0].floor().long().clamp(0, camera.width - 1)
    row = xy[:, 1].floor().long().clamp(0, camera.height - 1)
    on_screen = (xy >= 0).all(-1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height) & (depth > 0)
    seen = on_screen & (depth <= nearest.to(depth)[row, column] + DEPTH_TOLERANCE)
    return torch.where(seen & (cosine > GRAZING_COSINE), cosine.square(), 0.0)


def face_normals(vertices: Float[Tensor, "v 3"], faces: Tensor) -> Float[Tensor, "f 3"]:
    """Unit outward normals of triangles wound counter-clockwise."""
    a, b, c = vertices[faces].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
