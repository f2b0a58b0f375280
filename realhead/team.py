"""Several processes that train one prior: who they are, and how their gradients become one.

`torchrun --nproc-per-node 4 -m realhead train ...` starts the processes, on four GPUs or sharing fewer; without
torchrun there is a team of one, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Team:
    """One process of a team.

    Attributes:
        rank: Number of this process; 0 leads: it alone writes files and shows progress.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls) -> Team:
        """Joins the processes that torchrun started, or makes a team of one."""
        names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        rank, size, local, beside = (int(os.environ.get(name, default)) for name, default in names.items())
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        device = torch.device("cuda", local % gpus) if gpus else torch.device("cpu")
        if gpus:
            torch.cuda.set_device(device)
        if size > 1 and not torch.distributed.is_initialized():
            # NCCL refuses two processes on one GPU
            torch.distributed.init_process_group("nccl" if gpus >= beside else "gloo")
        return cls(rank, size, device)

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """Wraps a module so that its backward pass averages the gradients of all processes."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    def local(self, module: nn.Module, whether: bool):
        """A context in which `share`d gradients stay local: all but the last of the passes that are accumulated."""
        return module.no_sync() if whether and self.size > 1 else nullcontext()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages gradients that no wrapped module has averaged (the critic's)."""
        if self.size > 1:
            for parameter in parameters:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.size > 1:
            torch.distributed.barrier()
