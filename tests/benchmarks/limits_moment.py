"""What would a capture of the whole moment bring? Free Gaussians against the cameras that they were not shown.

The Gaussians of an enrolled avatar at the person's neutral moment are fitted one by one to twelve of the sixteen
pictures of that very moment, and scored on the other four. Nothing has to be foreseen: neither identity nor expression
nor pose, and tracking noise does not matter. It is no strict bound, but whoever has seen less will hardly do better.
How colours depend on the direction is left as enrolled, since twelve pictures hardly tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realhead.avatar import Avatar
from realhead.capture.capture import Capture, View
from realhead.evaluation.measures import quantised
from realhead.splatting import rasterization
from realhead.splatting.gaussians import Gaussians

HELD_OUT_EVERY = 4
RATES = {"means": 4.8e-5, "scales": 6e-3, "quats": 1.2e-3, "opacities": 3.6e-2, "colours": 3.6e-3}
"""Adam's rates."""
SCORE_EVERY = 50


@dataclass(frozen=True)
class MomentFit:
    """PSNR of whole pictures over the steps, each the mean over its cameras; the first before any step.

    Attributes:
        learned: Of the pictures that were shown.
        held_out: Of the others.
    """

    learned: list[float]
    held_out: list[float]

    def row(self) -> dict[str, float]:
        """Before, after, and at the step that is best for the pictures held out, which nobody could know."""
        best = int(np.argmax(self.held_out))
        return {
            "before": round(self.held_out[0], 2),
            "best": round(self.held_out[best], 2),
            "step of the best": best * SCORE_EVERY,
            "learned pictures, last step": round(self.learned[-1], 2),
        }


def fit_moment(avatar: Avatar, home: Capture, steps: int) -> MomentFit:
    """Fits the avatar's Gaussians freely to most pictures of the neutral moment.

    Args:
        avatar: The start.
        home: The capture of the neutral frame.
        steps: Of one picture each.
    """
    timestep = home.neutral.timestep
    views = [home.view(t, camera) for t, camera in sorted(home.keys()) if t == timestep]
    held_out, learned = views[1::HELD_OUT_EVERY], [v for i, v in enumerate(views) if i % HELD_OUT_EVERY != 1]
    start = avatar.gaussians(views[0].frame)
    free = _free(start)
    optimizer = torch.optim.Adam([{"params": [free[n]], "lr": rate} for n, rate in RATES.items()], eps=1e-15)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.05 ** (1 / steps))
    order, images = np.random.default_rng(0), [view.image() for view in learned]
    directional = start.sh[:, 1:]
    curves = MomentFit([_psnr(free, directional, learned)], [_psnr(free, directional, held_out)])
    for step in range(1, steps + 1):
        chosen = int(order.integers(len(learned)))
        optimizer.zero_grad()
        (_draw(free, directional, learned[chosen]) - images[chosen]).square().mean().backward()
        optimizer.step()
        decay.step()
        if step % SCORE_EVERY == 0:
            curves.learned.append(_psnr(free, directional, learned))
            curves.held_out.append(_psnr(free, directional, held_out))
    return curves


def _free(gaussians: Gaussians) -> dict[str, Tensor]:
    """The Gaussians' numbers without bounds, to be optimised."""
    quats, scales = gaussians.quats_scales()
    values = {
        "means": gaussians.means,
        "scales": scales.clamp_min(1e-6).log(),
        "quats": quats,
        "opacities": torch.logit(gaussians.opacities.clamp(1e-3, 1 - 1e-3)),
        "colours": gaussians.sh[:, :1],
    }
    return {name: value.detach().clone().requires_grad_() for name, value in values.items()}


def _draw(free: dict[str, Tensor], directional: Tensor, view: View) -> Tensor:
    camera = view.camera
    colours, _, _ = rasterization(
        means=free["means"],
        quats=free["quats"],
        scales=free["scales"].exp(),
        opacities=free["opacities"].sigmoid(),
        colors=torch.cat([free["colours"], directional], 1),
        sh_degree=3,
        viewmats=camera.cam_from_world[None],
        Ks=camera.K[None],
        width=camera.width,
        height=camera.height,
        backgrounds=torch.ones(1, 3),
    )
    return colours[0]


def _psnr(free: dict[str, Tensor], directional: Tensor, views: list[View]) -> float:
    with torch.no_grad():
        errors = [(quantised(_draw(free, directional, view)) - view.image()).square().mean() for view in views]
    return float(np.mean([-10 * np.log10(float(error)) for error in errors]))
