"""What the benchmark of splatting compares with: a fixed piece of arithmetic, and an estimate of what is possible."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from splatting_scenes import cameras

from realhead.splatting import composite_function, project_function, rasterization, reference, threads, tile_lists
from realhead.splatting.kernels.jit import FAST
from realhead.splatting.scene import Scene

YARDSTICK = 50_000_000  # multiply-adds of float32, on one thread
PAIRS_PER_TILE = 1500  # Gaussians over the whole of a tile in the measurement of the limit


@numba.njit(fastmath=set(FAST), nogil=True)
def _multiply_add(values, rounds):
    for _ in range(rounds):
        for i in range(values.size):
            values[i] = values[i] * np.float32(0.999) + np.float32(0.1)


@dataclass(frozen=True)
class Time:
    """Milliseconds: by the clock, and of all processors together; the second ignores what else the machine does."""

    wall: float
    cpu: float


def timed(function: Callable[[], object]) -> Time:
    """Times a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Time(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu))


def median(times: list[Time]) -> Time:
    """The middle of each."""
    return Time(statistics.median(t.wall for t in times), statistics.median(t.cpu for t in times))


def median_time(function: Callable[[], object], rounds: int) -> Time:
    """Median time after one call that does not count."""
    function()
    return median([timed(function) for _ in range(rounds)])


def yardstick(threads: int = 1) -> Time:
    """Time of `YARDSTICK` multiply-adds on each of so many threads, in vectors and in the nearest cache."""
    blocks = [np.ones(2048, np.float32) for _ in range(threads)]
    rounds = YARDSTICK // blocks[0].size
    with ThreadPoolExecutor(threads) as pool:
        return timed(lambda: list(pool.map(lambda block: _multiply_add(block, rounds), blocks)))


class Step:
    """One scene to be drawn, forward or forward and backward, again and again."""

    def __init__(self, given: dict, views: dict, degree: int | None = 3, backend: str = "cpu"):
        self.arguments = given | views | {"sh_degree": degree, "backend": backend}
        self.leaves = [given[name].requires_grad_() for name in given]
        height, width, count = views["height"], views["width"], len(views["Ks"])
        channels = 3 if degree is not None else given["colors"].shape[-1]
        self.cotangents = (torch.ones(count, height, width, channels), torch.ones(count, height, width, 1))

    def forward(self) -> None:
        """Draws without gradients."""
        with torch.no_grad():
            rasterization(**self.arguments)

    def both(self) -> tuple[torch.Tensor, ...]:
        """Draws, and finds the gradients of all inputs."""
        pictures = rasterization(**self.arguments)[:2]
        return torch.autograd.grad(pictures, self.leaves, self.cotangents)


@numba.njit(cache=False)
def _count(order, means, conics, opacities, radii, width, height):
    remaining = np.ones((height, width), np.float32)
    number = 0
    for i in order:
        low_x, high_x = max(int(means[i, 0] - radii[i, 0]), 0), min(int(means[i, 0] + radii[i, 0]) + 1, width)
        low_y, high_y = max(int(means[i, 1] - radii[i, 1]), 0), min(int(means[i, 1] + radii[i, 1]) + 1, height)
        for y in range(low_y, high_y):
            for x in range(low_x, high_x):
                if remaining[y, x] <= 0:
                    continue
                dx, dy = x + 0.5 - means[i, 0], y + 0.5 - means[i, 1]
                power = 0.5 * (conics[i, 0, 0] * dx * dx + conics[i, 1, 1] * dy * dy) + conics[i, 0, 1] * dx * dy
                alpha = min(0.999, opacities[i] * np.exp(-power))
                if alpha < 1 / 255:
                    continue
                after = remaining[y, x] * (1 - alpha)
                remaining[y, x] = after if after > 1e-4 else 0.0
                number += after > 1e-4
    return number


def needed_pairs(given: dict, views: dict) -> int:
    """Pairs of a Gaussian and a pixel that colour the picture: alpha at least 1/255, pixel not finished."""
    tensors = {name: given[name].detach() for name in ("means", "quats", "scales", "opacities", "colors")}
    scene = Scene(
        **tensors, **views, near=0.01, far=1e10, eps2d=0.3, sh_degree=3, backgrounds=None, mode="RGB",
        antialiased=False, covars=None,
    )  # fmt: skip
    splats = reference.project(scene, 0)
    order = torch.argsort(splats.depths)
    arrays = [t.numpy() for t in (splats.means2d, splats.conics, splats.opacities, splats.radii)]
    return int(_count(order[splats.visible[order]].numpy(), *arrays, views["width"], views["height"]))


def limits(rounds: int) -> dict[str, float]:
    """What the kernels reach at best in a CPU second of one thread: pairs where no lane is idle, and bytes of a copy.

    The pairs are those of faint Gaussians that cover one whole tile: nothing leaves the nearest
    caches, every pixel of every box counts, and the set-up of a Gaussian is shared by 2,048 pixels.
    """
    views = cameras(64, 32)
    count = PAIRS_PER_TILE
    given = {
        "means": torch.zeros(count, 3),
        "quats": torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        "scales": torch.full((count, 3), 3.0),
        "opacities": torch.full((count,), 0.005),
        "colors": torch.rand(count, 3, generator=torch.Generator().manual_seed(0)),
    }
    step = Step(given, views, None)
    pairs = count * 64 * 32
    forward, both = median_time(step.forward, rounds).cpu, median_time(step.both, rounds).cpu
    source, target = torch.ones(1 << 24), torch.empty(1 << 24)
    copy = median_time(lambda: target.copy_(source), rounds).cpu
    return {
        "forward_pairs_per_s": 1e3 * pairs / forward,
        "backward_pairs_per_s": 1e3 * pairs / max(both - forward, 1e-6),
        "bytes_per_s": 1e3 * 2 * 4 * len(source) / copy,
    }


def shortest_ms(limit: dict[str, float], count: int, pairs: int, pixels: int) -> tuple[float, float]:
    """Estimated least CPU time of a step, forward and both: arithmetic of its pairs plus memory that must move.

    A Gaussian has 59 numbers of input and a record of 16, a pixel 4 numbers; going back, both are read, and as many
    gradients written.
    """
    inputs, record, pixel = 4 * 59 * count, 64 * count, 16 * pixels
    forward = pairs / limit["forward_pairs_per_s"] + (inputs + 2 * record + pixel) / limit["bytes_per_s"]
    backward = pairs / limit["backward_pairs_per_s"] + (2 * inputs + 4 * record + 2 * pixel) / limit["bytes_per_s"]
    return 1e3 * forward, 1e3 * (forward + backward)


def stages_ms(step: Step, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of forward and backward in each kernel, and outside them."""
    modules = (project_function, tile_lists, composite_function)
    taken: list[Counter] = []

    def run(pieces, kernel, *args):
        taken[-1][kernel.py_func.__name__] += timed(lambda: threads.run(pieces, kernel, *args)).cpu

    for module in modules:
        module.run = run
    try:
        for _ in range(rounds + 1):
            taken.append(Counter())
            total = timed(step.both).cpu
            taken[-1]["outside the kernels"] = total - taken[-1].total()
    finally:
        for module in modules:
            module.run = threads.run
    return {name: statistics.median(each[name] for each in taken[1:]) for name in taken[0]}


def extra_megabytes(step: Step) -> float | None:
    """Greatest memory that a step needs at once besides its inputs, outputs and gradients; None where unknown."""
    status, peak = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not peak.exists():
        return None
    step.both()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    peak.write_text("5")  # forget the greatest size so far
    before = _resident(status, "VmRSS")
    gradients = step.both()
    kept = sum(t.numel() * t.element_size() for t in (*gradients, *step.cotangents))
    return max(0.0, (_resident(status, "VmHWM") - before - kept) / 2**20)


def _resident(status: Path, name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(name))
