"""What would this training cost? A few steps on the real data, in a folder that is thrown away."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace

import torch

from realhead.capture.capture import CaptureSet
from realhead.config import TrainConfig
from realhead.dataset import loader
from realhead.training import Trainer


@dataclass(frozen=True)
class DryRun:
    """Cost of a training.

    Attributes:
        parameters: Learned numbers.
        gaussians: Gaussians of a head.
        picture: Width and height in pixels.
        seconds: One step.
        hours: All steps.
        memory: Largest memory in bytes, of the GPU where there is one, else of this process.
        device: Where it was measured.
    """

    parameters: int
    gaussians: int
    picture: tuple[int, int]
    seconds: float
    hours: float
    memory: int
    device: str

    def __str__(self) -> str:
        picture = "x".join(map(str, self.picture))
        return (
            f"{self.parameters / 1e6:.1f} million parameters, {self.gaussians:,} Gaussians, pictures of {picture}\n"
            f"{self.seconds:.2f} s a step, {self.hours:,.1f} hours for all steps, {self.memory / 2**30:.1f} GiB of "
            f"memory ({self.device})"
        )


def dry_run(data, config: TrainConfig, steps: int = 2) -> DryRun:
    """Measures some steps of a training, the critic included if it will take part; nothing is kept.

    Args:
        data: Root of a capture set.
        config: The training.
        steps: Steps that are measured, after one that is not.
    """
    config = replace(config, adversarial_start=0.0, num_workers=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, CaptureSet.open(data), folder)
        batches = iter(loader(trainer.samples, 0))
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        taken = []
        for _ in range(steps + 1):
            group = trainer.next_batches(batches)
            started = time.perf_counter()
            _, pictures, _ = trainer.train_step(group)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    seconds = min(taken[1:])
    return DryRun(
        sum(p.numel() for p in trainer.weights.values()), len(trainer.prior.uv_map), tuple(pictures.shape[:1:-1]),
        seconds, seconds * config.iterations / 3600, _peak_memory(trainer.device), str(trainer.device),
    )  # fmt: skip


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
