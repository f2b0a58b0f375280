"""Scenes for the tests and benchmarks of splatting, and the oracle: every Gaussian at every pixel, in float64.

The oracle shares no line with the package: rotations come from roma, the conic from a matrix inverse, the perspective
from autograd, and blending is a loop over the Gaussians. It follows gsplat's conventions.
"""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor

WORKLOADS = {  # name: (Gaussians, width, height)
    "10k@256x256": (10_000, 256, 256),
    "40k@256x256": (40_000, 256, 256),
    "10k@512x512": (10_000, 512, 512),
    "40k@512x512": (40_000, 512, 512),
    "160k@550x800": (160_000, 550, 800),
}


def head_like(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Thin Gaussians that cover a bumpy shell of 10 cm, as those of a head do; SH of degree 3."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(count) + 0.5
    angle, z = math.pi * (1 + 5**0.5) * index.double(), 1 - 2 * index.double() / count
    ring = (1 - z * z).clamp_min(0).sqrt()
    normals = torch.stack([ring * angle.cos(), ring * angle.sin(), z], -1).float()
    radius = 0.1 + 0.006 * torch.sin(3 * normals[:, :1]) * torch.cos(2 * normals[:, 1:2])
    spacing = math.sqrt(4 * math.pi * 0.1**2 / count)
    noise = torch.randn(count, 3, generator=generator)
    # the shortest rotation from z to the normal (its axis is z x normal), after a random twist about z
    axis = torch.stack([-normals[:, 1], normals[:, 0], torch.zeros(count)], -1)
    tilt = torch.nn.functional.normalize(torch.cat([axis, 1 + normals[:, 2:] + 1e-7], -1), dim=-1)  # xyzw
    twist = math.pi * torch.rand(count, generator=generator)
    zero = torch.zeros(count)
    quats = roma.quat_product(tilt, torch.stack([zero, zero, twist.sin(), twist.cos()], -1))[:, [3, 0, 1, 2]]
    sizes = torch.tensor([0.45, 0.45, 0.09]) * spacing
    sh = 0.1 * torch.randn(count, 16, 3, generator=generator)
    sh[:, 0] *= 5
    return {
        "means": normals * radius + 0.05 * spacing * noise,
        "quats": quats.contiguous(),
        "scales": sizes * torch.exp(0.25 * torch.randn(count, 3, generator=generator)),
        "opacities": (0.7 + 0.1 * torch.randn(count, generator=generator)).clamp(0.3, 0.95),
        "colors": sh,
    }


def stressful(count: int = 200, seed: int = 1) -> dict[str, Tensor]:
    """Needles, plates, huge, nearly opaque, off-screen and unseen Gaussians, and quaternions of any length."""
    generator = torch.Generator().manual_seed(seed)
    scene = {
        "means": torch.randn(count, 3, generator=generator) * torch.tensor([0.12, 0.12, 0.25]),
        "quats": torch.randn(count, 4, generator=generator),
        "scales": torch.exp(0.9 * torch.randn(count, 3, generator=generator) - 4.2),
        "opacities": torch.sigmoid(3 * torch.randn(count, generator=generator) + 2),
        "colors": 0.3 * torch.randn(count, 16, 3, generator=generator),
    }
    scene["means"][: count // 20, 2] = -0.9  # behind the camera
    scene["opacities"][count // 2 : count // 2 + 10] = 0.99999  # above the clamp
    scene["opacities"][:2] = torch.tensor([0.0, 1.0])
    scene["scales"][count // 4 : count // 4 + 5, 0] = 0.0  # flat
    return scene


def cameras(width: int, height: int, count: int = 1, distance: float = 0.6) -> dict[str, Tensor]:
    """Cameras that look at the origin from a little to the side, one further round than the other."""
    focal = 2.36 * min(width, height)
    views, Ks = [], []
    for number in range(count):
        turn = roma.rotvec_to_rotmat(torch.tensor([-0.2, 0.3 + 0.5 * number, 0.05 * number]))
        view = torch.eye(4)
        view[:3, :3], view[2, 3] = turn, distance
        views.append(view)
        Ks.append(torch.tensor([[focal, 0, width / 2 + 1.3], [0, 1.02 * focal, height / 2 - 0.7], [0, 0, 1]]))
    return {"viewmats": torch.stack(views), "Ks": torch.stack(Ks), "width": width, "height": height}


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    """Covariances of Gaussians."""
    rotation = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quats, dim=-1)[:, [1, 2, 3, 0]])
    return rotation @ torch.diag_embed(scales**2) @ rotation.mT


def oracle(
    means, covars, opacities, features, viewmat, K, width, height, background=None, eps2d=0.3, antialiased=False,
    near=0.01, far=1e10, radius_clip=0.0,
):  # fmt: skip
    """Draws one camera by the definitions.

    Args:
        features: [N, D]; colours, or anything else to be blended.

    Returns:
        Image [H, W, D], alpha [H, W, 1], and the projected means of those in the depth range, with NaN for the others.
    """
    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    kept = ((points[:, 2] > near) & (points[:, 2] < far)).nonzero()[:, 0]
    points, opacities, features = points[kept], opacities[kept], features[kept]
    centre, focal, size = K[:2, 2], K.diagonal()[:2], torch.tensor([width, height]).to(means)

    def pinhole(point):
        return (K @ (point / point[2]))[:2]

    low, high = (-centre - 0.15 * size) / focal, (1.15 * size - centre) / focal
    depth = points[:, 2:]
    where = torch.cat([torch.minimum(torch.maximum(points[:, :2] / depth, low), high) * depth, depth], 1)
    J = torch.func.vmap(torch.func.jacrev(pinhole))(where) @ viewmat[:3, :3]
    centres, covars2d = torch.func.vmap(pinhole)(points), J @ covars[kept] @ J.mT
    means2d = torch.full((len(means), 2), math.nan).to(means).index_copy(0, kept, centres)
    blurred = covars2d + eps2d * torch.eye(2).to(means)
    if antialiased:
        opacities = opacities * (torch.det(covars2d) / torch.det(blurred)).clamp_min(1e-300).sqrt()
    conics = torch.linalg.inv(blurred)
    reach = (2 * (255 * opacities.detach()).clamp_min(1).log()[:, None] * blurred.detach().diagonal(0, 1, 2)).sqrt()
    near_first = torch.argsort(depth[:, 0], stable=True)
    y, x = torch.meshgrid(torch.arange(height).to(means) + 0.5, torch.arange(width).to(means) + 0.5, indexing="ij")
    image, T = x.new_zeros(height, width, features.shape[1]), torch.ones_like(x)
    done = torch.zeros_like(x, dtype=torch.bool)
    pixels = torch.stack([x, y], -1)
    for i in near_first[reach.ceil().amax(1)[near_first] > radius_clip].tolist():
        offset = pixels - means2d[kept[i]]
        alpha = opacities[i] * torch.exp(-0.5 * torch.einsum("hwi,ij,hwj->hw", offset, conics[i], offset))
        alpha = torch.where(alpha < 1 / 255, 0.0, alpha.clamp_max(0.999))
        done = done | (T * (1 - alpha) <= 1e-4)
        alpha = torch.where(done, 0.0, alpha)
        image = image + (alpha * T)[..., None] * features[i]
        T = T * (1 - alpha)
    if background is not None:
        image = image + T[..., None] * background
    return image, 1 - T[..., None], means2d


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Relative L2 error."""
    return float((got.double() - wanted.double()).norm() / wanted.double().norm().clamp_min(1e-30))
