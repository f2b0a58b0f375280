"""From Gaussians to a picture: the one call of the rasterizer that training, enrollment and driving share."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.splatting import rasterization
from realhead.splatting.gaussians import Gaussians


def render(
    gaussians: Gaussians, camera: Camera, background: float = 1.0, backend: str = "auto"
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"]]:
    """Splats Gaussians.

    Args:
        gaussians: Posed Gaussians in world space.
        camera: Where from.
        background: Grey level behind the head.
        backend: As in `realhead.splatting.rasterization`.

    Returns:
        Picture (may exceed 1 where colours do; nothing is clamped, so that gradients survive) and alpha in [0, 1].
    """
    device = gaussians.means.device
    colours, alphas, _ = rasterization(
        means=gaussians.means,
        quats=None,
        scales=None,
        covars=gaussians.covars,
        opacities=gaussians.opacities,
        colors=gaussians.sh,
        sh_degree=3,
        viewmats=camera.cam_from_world[None].to(device),
        Ks=camera.K[None].to(device),
        width=camera.width,
        height=camera.height,
        backgrounds=gaussians.means.new_full((1, 3), background),
        backend=backend,
    )
    return colours[0], alphas[0]
