"""The CPU backend: Numba kernels under torch's autograd.

Two autograd functions: `Project` (Gaussians to projected means, depths and records) and `Composite` (records to
pixels). The projected means pass from one to the other as a plain tensor, so that `retain_grad` works on them.

Threads: torch's own, as many as it uses (`torch.set_num_threads`), see `threads`.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from realhead.splatting import compilation  # noqa: F401  (says when kernels are compiled)
from realhead.splatting.backends import expected_depth
from realhead.splatting.composite_function import Composite, plan_passes
from realhead.splatting.kept_memory import keep_freed_memory
from realhead.splatting.kernels.simd import native_lanes
from realhead.splatting.project_function import OutOfRangeError, Project, Settings, camera_words
from realhead.splatting.scene import Scene, check_finite, check_values, refuse

LANES = (0,) * native_lanes()
keep_freed_memory()


def draw_with_kernels(scene: Scene, lanes: tuple[int, ...] = LANES):
    """Draws all cameras of a checked scene.

    Args:
        scene: What `rasterization` was called with.
        lanes: SIMD width as a tuple of that length; 1 is scalar code.

    Returns:
        As `rasterization`.
    """
    with_color, with_depth = scene.mode not in ("D", "ED"), scene.mode != "RGB"
    harmonics = with_color and scene.sh_degree is not None
    settings = Settings(
        scene.width, scene.height, scene.near, scene.far, scene.eps2d, scene.radius_clip, scene.antialiased,
        scene.sh_degree if harmonics else -1, lanes,
    )  # fmt: skip
    centres = camera_centres(scene)
    cameras = [camera_words(settings, *each) for each in zip(scene.views, scene.intrinsics, centres, strict=True)]
    try:
        means2d, depths, records, radii, drawn = Project.apply(
            settings, cameras, scene.means, scene.covars, scene.quats, scene.scales, scene.opacities,
            scene.colors if harmonics else None, scene.viewmats, centres,
        )  # fmt: skip
    except OutOfRangeError:
        check_values(scene)
        refuse("values overflow float32 when projected; scale the scene to a size near 1, away from the camera.")
    features = scene.colors if with_color and not harmonics else None
    given = {"colors": None if harmonics else scene.colors, "backgrounds": scene.backgrounds}
    check_finite({name: tensor for name, tensor in given.items() if tensor is not None})
    given["backgrounds"] = scene.backgrounds if with_color else None
    num_features = (3 if harmonics else scene.colors.shape[-1]) if with_color else 0
    passes = plan_passes(num_features, with_depth)
    images, alphas = Composite.apply(settings, passes, drawn, means2d, records, features, given["backgrounds"])
    images, alphas = expected_depth(scene, images, alphas[..., None])
    camera_ids, gaussian_ids = visible(radii)
    meta = {
        "camera_ids": camera_ids,
        "gaussian_ids": gaussian_ids,
        "radii": radii,
        "means2d": means2d,
        "depths": depths,
        "width": scene.width,
        "height": scene.height,
        "n_cameras": len(scene.viewmats),
    }
    return images, alphas, meta


def visible(radii: Int[Tensor, "c n 2"]) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Cameras and indices of the Gaussians with a radius; numpy finds them five times as fast as torch."""
    index = np.flatnonzero(radii.numpy().view(np.int64) != 0)  # both radii at once: memory in order is quicker
    cameras, gaussians = (np.zeros_like(index), index) if len(radii) == 1 else np.divmod(index, radii.shape[1])
    return torch.from_numpy(cameras), torch.from_numpy(gaussians)


def camera_centres(scene: Scene) -> Float[Tensor, "c 3"]:
    """Where the cameras stand, -R^-1 t, in float64 on the way; through torch only where a gradient is wanted."""
    if scene.viewmats.requires_grad:
        views = scene.viewmats.double()
        return -torch.linalg.solve(views[:, :3, :3], views[:, :3, 3]).float()
    return torch.from_numpy(-np.linalg.solve(scene.views[:, :3, :3], scene.views[:, :3, 3:])[..., 0]).float()
