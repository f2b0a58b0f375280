"""What the doctor says about gsplat, on machines that are not here."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from realhead.errors import RealheadError
from realhead.splatting import toolkit
from realhead.splatting.toolkit import Toolkit

GOOD = Toolkit(
    gsplat="1.5.3", torch="2.9.0+cu128", torch_cuda="12.8", device="NVIDIA X", nvcc="12.8", headers_missing_in=None,
    compiler="g++ 13.2.0", compiler_range=("6.0.0", "15.0"), ninja=True, built=False,
)  # fmt: skip


def test_all_fits():
    assert GOOD.misfits() == []
    assert str(GOOD) == (
        "gsplat 1.5.3, PyTorch for CUDA 12.8, NVIDIA X, toolkit 12.8, g++ 13.2.0, to be compiled once, for minutes"
    )


@pytest.mark.parametrize(("changes", "part"), [
    ({"torch_cuda": None}, "built without CUDA"),
    ({"device": None}, "nvidia-smi"),
    ({"gsplat": None}, "make setup"),
    ({"nvcc": None}, "install the CUDA 12.8 toolkit"),
    ({"nvcc": "11.8"}, "toolkit 12.x, or install a PyTorch built for 11.8"),
    ({"headers_missing_in": "/usr/local/include"}, "no cuda_runtime.h in /usr/local/include: set CUDA_HOME"),
    ({"compiler": None}, "no C++ compiler"),
    ({"compiler": "g++ 15.1.0"}, "from 6.0.0 to below 15.0, and this is g++ 15.1.0"),
    ({"compiler": "g++ 5.4.0"}, "from 6.0.0"),
    ({"ninja": False}, "pip install ninja"),
])  # fmt: skip
def test_one_misfit_is_one_sentence(changes, part):
    (sentence,) = replace(GOOD, **changes).misfits()
    assert part in sentence and sentence.endswith(".") and "\n" not in sentence


def test_other_minor_versions_of_the_toolkit_fit():
    assert replace(GOOD, nvcc="12.4").misfits() == []


def test_what_is_compiled_needs_no_toolkit():
    assert replace(GOOD, nvcc=None, compiler=None, ninja=False, built=True).misfits() == []


def test_versions_are_read_from_the_programs(tmp_path, monkeypatch):
    def program(name, text):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{text}'\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    program("nvcc", "Cuda compilation tools, release 12.4, V12.4.99")
    program("c++", "13.3.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert toolkit.nvcc_version(toolkit.cuda_home()) == "12.4" and toolkit.compiler_version() == "g++ 13.3.0"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert toolkit.compiler_version() is None


def test_the_toolkit_is_where_pytorch_looks_for_it(tmp_path, monkeypatch):
    """Not everywhere where one lies: with another nvcc first on PATH, PyTorch does not see /usr/local/cuda."""
    from torch.utils.cpp_extension import _find_cuda_home

    wrapper = tmp_path / "bin" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho 'release 12.4, V12.4.99'\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_PATH", raising=False)
    for home in (None, "/somewhere/cuda-12"):
        if home is None:
            monkeypatch.delenv("CUDA_HOME", raising=False)
            found = toolkit.look()
            assert found.nvcc == "12.4" and found.headers_missing_in == str(tmp_path / "include")
        else:
            monkeypatch.setenv("CUDA_HOME", home)
        assert str(toolkit.cuda_home()) == _find_cuda_home()


def test_pytorchs_table_of_compilers_is_found():
    low, high = toolkit._accepted("12.4", "g++ 13.2.0")
    assert (low, high) == ("6.0.0", "14.0")


def test_compiled_code_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    before = toolkit.is_built()
    library = tmp_path / "py311_cu128" / "gsplat_cuda" / "gsplat_cuda.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert toolkit.is_built() and not before


def test_building_says_first_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(toolkit, "look", lambda: replace(GOOD, nvcc=None, ninja=False))
    with pytest.raises(RealheadError, match="nvcc was not found.*ninja was not found"):
        toolkit.build()


def test_this_machine_is_described():
    found = toolkit.look()
    assert "PyTorch" in str(found) and all(sentence.endswith(".") for sentence in found.misfits())


@pytest.mark.gpu
def test_gsplat_can_be_built():
    assert toolkit.build() >= 0
    assert toolkit.build() < 5
