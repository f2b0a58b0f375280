"""Random calls, sane and insane: each is refused with a `ValueError`, or drawn as the float64 twin draws it.

`REALHEAD_FUZZ=5000` looks longer than a test may; the last test looks with every access to memory checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from llvmlite import binding
from splatting_scenes import cameras, covariances

from realhead.errors import RealheadError
from realhead.splatting import rasterization

NUMBER = int(os.environ.get("REALHEAD_FUZZ", "80"))
CHECKED = "NUMBA_BOUNDSCHECK" in os.environ
WEIRD = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, 1e-38, -1e-20, 1e-7, -1.0, 1.0, 1e7, -1e20, 3e38)


@st.composite
def calls(draw) -> dict:
    """Arguments of `rasterization`; one in two has a few weird values somewhere."""
    count, seed = draw(st.integers(0, 40)), draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    num_cameras = draw(st.sampled_from([1, 1, 2]))
    given = cameras(
        draw(st.integers(1, 140)), draw(st.integers(1, 70)), num_cameras, draw(st.sampled_from([0.05, 0.6, 40]))
    )
    given["means"] = draw(st.sampled_from([0.01, 0.1, 3.0])) * torch.randn(count, 3, generator=generator)
    spread, size = draw(st.sampled_from([0.1, 1.0, 3.0])), draw(st.sampled_from([-12.0, -6.0, -4.0, 0.0]))
    scales = torch.exp(spread * torch.randn(count, 3, generator=generator) + size)
    quats = torch.randn(count, 4, generator=generator)
    if draw(st.booleans()):
        given |= {"quats": quats, "scales": scales}
    else:
        given |= {"quats": None, "scales": None, "covars": covariances(quats, scales)}
    given["opacities"] = torch.rand(count, generator=generator) ** draw(st.sampled_from([0.05, 1.0, 8.0]))
    degree = given["sh_degree"] = draw(st.sampled_from([None, 0, 1, 2, 3]))
    channels = 3 if degree is not None else draw(st.sampled_from([1, 3, 5]))
    shape = (count, channels) if degree is None else (count, draw(st.sampled_from([(degree + 1) ** 2, 16])), 3)
    if draw(st.booleans()):
        shape = (num_cameras, *shape)
    given["colors"] = torch.rand(shape, generator=generator)
    if draw(st.booleans()):
        given["backgrounds"] = torch.rand(num_cameras, channels, generator=generator)
    given["render_mode"] = draw(st.sampled_from(["RGB", "D", "ED", "RGB+D", "RGB+ED"]))
    given["rasterize_mode"] = draw(st.sampled_from(["classic", "antialiased"]))
    given["eps2d"] = draw(st.sampled_from([0.3, 0.3, 0.0, 0.05, 4.0]))
    given["radius_clip"] = draw(st.sampled_from([0.0, 0.0, 3.0]))
    given["near_plane"], given["far_plane"] = draw(st.sampled_from([(0.01, 1e10), (0.5, 0.65), (1e-6, 1.0)]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 3]))):
        tensors = [name for name, value in given.items() if isinstance(value, torch.Tensor) and value.numel()]
        flat = given[draw(st.sampled_from(tensors))].view(-1)
        flat[draw(st.integers(0, len(flat) - 1))] = draw(st.sampled_from(WEIRD))
    return given


def drawn(given: dict, backend: str):
    """Image and alpha, and whether all gradients are finite; None where the call is refused."""
    dtype = torch.float64 if backend == "torch" else torch.float32
    moved = {
        k: t.to(dtype).clone().requires_grad_(k != "Ks") if isinstance(t, torch.Tensor) else t for k, t in given.items()
    }
    try:
        image, alpha, _ = rasterization(**moved, backend=backend)
    except RealheadError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return None
    (image.sum() + alpha.sum()).backward()
    finite = all(t.grad is None or bool(t.grad.isfinite().all()) for t in moved.values() if isinstance(t, torch.Tensor))
    return image.detach(), alpha.detach(), finite


@hypothesis.settings(
    max_examples=NUMBER, deadline=None, derandomize="REALHEAD_FUZZ" not in os.environ, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@hypothesis.given(calls())
def test_random_calls_are_drawn_right_or_refused(given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = drawn(given, "cpu")
    if result is None:
        return
    image, alpha, finite = result
    wanted, wanted_alpha, twin_finite = drawn(given, "torch")
    assert image.shape == wanted.shape and bool(image.isfinite().all()) and bool(alpha.isfinite().all())
    assert finite or not twin_finite
    assert float(alpha.min()) > -1e-6 and float(alpha.max()) <= 1
    errors = (alpha - wanted_alpha).abs().flatten()
    assert float(errors.max()) < 0.02
    scale = wanted.abs().max().clamp_min(1)
    for error in (errors, ((image - wanted).abs() / scale).amax(-1).flatten()):
        # near alpha = 1/255, or where a pixel is finished, float32 may go the other way: one pixel in ten, or one
        calm = error.sort().values[: min(int(0.9 * len(error)), len(error) - 1)]
        assert not len(calm) or float(calm[-1]) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(CHECKED, reason="is running in such a process")
def test_no_kernel_leaves_its_arrays(root, request):
    """The same calls where each load and store is checked; those kernels are compiled and kept apart.

    On a processor with AVX-512 they are compiled for one without it, as most laptops are.
    """
    without_avx512 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+popcnt"}
    environment = os.environ | (without_avx512 if binding.get_host_cpu_features().get("avx512f") else {})
    environment |= {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(request.config.cache.mkdir("splatting_boundscheck")),
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
