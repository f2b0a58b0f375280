"""Which point of the mesh does a texel see? Maps between the mesh and images in its texture space.

Row 0 of an image is v near 1: texture coordinates (u, v) lie at pixel coordinates (u R, (1 - v) R), texel centres at
integer + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realhead.errors import RealheadError
from realhead.head.raster import rasterize_triangles

PARTS = ("skin", "mouth", "teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right", "lashes", "socket")
"""Regions that are pieces of the mesh rather than areas on the skin."""


@dataclass(frozen=True)
class UVMap:
    """Covered texels of a square texture, in row-major order.

    Attributes:
        resolution: Side R of the square in texels.
        mask: Covered texels, [R, R].
        index: Flat texel number of each covered texel, [N].
        face: The triangle that it sees, [N].
        barycentric: Where in the triangle, [N, 3].
        corners: The triangle's vertices, [N, 3].
        frame: Tangent (along u), bitangent and normal of the template as columns, a rotation, [N, 3, 3]. The bitangent
            points along v, or against it on a mirrored island.
        footprint: Metres on the template between neighbouring texels along u and along v, [N, 2].
        regions: Masks over the covered texels, by name: a part (`PARTS`) where all corners of the triangle belong to
            it, a region of the skin where the nearest corner does.
    """

    resolution: int
    mask: Bool[Tensor, "r r"]
    index: Int[Tensor, " n"]
    face: Int[Tensor, " n"]
    barycentric: Float[Tensor, "n 3"]
    corners: Int[Tensor, "n 3"]
    frame: Float[Tensor, "n 3 3"]
    footprint: Float[Tensor, "n 2"]
    regions: dict[str, Bool[Tensor, " n"]]

    @classmethod
    def rasterize(
        cls,
        vertices: Float[Tensor, "v 3"],
        faces: Int[Tensor, "f 3"],
        uv_coords: Float[Tensor, "t 2"],
        uv_faces: Int[Tensor, "f 3"],
        regions: dict[str, Bool[Tensor, " v"]],
        resolution: int,
    ) -> UVMap:
        """Finds, for every texel centre, the triangle that covers it.

        Args:
            vertices: Template.
            faces: Triangles.
            uv_coords: Texture coordinates in [0, 1], v up.
            uv_faces: Indices into `uv_coords`.
            regions: Vertex masks.
            resolution: Side of the square.
        """
        pixels = pixels_from_uv(uv_coords, resolution)
        points = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1).numpy()
        face_index, weights, _ = rasterize_triangles(points, uv_faces.numpy(), resolution, resolution)
        index = np.flatnonzero(face_index >= 0)
        face = torch.from_numpy(face_index.reshape(-1)[index].astype(np.int64))
        barycentric = torch.from_numpy(weights.reshape(-1, 3)[index])
        corners = faces[face]
        nearest = corners.gather(1, barycentric.argmax(1, keepdim=True))[:, 0]
        frame, footprint = _surface(vertices, faces, uv_coords, uv_faces, face, barycentric, resolution)
        return cls(
            resolution=resolution,
            mask=torch.from_numpy(face_index >= 0),
            index=torch.from_numpy(index),
            face=face,
            barycentric=barycentric,
            corners=corners,
            frame=frame,
            footprint=footprint,
            regions=_texel_regions(regions, corners, nearest),
        )

    def __len__(self) -> int:
        return len(self.index)

    def region(self, name: str) -> Bool[Tensor, " n"]:
        """Mask over the covered texels of a named region.

        Raises:
            RealheadError: There is no region of that name.
        """
        if name not in self.regions:
            raise RealheadError(f"No region '{name}' in this UV map: it has {', '.join(sorted(self.regions))}.")
        return self.regions[name]

    def summary(self) -> str:
        """One line: covered texels, their share of the square, and texels per region."""
        share = len(self) / self.resolution**2
        named = ", ".join(f"{name} {int(mask.sum())}" for name, mask in self.regions.items() if mask.any())
        return f"{self.resolution} x {self.resolution}: {len(self)} texels covered ({share:.1%}): {named}"

    def interpolate(self, vertex_values: Float[Tensor, "*b v d"]) -> Float[Tensor, "*b n d"]:
        """Values at vertices -> values at covered texels."""
        weights = self.barycentric.to(vertex_values)
        corners = self.corners.to(vertex_values.device)
        return (vertex_values[..., corners, :] * weights[..., None]).sum(-2)

    def scatter(self, values: Float[Tensor, "*b n d"], fill: float = 0.0) -> Float[Tensor, "*b d r r"]:
        """Values at covered texels -> image; uncovered texels get `fill`."""
        r = self.resolution
        image = values.new_full((*values.shape[:-2], values.shape[-1], r * r), fill)
        image[..., self.index.to(values.device)] = values.transpose(-1, -2)
        return image.unflatten(-1, (r, r))

    def gather(self, image: Float[Tensor, "*b d r r"]) -> Float[Tensor, "*b n d"]:
        """Image -> values at covered texels; undoes `scatter`."""
        return image.flatten(-2).transpose(-1, -2).index_select(-2, self.index.to(image.device))

    def to(self, device: torch.device | str) -> UVMap:
        """The same table on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        regions = {k: v.to(device) for k, v in self.regions.items()}
        return UVMap(resolution=self.resolution, regions=regions, **moved)


def pixels_from_uv(uv: Float[Tensor, "*b 2"], resolution: int) -> Float[Tensor, "*b 2"]:
    """Texture coordinates (v up) -> pixel coordinates (row 0 on top)."""
    return torch.stack([uv[..., 0] * resolution, (1 - uv[..., 1]) * resolution], -1)


def vertex_normals(vertices: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "*b v 3"]:
    """Unit normals, area-weighted over the triangles around each vertex; zero where a vertex has no triangle."""
    corners = vertices[..., faces, :]
    cross = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], cross)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def _texel_regions(regions, corners, nearest):
    skin = regions["skin"][corners].all(1) if "skin" in regions else None
    masks = {}
    for name, mask in regions.items():
        if name in PARTS:  # neighbouring parts share their border vertices, but no triangle
            masks[name] = mask[corners].all(1)
        else:
            masks[name] = mask[nearest] if skin is None else mask[nearest] & skin
    return masks


def _surface(vertices, faces, uv_coords, uv_faces, face, barycentric, resolution):
    """Orthonormal frames [N, 3, 3] and footprints [N, 2] at the covered texels."""
    corners, uv = vertices[faces[face]], uv_coords[uv_faces[face]]
    edges = torch.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 2)  # [N, 3, 2]
    uv_edges = torch.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], 2)  # [N, 2, 2]
    jacobian = edges @ torch.linalg.pinv(uv_edges)  # metres per unit of u and of v, [N, 3, 2]
    footprint = jacobian.norm(dim=1) / resolution
    normals = vertex_normals(vertices, faces)
    normal = torch.nn.functional.normalize((normals[faces[face]] * barycentric[..., None]).sum(1), dim=-1)
    along = jacobian[..., 0]
    tangent = torch.nn.functional.normalize(along - (along * normal).sum(1, keepdim=True) * normal, dim=-1)
    bitangent = torch.linalg.cross(normal, tangent)
    return torch.stack([tangent, bitangent, normal], 2), footprint
