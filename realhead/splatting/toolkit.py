"""Does what gsplat needs fit together: GPU, PyTorch, CUDA toolkit, C++ compiler, ninja?

gsplat compiles its CUDA code when it is first used, for minutes, and what does not fit ends in pages of a compiler's
messages. Looking at the versions beforehand says it in a sentence.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from realhead.errors import RealheadError


@dataclass(frozen=True)
class Toolkit:
    """What was found; versions as text, None where something is absent."""

    gsplat: str | None
    torch: str
    torch_cuda: str | None
    """CUDA version that PyTorch was built for."""
    device: str | None
    """Name of the GPU."""
    nvcc: str | None
    headers_missing_in: str | None
    """Where the toolkit's headers should lie beside nvcc, if they do not: nvcc may be a wrapper or a link."""
    compiler: str | None
    """Name and version, as "g++ 13.2.0"."""
    compiler_range: tuple[str, str] | None
    """Versions that the toolkit accepts, from one to below the other."""
    ninja: bool
    built: bool
    """Whether gsplat's code is compiled already."""

    def misfits(self) -> list[str]:
        """Says what keeps gsplat from running, one sentence each; nothing where all is well."""
        if self.torch_cuda is None:
            return ["PyTorch is built without CUDA: for a GPU install it as pytorch.org says."]
        if self.device is None:
            return ["PyTorch finds no CUDA device: nvidia-smi tells whether the driver does."]
        if self.gsplat is None:
            return ["gsplat is not installed: run `make setup` again."]
        return [] if self.built else [*self._toolkit_misfits(), *self._compiler_misfits()]

    def _toolkit_misfits(self) -> list[str]:
        wanted = self.torch_cuda.split(".")[0]
        if self.nvcc is None:
            return [f"nvcc was not found: install the CUDA {self.torch_cuda} toolkit, or set CUDA_HOME to its folder."]
        if self.nvcc.split(".")[0] != wanted:
            return [
                f"The toolkit is CUDA {self.nvcc} and PyTorch is built for {self.torch_cuda}: "
                f"set CUDA_HOME to a toolkit {wanted}.x, or install a PyTorch built for {self.nvcc}."
            ]
        if self.headers_missing_in is not None:
            return [
                f"nvcc was found, but no cuda_runtime.h in {self.headers_missing_in}: "
                f"set CUDA_HOME to the toolkit's own folder, as /usr/local/cuda."
            ]
        return []

    def _compiler_misfits(self) -> list[str]:
        sentences = []
        if self.compiler is None:
            sentences.append("There is no C++ compiler: install g++, or name one in CXX.")
        elif self.compiler_range is not None:
            low, high = self.compiler_range
            if not _numbers(low) <= _numbers(self.compiler.split()[-1]) < _numbers(high):
                sentences.append(
                    f"CUDA {self.nvcc} takes compilers from {low} to below {high}, and this is {self.compiler}: "
                    f"install another and name it in CXX."
                )
        if not self.ninja:
            sentences.append("ninja was not found: pip install ninja.")
        return sentences

    def __str__(self) -> str:
        parts = [f"gsplat {self.gsplat}" if self.gsplat else "no gsplat"]
        parts.append(f"PyTorch for CUDA {self.torch_cuda}" if self.torch_cuda else "PyTorch without CUDA")
        parts.append(self.device or "no GPU")
        if self.torch_cuda and self.device:
            parts.append(f"toolkit {self.nvcc}" if self.nvcc else "no toolkit")
            parts.append(self.compiler or "no compiler")
            parts.append("compiled" if self.built else "to be compiled once, for minutes")
        return ", ".join(parts)


def look() -> Toolkit:
    """Looks at this machine; nothing is compiled or written."""
    import torch

    home = cuda_home()
    nvcc, include = nvcc_version(home), home / "include"
    compiler = compiler_version()
    return Toolkit(
        gsplat=_installed("gsplat"),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        device=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        nvcc=nvcc,
        headers_missing_in=None if (include / "cuda_runtime.h").is_file() else str(include),
        compiler=compiler,
        compiler_range=_accepted(nvcc, compiler),
        ninja=shutil.which("ninja") is not None,
        built=is_built(),
    )


def build() -> float:
    """Compiles gsplat's CUDA code, unless it is compiled already.

    Returns:
        Seconds taken.

    Raises:
        RealheadError: What does not fit, or that compiling failed.
    """
    found = look()
    if misfits := found.misfits():
        raise RealheadError(" ".join(misfits))
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from gsplat.cuda._backend import _C
    except Exception as error:
        last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise RealheadError(f"gsplat's CUDA code could not be compiled ({found}): {last[:300]}") from error
    if _C is None:
        raise RealheadError(f"gsplat found no CUDA toolkit ({found}): set CUDA_HOME to its folder.")
    return time.perf_counter() - start


def is_built() -> bool:
    """Whether gsplat came with compiled code, or has compiled it before."""
    if importlib.util.find_spec("gsplat") is not None and importlib.util.find_spec("gsplat.csrc") is not None:
        return True
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR", Path.home() / ".cache" / "torch_extensions"))
    return any(folder.glob("**/gsplat_cuda/gsplat_cuda.so"))


def cuda_home() -> Path:
    """Where PyTorch looks for the CUDA toolkit: CUDA_HOME, else around the nvcc on PATH, else /usr/local/cuda."""
    named, nvcc = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"), shutil.which("nvcc")
    return Path(named or (Path(nvcc).parent.parent if nvcc else "/usr/local/cuda"))


def nvcc_version(home: Path) -> str | None:
    """Version of the CUDA toolkit in a folder, as "12.8"."""
    release = re.search(r"release (\d+\.\d+)", _output(str(home / "bin" / "nvcc"), "--version"))
    return release[1] if release else None


def compiler_version() -> str | None:
    """Name and version of the C++ compiler, as "g++ 13.2.0"."""
    command = os.environ.get("CXX", "c++")
    if shutil.which(command) is None:
        return None
    name = "clang++" if "clang" in _output(command, "--version").lower() else "g++"
    number = re.search(r"\d+(\.\d+)*", _output(command, "-dumpfullversion", "-dumpversion"))
    return f"{name} {number[0]}" if number else None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _accepted(nvcc: str | None, compiler: str | None) -> tuple[str, str] | None:
    """The compilers that a toolkit accepts, from PyTorch's own table."""
    # At its import it warns of a missing GPU, which the doctor tells in its own words.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils import cpp_extension

    name = "CUDA_CLANG_VERSIONS" if compiler and compiler.startswith("clang") else "CUDA_GCC_VERSIONS"
    bounds = getattr(cpp_extension, name, {}).get(nvcc)
    return tuple(".".join(map(str, bound)) for bound in bounds) if bounds else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
