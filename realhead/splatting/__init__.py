"""3D Gaussian splatting: Gaussians, and one function that draws them on a GPU or a CPU.

`rasterization` has the keyword arguments and the meaning of gsplat 1.5.3's. On CUDA tensors it calls gsplat; on CPU
tensors it runs the kernels of this package; `backend="torch"` is the short twin that both are tested against.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.splatting.gaussians import Gaussians
from realhead.splatting.scene import RASTERIZE_MODES, Scene, check_scene, refuse

__all__ = ["Gaussians", "rasterization"]

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
Backend = Literal["auto", "cpu", "torch", "gsplat"]


def rasterization(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"] | None,
    scales: Float[Tensor, "n 3"] | None,
    opacities: Float[Tensor, "n"],
    colors: Tensor,
    viewmats: Float[Tensor, "c 4 4"],
    Ks: Float[Tensor, "c 3 3"],
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Float[Tensor, "c d"] | None = None,
    render_mode: RenderMode = "RGB",
    rasterize_mode: RasterizeMode = "classic",
    covars: Float[Tensor, "n 3 3"] | None = None,
    radius_clip: float = 0.0,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "c h w d"], Float[Tensor, "c h w 1"], dict[str, Any]]:
    """Draws N Gaussians into C cameras, differentiably.

    Gradients reach means, quats, scales, covars, opacities, colors, backgrounds and viewmats.

    Args:
        means: Centres in world units, [N, 3].
        quats: Rotations w, x, y, z of any norm, [N, 4]; None where `covars` are given.
        scales: Standard deviations, [N, 3]; None where `covars` are given.
        opacities: Peak opacities in [0, 1], [N].
        colors: Features [N, D] with D up to 64, or SH coefficients [N, K, 3] with `sh_degree`; either may have a
            leading axis of cameras.
        viewmats: cam_from_world, OpenCV axes, [C, 4, 4].
        Ks: Pinhole intrinsics in pixels, [C, 3, 3]; pixel centres lie at integer + 0.5.
        width: Image width in pixels, up to 16,384.
        height: Image height in pixels, up to 16,384.
        near_plane: Gaussians with a centre nearer than this are not drawn.
        far_plane: Gaussians with a centre farther than this are not drawn.
        eps2d: Square pixels added to the diagonal of each projected covariance.
        sh_degree: 0 to 3 where `colors` are SH coefficients; (sh_degree + 1)^2 of the K are used.
        backgrounds: Colours behind everything, [C, D]; black without.
        render_mode: "RGB" the features; "D" depth summed with the blending weights; "ED" that divided by alpha;
            "RGB+D" and "RGB+ED" both, the depth as last channel.
        rasterize_mode: "antialiased" scales opacities down where `eps2d` widens a Gaussian (Mip-Splatting).
        covars: Covariances [N, 3, 3] instead of quats and scales; their symmetric part is used.
        radius_clip: Gaussians whose radius in pixels is not above this are not drawn.
        backend: "auto" is "gsplat" on CUDA tensors and "cpu" on CPU tensors; "torch" runs anywhere, slowly, and in
            float64 as well.

    Returns:
        Images [C, H, W, D], alphas [C, H, W, 1], and a dictionary with `radii` [C, N, 2] (whole pixels, 0 where a
        Gaussian is not drawn), `means2d` [C, N, 2] (call `.retain_grad()` on it before backward for the gradients that
        densification needs), `depths` [C, N], and the visible `camera_ids` and `gaussian_ids`.

    Raises:
        RealheadError: A `ValueError` in one sentence: which argument, what was got, what is legal.
    """
    if rasterize_mode not in RASTERIZE_MODES:
        refuse(f"rasterize_mode is {rasterize_mode!r}; pass one of {', '.join(RASTERIZE_MODES)}.")
    if not isinstance(means, Tensor):
        refuse(f"means is a {type(means).__name__}; pass a torch.Tensor.")
    if covars is not None:
        quats = scales = None
    scene = Scene(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, far_plane, eps2d, sh_degree,
        backgrounds, render_mode, rasterize_mode == "antialiased", covars, radius_clip,
    )  # fmt: skip
    check_scene(scene)
    return _draw(scene, _choose(backend, means))


def _choose(backend: str, means: Tensor) -> str:
    if backend == "auto":
        backend = {"cuda": "gsplat", "cpu": "cpu"}.get(means.device.type, "torch")
    if backend not in ("cpu", "torch", "gsplat"):
        refuse(f"backend is {backend!r}; pass 'auto', 'cpu', 'torch' or 'gsplat'.")
    needed = {"cpu": "cpu", "gsplat": "cuda"}.get(backend, means.device.type)
    if means.device.type != needed:
        refuse(f"backend {backend!r} needs {needed} tensors, and means is on {means.device}.")
    if backend != "torch" and means.dtype != torch.float32:
        refuse(f"means is {means.dtype}; pass .float() tensors (backend='torch' takes float64).")
    return backend


def _draw(scene: Scene, backend: str):
    if backend == "gsplat":
        from realhead.splatting.backends import draw_with_gsplat as draw
    elif backend == "torch":
        from realhead.splatting.backends import draw_with_torch as draw
    else:
        from realhead.splatting.cpu import draw_with_kernels as draw
    return draw(scene)
