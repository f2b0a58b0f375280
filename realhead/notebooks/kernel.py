"""A Jupyter kernel that is this very Python, whatever kernels the user has registered under the same name."""

from __future__ import annotations

import sys
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager


class ThisPythonSpecs(KernelSpecManager):
    """Answers every kernel name with this Python."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of `sys.executable`."""
        return KernelSpec(resource_dir="", **get_kernel_dict())


def kernel_manager(sockets: Path) -> AsyncKernelManager:
    """A manager whose kernels are this Python.

    Args:
        sockets: Folder for the kernel's sockets. Unlike ports they are open to nobody else, and no two kernels race
            for one. (Windows has none and takes ports.)
    """
    manager = AsyncKernelManager(kernel_spec_manager=ThisPythonSpecs())
    if sys.platform != "win32":
        manager.transport = "ipc"
        manager.ip = str(sockets / "kernel")
    return manager
