"""Where a prior computes: on the GPU where splatting is ready for it, else on the CPU.

Everything follows the prior: after `prior.to("cuda")`, enrollment and driving move pictures, cameras and parameters
there. Captures, tracking, conditioning files and viewers stay on the CPU.
"""

from __future__ import annotations

import copy

import torch

from realhead.model.prior import Prior
from realhead.splatting import toolkit


def best_device() -> torch.device:
    """The GPU if there is one and gsplat's code is compiled (`realhead doctor --compile`), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and toolkit.is_built() else "cpu")


def on_best_device(prior: Prior) -> Prior:
    """The prior itself if it is where it computes best, else a copy there: its head may also belong to captures."""
    device = best_device()
    return prior if prior.device.type == device.type else copy.deepcopy(prior).to(device)
