"""When the kernels are compiled: once a machine, cached on disk, and never silently.

Numba compiles a kernel when it is first called and keeps the machine code beside the package (or in the user's cache
folder where that is read-only; `NUMBA_CACHE_DIR` moves it). Later processes load it in well under a second.
"""

from __future__ import annotations

import logging
import time

import torch
from numba.core import event

log = logging.getLogger(__name__)
KERNELS = "realhead.splatting.kernels"


class _Announcer(event.Listener):
    """Says once that kernels are being compiled; Numba tells us when one is not in the cache."""

    def __init__(self):
        self.kernels: list[str] = []

    def on_start(self, happening):
        kernel = happening.data["dispatcher"].py_func
        if kernel.__module__.startswith(KERNELS):
            if not self.kernels:
                log.warning("compiling the CPU rasterizer for this processor: up to 30 s, once (then cached on disk)")
            self.kernels.append(kernel.__name__)

    def on_end(self, happening):
        pass


announcer = _Announcer()
event.register("numba:compile", announcer)


def warm_up() -> float:
    """Compiles, or loads from the cache, what training and viewing need: SH and RGB+D images with gradients.

    Returns:
        Seconds taken.
    """
    from realhead.splatting import rasterization

    start = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(9, 3, generator=generator) * 0.1 + torch.tensor([0.0, 0.0, 2.0])
    covars = 0.01 * torch.eye(3).expand(9, 3, 3)
    quats, scales = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(9, 4), torch.full((9, 3), 0.1)
    K = torch.tensor([[[40.0, 0.0, 20.0], [0.0, 40.0, 20.0], [0.0, 0.0, 1.0]]])
    for shape in ({"covars": covars, "quats": None, "scales": None}, {"quats": quats, "scales": scales}):
        for mode in ("RGB", "RGB+ED"):
            sh = torch.zeros(9, 16, 3, requires_grad=True)
            image, _, _ = rasterization(
                means=means, opacities=torch.full((9,), 0.5), colors=sh, viewmats=torch.eye(4)[None], Ks=K, width=40,
                height=40, sh_degree=3, render_mode=mode, backend="cpu", **shape,
            )  # fmt: skip
            image.sum().backward()
    return time.perf_counter() - start
