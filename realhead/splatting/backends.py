"""The two backends that are not ours to compile: plain torch, and gsplat on CUDA."""

from __future__ import annotations

from dataclasses import replace

import torch

from realhead.splatting.reference import project, rasterize
from realhead.splatting.scene import Scene, check_values, refuse


def draw_with_torch(scene: Scene):
    """Draws camera by camera with the plain torch twin."""
    check_values(scene)
    projected = [project(scene, camera) for camera in range(len(scene.viewmats))]
    means2d = torch.stack([splats.means2d for splats in projected])
    # drawn from the stacked means, so that retain_grad() on meta["means2d"] sees the gradient
    drawn = [rasterize(scene, replace(splats, means2d=means2d[c]), c) for c, splats in enumerate(projected)]
    images, alphas = zip(*drawn, strict=True)
    image, alpha = expected_depth(scene, torch.stack(images), torch.stack(alphas))
    visible = torch.stack([splats.visible for splats in projected]).nonzero()
    meta = {
        "camera_ids": visible[:, 0],
        "gaussian_ids": visible[:, 1],
        "radii": torch.stack([splats.radii for splats in projected]),
        "means2d": means2d,
        "depths": torch.stack([splats.depths for splats in projected]),
        "width": scene.width,
        "height": scene.height,
        "n_cameras": len(scene.viewmats),
    }
    return image, alpha, meta


def draw_with_gsplat(scene: Scene):
    """Draws with gsplat's CUDA kernels."""
    if not len(scene.means):  # which gsplat does not expect
        return draw_with_torch(scene)
    check_values(scene)
    import gsplat
    from gsplat.cuda._backend import _C as compiled  # the first time this compiles for minutes

    if compiled is None:
        refuse("gsplat's CUDA code is not compiled; `realhead doctor` says what it lacks.")
    # gsplat reads the upper triangle of covariances, and inverts whole view matrices, last row and all: what is given
    # here has the gradients that the other backends have.
    covars = None if scene.covars is None else (scene.covars + scene.covars.mT) / 2
    viewmats = torch.cat([scene.viewmats[:, :3], scene.viewmats[:, 3:].detach()], 1)
    image, alpha, meta = gsplat.rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, viewmats, scene.Ks, scene.width,
        scene.height, near_plane=scene.near, far_plane=scene.far, radius_clip=scene.radius_clip, eps2d=scene.eps2d,
        sh_degree=scene.sh_degree, backgrounds=scene.backgrounds, render_mode=scene.mode,
        rasterize_mode="antialiased" if scene.antialiased else "classic", covars=covars, packed=False,
    )  # fmt: skip
    visible = (meta["radii"] > 0).all(-1).nonzero()
    return image, alpha, meta | {"camera_ids": visible[:, 0], "gaussian_ids": visible[:, 1]}


def expected_depth(scene: Scene, image, alpha):
    """Divides the depth channel by alpha in the modes ED and RGB+ED."""
    if scene.mode not in ("ED", "RGB+ED"):
        return image, alpha
    depth = image[..., -1:] / alpha.clamp_min(1e-10)
    return torch.cat([image[..., :-1], depth], -1), alpha
