"""The CPU kernels themselves: lane widths, threads, determinism, tiles, and what is said while they are compiled."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import config
from splatting_scenes import cameras, covariances, head_like, relative_error, stressful

from realhead.splatting import compilation, cpu, rasterization, threads
from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels import simd
from realhead.splatting.project_function import SAFE_EPS2D, Drawn, Settings
from realhead.splatting.scene import Scene
from realhead.splatting.tile_lists import TileLists


@pytest.fixture(autouse=True)
def _restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def everything(count=3000, size=(150, 100), seed=0, shape="covars", lanes=cpu.LANES, num_cameras=2):
    """Image, alpha and all gradients of a scene with SH, a background and a depth."""
    given = head_like(count, seed) | cameras(*size, num_cameras)
    covars = None
    if shape == "covars":
        covars = covariances(given["quats"], given["scales"])
        given |= {"quats": None, "scales": None}
    given["backgrounds"] = torch.full((num_cameras, 3), 0.5)
    leaves = {k: t.clone().requires_grad_() for k, t in given.items() if isinstance(t, torch.Tensor) and k != "Ks"}
    if covars is not None:
        leaves["covars"] = covars.clone().requires_grad_()
    scene = Scene(
        **given | {"covars": None} | leaves, near=0.01, far=1e10, eps2d=0.3, sh_degree=3, mode="RGB+ED",
        antialiased=False,
    )  # fmt: skip
    image, alpha, _ = cpu.draw_with_kernels(scene, lanes)
    generator = torch.Generator().manual_seed(1)
    ((image * torch.randn(image.shape, generator=generator)).sum() + alpha.sum()).backward()
    return {"image": image.detach(), "alpha": alpha.detach()} | {k: t.grad for k, t in leaves.items()}


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("shape", ["covars", "quats"])
def test_every_lane_width_draws_the_same(lanes, shape):
    """1 is scalar code, 4 is for NEON and SSE, 8 for AVX; all from one source."""
    wanted = everything(300, (75, 40), shape=shape)
    got = everything(300, (75, 40), shape=shape, lanes=(0,) * lanes)
    for name in wanted:
        assert relative_error(got[name], wanted[name]) < 1e-5, name


def test_lanes_are_chosen_by_the_processor(monkeypatch):
    for features, triple, lanes in (
        ({"avx2": True, "sse2": True, "avx512f": True}, "x86_64-unknown-linux-gnu", 8),
        ({"sse2": True}, "x86_64-pc-windows-msvc", 4),
        ({}, "arm64-apple-darwin", 4),
        ({}, "aarch64-unknown-linux-gnu", 4),
        ({}, "riscv64-unknown-linux-gnu", 1),
    ):
        monkeypatch.setattr(simd.binding, "get_host_cpu_features", lambda features=features: features)
        monkeypatch.setattr(simd.binding, "get_default_triple", lambda triple=triple: triple)
        assert simd.native_lanes() == lanes


@pytest.fixture(params=["team", "helpers"])
def workers(request, monkeypatch):
    """OpenMP's threads, and ours for where there are none."""
    if request.param == "helpers":
        monkeypatch.setattr(threads, "_team", 0)
    elif not threads._team:
        pytest.skip("PyTorch computes without OpenMP here, or bounds are checked")
    return request.param


@pytest.mark.parametrize("shape", ["covars", "quats"])
def test_the_same_bytes_for_any_number_of_threads(shape, workers):
    results = []
    for number in (1, 2, 3, 8, 2):
        torch.set_num_threads(number)
        results.append(everything(3000, shape=shape))
    for other in results[1:]:
        assert all(torch.equal(other[name], results[0][name]) for name in other)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only here is it known how PyTorch was built")
def test_kernels_run_on_the_threads_of_torch(monkeypatch):
    """One pool: two of them would spin against each other."""
    if "OpenMP" not in torch.__config__.parallel_info() or config.BOUNDSCHECK:
        pytest.skip("PyTorch computes without OpenMP here, or bounds are checked")
    torch.set_num_threads(4)
    torch.ones(1 << 20).add_(1)
    monkeypatch.setattr(threads, "_helpers", [])  # those of earlier tests would hide new ones
    before = len(os.listdir("/proc/self/task"))
    everything(6000)
    assert threads._team and not threads._helpers and len(os.listdir("/proc/self/task")) <= before


def _drawn(depths, boxes):
    """What a projection would say of Gaussians with these depths and tiles (first x, last x, first y, last y)."""
    first_x, last_x, first_y, last_y = boxes.astype(np.int64).T
    counts = (last_x - first_x + 1) * (last_y - first_y + 1)
    totals = np.array([[0, (counts > 0).sum(), np.maximum(counts - 1, 0).sum(), 0]])
    spans = first_x | last_x << 16 | first_y << 32 | last_y << 48
    return Drawn(depths.astype(np.float32).view(np.int32), spans, np.empty(0, np.int32), totals)


@pytest.mark.parametrize("count", [0, 1, 20, 3_000, 30_000])
def test_lists_are_sorted_by_depth_with_the_same_result_in_any_number_of_pieces(count):
    """Equal depths keep the order of their numbers. The lists are short, long, very long (one tile), and empty."""
    rng = np.random.default_rng(count)
    depths = rng.choice([rng.uniform(0.5, 2, count), rng.integers(1, 90, count), 1e6 * rng.uniform(size=count)])
    first = rng.integers(0, 6, (count, 2)) * (rng.uniform(size=(count, 1)) < 0.7)
    last = np.minimum(first + rng.integers(0, 3, (count, 2)), 5)
    boxes = np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], 1)
    boxes[::7] = 1, 0, 1, 0  # not drawn
    settings = Settings(6 * rec.TILE_W, 6 * rec.TILE_H, 0.01, 1e10, 0.3, 0.0, False, -1, cpu.LANES)
    order = np.argsort(depths.astype(np.float32), kind="stable")
    for pieces in (1, 2, 5):
        torch.set_num_threads(pieces)
        lists = TileLists(settings, _drawn(depths, boxes))
        for y, x in np.ndindex(6, 6):
            inside = (boxes[:, 0] <= x) & (x <= boxes[:, 1]) & (boxes[:, 2] <= y) & (y <= boxes[:, 3])
            begin, end = lists.offsets[6 * y + x : 6 * y + x + 2]
            assert np.array_equal(lists.ids[begin:end], order[inside[order]])


def test_several_python_threads_may_draw_at_once(workers):
    torch.set_num_threads(2)
    wanted = [everything(400, (60, 40), seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda seed: everything(400, (60, 40), seed), range(4)))
    for one, other in zip(wanted, got, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def _draw_in_a_child(queue):
    torch.set_num_threads(1)  # as DataLoader does: PyTorch's own threads do not survive a fork
    threads.num_threads = lambda: 2
    queue.put(everything(200, (40, 30))["image"].numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_process_draws_as_well(workers):
    """As the workers of a DataLoader do; neither OpenMP's threads nor the helpers of the parent exist there."""
    torch.set_num_threads(2)
    wanted = everything(200, (40, 30))["image"].numpy()
    assert threads._helpers or workers == "team"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_draw_in_a_child, args=(queue,), daemon=True)
    child.start()
    got = queue.get(timeout=60)
    child.join(10)
    assert np.array_equal(got, wanted)


def test_an_error_in_a_helper_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(threads, "_team", 0)
    torch.set_num_threads(2)
    together = threading.Barrier(2, timeout=30)

    def kernel(team, number, counter):
        together.wait()
        if threading.current_thread() is not threading.main_thread():
            raise IndexError("a kernel left its array")

    with pytest.raises(IndexError, match="left its array"):
        threads.run(2, kernel)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16, 17, 1023, 1025, 1031])
def test_numbers_of_gaussians_that_are_no_multiple_of_anything(count):
    """Groups of W, chunks of 1,024, and what is left of them."""
    got, views = everything(count, (40, 30), num_cameras=1), cameras(40, 30)
    given = {k: t.double().requires_grad_() for k, t in head_like(count).items()}
    views = {k: t.double() if isinstance(t, torch.Tensor) else t for k, t in views.items()}
    image, alpha, _ = rasterization(
        **given, **views, sh_degree=3, render_mode="RGB+ED", backend="torch",
        backgrounds=torch.full((1, 3), 0.5, dtype=torch.float64),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    ((image * torch.randn(image.shape, generator=generator)).sum() + alpha.sum()).backward()
    assert float((got["image"] - image.detach()).abs().max()) < 2e-5
    for name in ("means", "opacities", "colors"):
        assert relative_error(got[name], given[name].grad) < 1e-4, name


@pytest.mark.parametrize("size", [(63, 31), (64, 32), (65, 33), (1, 200), (200, 1), (7, 7), (129, 65)])
def test_pictures_that_are_no_multiple_of_a_tile(size):
    """Large Gaussians so that every tile border is crossed."""
    given = stressful(150) | cameras(*size)
    given["scales"] = 3 * given["scales"]
    images = [rasterization(**given, sh_degree=3, backend=backend)[0] for backend in ("cpu", "torch")]
    assert float((images[0] - images[1]).abs().max()) < 1e-5


def test_lists_end_where_their_tiles_are_finished():
    """Hundreds of large opaque Gaussians in the left half: those behind are skipped, but not where a pixel is open."""
    given = head_like(1500) | cameras(128, 64)
    given["means"][:, 0] = -given["means"][:, 0].abs()
    given["scales"] = torch.full((1500, 3), 0.02)
    results = []
    for backend, dtype in (("cpu", torch.float32), ("torch", torch.float64)):
        moved = {k: t.to(dtype) if isinstance(t, torch.Tensor) else t for k, t in given.items()}
        leaf = moved["opacities"] = moved["opacities"].detach().requires_grad_()
        image, alpha, _ = rasterization(**moved, sh_degree=3, backend=backend)
        image.square().sum().backward()
        results.append((image.detach(), alpha.detach(), leaf.grad))
    (image, _, gradient), (wanted, alpha, wanted_gradient) = results
    assert 0.2 < float((alpha > 0.999).double().mean()) < 0.8 and 0 < int((wanted_gradient == 0).sum()) < 1400
    assert float((image - wanted).abs().flatten().quantile(0.99)) < 1e-5
    assert relative_error(gradient, wanted_gradient) < 1e-2  # where a pixel is finished, float32 may go the other way


def test_a_picture_does_not_depend_on_what_else_is_drawn():
    """Cameras of a batch, and the order of the Gaussians, change nothing."""
    given, views = head_like(500), cameras(90, 70, 3)
    together = rasterization(**given, **views, sh_degree=3)[0]
    for c in range(3):
        alone = views | {"viewmats": views["viewmats"][c : c + 1], "Ks": views["Ks"][c : c + 1]}
        assert torch.equal(rasterization(**given, **alone, sh_degree=3)[0][0], together[c])
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    shuffled = {name: tensor[order] for name, tensor in given.items()}
    assert torch.equal(rasterization(**shuffled, **views, sh_degree=3)[0], together)


@pytest.mark.parametrize("eps2d", [0.0, 0.01, SAFE_EPS2D - 1e-3, SAFE_EPS2D, 0.3, 5.0])
def test_thin_and_steep_gaussians_for_any_blur(eps2d):
    """Products down a column must not underflow where the sharpest Gaussian is steep, nor drift."""
    given = stressful(300, seed=9)
    given["scales"][:100] *= 0.02
    given["opacities"] = 0.5 + 0.5 * given["opacities"]
    both = [rasterization(**given, **cameras(80, 60), sh_degree=0, eps2d=eps2d, backend=b) for b in ("cpu", "torch")]
    difference = (both[0][0] - both[1][0]).abs().amax(-1)
    assert float(difference.quantile(0.999)) < 1e-5
    assert float(difference.max()) < 1e-2  # an alpha of 1/255 may go either way


def test_compiling_is_said_once_and_loading_is_not(caplog, monkeypatch):
    announcer = compilation._Announcer()

    class Happening:
        data = {"dispatcher": rec.tile_box}

    with caplog.at_level(logging.WARNING):
        announcer.on_start(Happening)
        announcer.on_start(Happening)
    assert [record.message for record in caplog.records] == [
        "compiling the CPU rasterizer for this processor: up to 30 s, once (then cached on disk)"
    ]
    assert announcer.kernels == ["tile_box", "tile_box"]
    compilation.warm_up()  # whatever was to be compiled is compiled now
    before = len(compilation.announcer.kernels)
    assert compilation.warm_up() < 5 and len(compilation.announcer.kernels) == before


def test_the_cache_of_machine_code_depends_on_all_sources(tmp_path, monkeypatch):
    from realhead.splatting.kernels import jit
    from realhead.splatting.kernels.project import project

    assert project._cache._cache_file._source_stamp == jit.DIGEST == jit._sources_digest()
    monkeypatch.setattr(jit.config, "BOUNDSCHECK", 1)
    assert jit._sources_digest() != jit.DIGEST


def test_fewer_channels_take_less_arithmetic():
    """Never a timed test: what the machine code does is what costs."""
    assert [len(p.channels) for p in cpu.plan_passes(3, False)] == [3]
    assert [len(p.channels) for p in cpu.plan_passes(1, False)] == [1]
    assert [len(p.channels) for p in cpu.plan_passes(0, True)] == [1]
    assert [(p.first_feature, len(p.channels)) for p in cpu.plan_passes(8, True)] == [(0, 3), (3, 3), (6, 3)]
