"""Gaussian splatting in plain PyTorch: short enough to teach from, exact enough to test the fast kernels against.

The conventions are those of gsplat 1.5.3: EWA projection with the 1.3x frustum clamp, `eps2d` square pixels added to
each projected covariance, alpha = min(0.999, opacity * exp(-sigma)), alpha below 1/255 skipped, a pixel finished
before the Gaussian that would bring its transmittance to 1e-4 or below, pixel centres at integer + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realhead.splatting.harmonics import sh_basis
from realhead.splatting.scene import Scene, refuse

ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1 / 255, 0.999, 1e-4
MAX_BLOCK_PAIRS = 1 << 26  # (Gaussian, pixel) pairs that are held at once: a dozen numbers each
TILE = 32  # pixels; a block of the image for which Gaussians are gathered, so that memory stays small


@dataclass(frozen=True)
class Projected:
    """What one camera sees of N Gaussians before any pixel is drawn."""

    means2d: Float[Tensor, "n 2"]
    conics: Float[Tensor, "n 2 2"]
    depths: Float[Tensor, "n"]
    opacities: Float[Tensor, "n"]
    radii: Int[Tensor, "n 2"]
    visible: Bool[Tensor, "n"]


def covariances(quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Builds R S S^T R^T from quaternions (w, x, y, z; any norm) and standard deviations."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    rotation = torch.stack([torch.stack(row, -1) for row in rows], -2)
    factor = rotation * scales[:, None, :]
    return factor @ factor.mT


def project(scene: Scene, camera: int) -> Projected:
    """Projects Gaussians into one camera: EWA splatting (Zwicker et al. 2001), with gsplat's clamps."""
    viewmat, K = scene.viewmats[camera], scene.Ks[camera].detach()
    covars = scene.covars if scene.covars is not None else covariances(scene.quats, scene.scales)
    means, opacities, width, height = scene.means, scene.opacities, scene.width, scene.height
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    p_cam = means @ rotation.T + translation
    depths = p_cam[:, 2]
    in_front = (depths > scene.near) & (depths < scene.far)
    z = torch.where(in_front, depths, torch.ones_like(depths))  # keeps the unseen ones from dividing by zero
    x_z, y_z = p_cam[:, 0] / z, p_cam[:, 1] / z
    # The perspective is linearised at most 15 % outside the image: far out the approximation would explode.
    tx = x_z.clamp(float(-(cx + 0.15 * width) / fx), float((1.15 * width - cx) / fx))
    ty = y_z.clamp(float(-(cy + 0.15 * height) / fy), float((1.15 * height - cy) / fy))
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * tx / z, zero, fy / z, -fy * ty / z], -1).reshape(-1, 2, 3)
    affine = jacobian @ rotation
    cov = affine @ (0.5 * (covars + covars.mT)) @ affine.mT
    blurred = cov + scene.eps2d * torch.eye(2, dtype=cov.dtype, device=cov.device)
    a, b, c = blurred[:, 0, 0], blurred[:, 0, 1], blurred[:, 1, 1]
    det = a * c - b * b
    solid = in_front & (det > 0) & (a > 0)
    safe_det = torch.where(solid, det, torch.ones_like(det))
    conics = torch.stack([c, -b, -b, a], -1).reshape(-1, 2, 2) / safe_det[:, None, None]
    if scene.antialiased:  # Mip-Splatting: a Gaussian blurred by eps2d fades in proportion
        ratio = (torch.linalg.det(cov) / safe_det).clamp_min(0)
        opacities = opacities * torch.where(ratio > 0, ratio, torch.ones_like(ratio)).sqrt() * (ratio > 0)
    means2d = torch.stack([fx * x_z + cx, fy * y_z + cy], -1)
    with torch.no_grad():  # the box that holds every pixel with alpha >= 1/255
        reach = (2 * (opacities.clamp_min(ALPHA_MIN) / ALPHA_MIN).log()).sqrt()
        extent = torch.ceil(reach[:, None] * torch.stack([a, c], -1).clamp_min(0).sqrt())
        size = torch.tensor([width, height], dtype=means.dtype, device=means.device)
        touches = ((means2d + extent > 0) & (means2d - extent < size)).all(-1) & (extent > scene.radius_clip).any(-1)
        visible = solid & touches & (opacities >= ALPHA_MIN)
        radii = torch.where(visible[:, None], extent, torch.zeros_like(extent)).clamp_max(2**30).int()
    return Projected(means2d, conics, depths, opacities, radii, visible)


def composite(splats: Projected, features: Float[Tensor, "n d"], width: int, height: int, background=None):
    """Blends Gaussians front to back, block by block of the image.

    Returns:
        Image [H, W, D] and alpha [H, W, 1].
    """
    order = torch.argsort(splats.depths, stable=True)
    order = order[splats.visible[order]]
    near_first = Projected(*(getattr(splats, name)[order] for name in Projected.__dataclass_fields__))
    low, high = near_first.means2d - near_first.radii, near_first.means2d + near_first.radii
    rows = []
    for y in range(0, height, TILE):
        row = []
        for x in range(0, width, TILE):
            corner = torch.tensor([x, y], device=low.device)
            here = ((high > corner) & (low < corner + TILE)).all(-1)
            columns, span = (x, min(x + TILE, width)), (y, min(y + TILE, height))
            row.append(_composite_block(near_first, order, here, features, columns, span))
        rows.append([torch.cat(parts, 1) for parts in zip(*row, strict=True)])
    image, transmittance = (torch.cat(parts, 0) for parts in zip(*rows, strict=True))
    return (image if background is None else image + transmittance * background), 1 - transmittance


def _composite_block(splats, order, here, features, columns, rows):
    """Equation of volume rendering: colour = sum_i c_i alpha_i T_i, with T_i = prod_{j<i} (1 - alpha_j)."""
    centres = [torch.arange(*span, dtype=features.dtype, device=features.device) + 0.5 for span in (columns, rows)]
    y, x = torch.meshgrid(centres[1], centres[0], indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 1, 2)
    shape = (*x.shape, -1)
    if int(here.sum()) * x.numel() > MAX_BLOCK_PAIRS:
        refuse(f"{int(here.sum())} Gaussians in one block are too many for backend='torch'; use 'cpu' or 'gsplat'.")
    offset = pixels - splats.means2d[here]  # [P, M, 2]
    conic = splats.conics[here]
    quadratic = conic[:, 0, 0] * offset[..., 0] ** 2 + conic[:, 1, 1] * offset[..., 1] ** 2
    sigma = 0.5 * quadratic + conic[:, 0, 1] * offset[..., 0] * offset[..., 1]
    alpha = (splats.opacities[here] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    alpha = alpha * ((alpha >= ALPHA_MIN) & (sigma >= 0))
    with torch.no_grad():
        unfinished = torch.cumprod(1 - alpha, 1) > TRANSMITTANCE_MIN
    alpha = alpha * unfinished
    after = torch.cumprod(1 - alpha, 1)  # [P, M]
    one = torch.ones_like(pixels[:, 0, :1])
    before = torch.cat([one, after], 1)
    color = (alpha * before[:, :-1]) @ features[order[here]]
    return color.reshape(*x.shape, features.shape[1]), before[:, -1:].reshape(shape)


def shade(scene: Scene, camera: int) -> Float[Tensor, "n d"]:
    """Features of each Gaussian, or its colour from the camera's direction."""
    colors = scene.colors[camera] if scene.per_camera_colors else scene.colors
    if scene.sh_degree is None:
        return colors
    viewmat = scene.viewmats[camera]
    camera_centre = -torch.linalg.solve(viewmat[:3, :3], viewmat[:3, 3])
    directions = torch.nn.functional.normalize(scene.means - camera_centre, dim=-1)
    basis = sh_basis(directions, scene.sh_degree)
    return (torch.einsum("nk,nkc->nc", basis, colors[:, : basis.shape[1]]) + 0.5).clamp_min(0)


def rasterize(scene: Scene, splats: Projected, camera: int) -> tuple[Tensor, Tensor]:
    """Draws one camera of a checked scene.

    Returns:
        Image [H, W, D] and alpha [H, W, 1]; the depth, if any, is the last channel, not yet divided by alpha.
    """
    background = None if scene.backgrounds is None else scene.backgrounds[camera]
    features = shade(scene, camera)
    if scene.mode != "RGB":
        depth = splats.depths[:, None]
        only_depth = scene.mode in ("D", "ED")
        features = depth if only_depth else torch.cat([features, depth], 1)
        if background is not None:  # the depth of the background is 0, as in gsplat
            zero = background.new_zeros(1)
            background = zero if only_depth else torch.cat([background, zero])
    return composite(splats, features, scene.width, scene.height, background)
