"""Pinhole cameras: OpenCV axes (x right, y down, z forward), pixel centres at integer + 0.5, metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """One calibrated camera.

    Attributes:
        K: Intrinsics in pixels, shape [3, 3].
        cam_from_world: Extrinsics (gsplat calls them `viewmats`), shape [4, 4].
        width: Image width in pixels.
        height: Image height in pixels.
        name: The camera's name inside its capture.
    """

    K: Float[Tensor, "3 3"]
    cam_from_world: Float[Tensor, "4 4"]
    width: int
    height: int
    name: str = "00"

    @property
    def centre(self) -> Float[Tensor, "3"]:
        """Position of the camera in the world."""
        return -self.cam_from_world[:3, :3].T @ self.cam_from_world[:3, 3]

    @property
    def forward(self) -> Float[Tensor, "3"]:
        """Unit viewing direction in the world."""
        return self.cam_from_world[2, :3]

    def project(self, points: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n"]]:
        """Projects world points to pixels; returns (xy, depth), depth being camera z (may be negative)."""
        cam = points @ self.cam_from_world[:3, :3].T + self.cam_from_world[:3, 3]
        homogeneous = cam @ self.K.T
        return homogeneous[..., :2] / homogeneous[..., 2:], cam[..., 2]

    def scaled(self, width: int, height: int) -> Camera:
        """The same view at another resolution."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.K.dtype, device=self.K.device)
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def to(self, device: torch.device | str) -> Camera:
        """The same camera on another device."""
        return replace(self, K=self.K.to(device), cam_from_world=self.cam_from_world.to(device))

    @classmethod
    def look_at(
        cls,
        centre: Float[Tensor, "3"] | list,
        target: Float[Tensor, "3"] | list,
        *,
        focal: float,
        width: int,
        height: int,
        name: str = "00",
        principal: tuple[float, float] | None = None,
    ) -> Camera:
        """A camera at `centre` that looks at `target`, world y being up.

        Args:
            centre: Camera position in metres.
            target: Point in the middle of the picture (before the principal point is moved).
            focal: Focal length in pixels.
            width: Image width in pixels.
            height: Image height in pixels.
            name: The camera's name.
            principal: Principal point in pixels; default: the middle.
        """
        centre, target = (torch.as_tensor(p, dtype=torch.float32) for p in (centre, target))
        z = torch.nn.functional.normalize(target - centre, dim=0)
        x = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, -1.0, 0.0]), z), dim=0)
        rotation = torch.stack([x, torch.linalg.cross(z, x), z])
        cam_from_world = torch.eye(4)
        cam_from_world[:3, :3], cam_from_world[:3, 3] = rotation, -rotation @ centre
        cx, cy = principal or (width / 2, height / 2)
        K = torch.tensor([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        return cls(K, cam_from_world, width, height, name)

    @classmethod
    def orbit(
        cls,
        azimuth: float,
        elevation: float = 0.0,
        *,
        distance: float = 1.0,
        target: tuple[float, float, float] = (0.0, 0.0, 0.0),
        fov: float = 0.35,
        size: int = 256,
    ) -> Camera:
        """A square camera on a sphere around `target`; angles in radians, azimuth 0 looks the head in the face."""
        offset = [
            distance * math.sin(azimuth) * math.cos(elevation),
            distance * math.sin(elevation),
            distance * math.cos(azimuth) * math.cos(elevation),
        ]
        centre = [t + o for t, o in zip(target, offset, strict=True)]
        return cls.look_at(centre, list(target), focal=size / (2 * math.tan(fov / 2)), width=size, height=size)
