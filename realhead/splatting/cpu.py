"""The CPU backend: Numba kernels under torch's autograd.

Two autograd functions: `Project` (Gaussians to projected means, depths and records) and `Composite` (records to
pixels). The projected means pass from one to the other as a plain tensor, so that `retain_grad` works on them.

Threads: as many as torch uses. Numba's and torch's thread pools spin against each other when other programs keep the
cores busy; the environment variable OMP_WAIT_POLICY=passive, set before Python starts, makes them sleep instead: up to
ten times steadier on a busy machine, a little slower on an idle one.
"""

from __future__ import annotations

import torch

from realhead.splatting import compilation  # noqa: F401  (says when kernels are compiled)
from realhead.splatting.backends import expected_depth
from realhead.splatting.composite_function import Composite, plan_passes
from realhead.splatting.kernels.simd import native_lanes
from realhead.splatting.project_function import OutOfRangeError, Project, Settings
from realhead.splatting.scene import Scene, check_values, refuse

LANES = (0,) * native_lanes()


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
    centres = -torch.linalg.solve(scene.viewmats[:, :3, :3], scene.viewmats[:, :3, 3])
    try:
        means2d, depths, records, radii, drawn = Project.apply(
            settings, scene.means, scene.covars, scene.quats, scene.scales, scene.opacities,
            scene.colors if harmonics else None, scene.viewmats, scene.Ks, centres,
        )  # fmt: skip
    except OutOfRangeError:
        check_values(scene)
        refuse("values overflow float32 when projected; scale the scene to a size near 1, away from the camera.")
    features = scene.colors if with_color and not harmonics else None
    num_features = (3 if harmonics else scene.colors.shape[-1]) if with_color else 0
    backgrounds = scene.backgrounds if with_color else None
    passes = plan_passes(num_features, with_depth)
    images, alphas = Composite.apply(settings, passes, drawn, means2d, records, features, backgrounds)
    images, alphas = expected_depth(scene, images, alphas[..., None])
    visible = (radii[..., 0] > 0).nonzero()
    meta = {
        "camera_ids": visible[:, 0],
        "gaussian_ids": visible[:, 1],
        "radii": radii,
        "means2d": means2d,
        "depths": depths,
        "width": scene.width,
        "height": scene.height,
    }
    return images, alphas, meta
