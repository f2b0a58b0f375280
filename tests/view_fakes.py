"""A small head-shaped stand-in with the interfaces the viewer reads: quick, seeded, without a prior."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from realhead.capture import Camera, Frame
from realhead.splatting.gaussians import Gaussians


class FakeHead:
    """An ellipsoid of `rows` x `columns` points: 9 cm wide half axis, 12 cm high; the jaw is what is low in front."""

    name = "fake"
    expression_names = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp")
    num_shape, num_expression = 2, 4

    def __init__(self, rows: int = 24, columns: int = 32):
        v, u = np.meshgrid(np.linspace(0.04, 0.96, rows), np.linspace(0, 1, columns), indexing="ij")
        polar, azimuth = np.pi * v, 2 * np.pi * (u - 0.5)
        points = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
        self.v_template = torch.tensor(points.reshape(-1, 3) * [0.075, 0.12, 0.095], dtype=torch.float32)
        index = np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
        quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
        self.faces = torch.tensor(quads)
        self.num_vertices = len(self.v_template)
        x, y, z = self.v_template.T
        front = (z > 0.03).float()
        low = torch.sigmoid((-y - 0.03) * 200) * front
        basis = torch.zeros(self.num_vertices, 3, 4)
        basis[:, 1, 0] = -0.02 * low
        basis[:, 1, 1] = 0.01 * low * (x > 0)
        basis[:, 1, 2] = 0.01 * low * (x < 0)
        basis[:, 1, 3] = 0.01 * front * (y > 0.05)
        self.exprdirs = basis
        self.regions = {
            "skin": torch.ones(len(x), dtype=torch.bool),
            "face": front > 0,
            "scalp": y > 0.07,
            "lips": (front > 0) & (y.abs() < 0.06) & (y < -0.03),
        }

    def region_faces(self, name):
        return self.regions[name][self.faces].all(-1)

    def __call__(self, shape, expression, pose, translation, eyelids=None):
        import roma

        vertices = self.v_template + torch.einsum("vce,be->bvc", self.exprdirs, expression)
        turn = roma.rotvec_to_rotmat(pose[:, 0] + pose[:, 1])
        return torch.einsum("bij,bvj->bvi", turn, vertices) + translation[:, None]


@dataclass(frozen=True)
class FakeUVMap:
    resolution: int
    mask: torch.Tensor
    index: torch.Tensor
    face: torch.Tensor
    barycentric: torch.Tensor
    head: FakeHead

    def interpolate(self, values):
        corners = values[..., self.head.faces[self.face], :]
        return (corners * self.barycentric[..., None]).sum(-2)

    def region(self, name):
        return self.head.region_faces(name)[self.face]


@dataclass
class FakeAvatar:
    """One Gaussian per face of the ellipsoid, coloured by where it lies."""

    head: FakeHead = field(default_factory=FakeHead)

    def __post_init__(self):
        count = len(self.head.faces)
        side = int(np.ceil(np.sqrt(count)))
        mask = torch.arange(side * side).reshape(side, side) < count
        self.uv_map = FakeUVMap(
            side, mask, torch.arange(count), torch.arange(count), torch.full((count, 3), 1 / 3), self.head
        )
        self.neutral = Frame(0, torch.zeros(2), torch.zeros(4), torch.zeros(5, 3), torch.zeros(3))

    def gaussians(self, frame, mouth=None):
        vertices = self.head(**frame.parameters())[0]
        corners = vertices[self.head.faces]
        means = corners.mean(1)
        edge = corners - means[:, None]
        normal = torch.nn.functional.normalize(torch.linalg.cross(edge[:, 0], edge[:, 1]), dim=-1)
        covars = torch.einsum("nki,nkj->nij", edge, edge) / 6 + 1e-8 * torch.eye(3)
        template = self.head.v_template[self.head.faces].mean(1)
        rgb = torch.tensor([0.85, 0.62, 0.5]).repeat(len(means), 1)
        rgb[template[:, 1] > 0.07] = torch.tensor([0.25, 0.15, 0.1])
        eyes = (template - template.new_tensor([0.0, 0.02, 0.08])).abs()
        rgb[((eyes[:, 0] - 0.03).abs() < 0.012) & (eyes[:, 1] < 0.012) & (template[:, 2] > 0)] = 0.1
        sh = torch.zeros(len(means), 16, 3)
        sh[:, 0] = (rgb - 0.5) / 0.28209479177387814
        return Gaussians(means + 0.001 * normal, covars, torch.full((len(means),), 0.9), sh)

    def render(self, frame, camera):
        image = torch.ones(camera.height, camera.width, 3)
        homogeneous = self.gaussians(frame).means @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        pixels = homogeneous @ camera.K.T
        xy = (pixels[:, :2] / pixels[:, 2:]).long()
        inside = (xy >= 0).all(1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height)
        image[xy[inside, 1], xy[inside, 0]] = 0.3
        return image


def fake_camera(name="front", azimuth=0.0, size=128):
    """A camera 80 cm from the middle of the head."""
    camera = Camera.orbit(azimuth, distance=0.8, size=size, fov=0.4)
    return replace(camera, name=name)


class FakeCapture:
    """Two cameras and three frames; the jaw opens from frame to frame."""

    def __init__(self, avatar):
        self.cameras = {name: fake_camera(name, azimuth) for name, azimuth in (("front", 0.0), ("left", 0.8))}
        self.frames = [
            replace(avatar.neutral, timestep=i, expression=torch.tensor([0.8 * i, 0.0, 0.0, 0.0])) for i in range(3)
        ]
