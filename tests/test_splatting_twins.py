"""Splatting against what others wrote: gsplat's torch functions and densification, SciPy's spherical harmonics."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import pytest
import torch
from scipy.special import sph_harm_y
from splatting_scenes import cameras, covariances, head_like, relative_error, stressful

from realhead.splatting import rasterization, reference
from realhead.splatting.backends import draw_with_gsplat
from realhead.splatting.harmonics import sh_basis, sh_rotation
from realhead.splatting.scene import Scene

gsplat_torch = pytest.importorskip("gsplat.cuda._torch_impl")


def as_scene(given, views, antialiased=False, **changes):
    return Scene(
        **{k: given[k] for k in ("means", "quats", "scales", "opacities", "colors")}, **views, near=0.01, far=1e10,
        eps2d=0.3, sh_degree=3, backgrounds=None, mode="RGB", antialiased=antialiased, covars=None, **changes,
    )  # fmt: skip


def double(tensors):
    return {k: t.double() if isinstance(t, torch.Tensor) else t for k, t in tensors.items()}


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("make", [head_like, stressful])
def test_projection_is_that_of_gsplat(make, antialiased):
    given, views = double(make(300)), double(cameras(80, 60))
    ours = reference.project(as_scene(given, views, antialiased), 0)
    covars, _ = gsplat_torch._quat_scale_to_covar_preci(given["quats"], given["scales"], True, False)
    torch.testing.assert_close(reference.covariances(given["quats"], given["scales"]), covars)
    _, means2d, depths, conics, compensation = gsplat_torch._fully_fused_projection(
        given["means"], covars, views["viewmats"], views["Ks"], 80, 60, calc_compensations=True
    )
    drawn = ours.visible
    assert int(drawn.sum()) > 100
    torch.testing.assert_close(ours.means2d[drawn], means2d[0, drawn])
    torch.testing.assert_close(ours.depths[drawn], depths[0, drawn])
    torch.testing.assert_close(ours.conics[drawn][:, [0, 0, 1], [0, 1, 1]], conics[0, drawn])
    if antialiased:
        torch.testing.assert_close(ours.opacities[drawn], (given["opacities"] * compensation[0])[drawn])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_are_those_of_gsplat(degree):
    generator = torch.Generator().manual_seed(degree)
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(50, 16, 3, generator=generator, dtype=torch.float64)
    basis = sh_basis(torch.nn.functional.normalize(directions, dim=-1), degree)
    ours = torch.einsum("nk,nkc->nc", basis, coefficients[:, : basis.shape[1]])
    torch.testing.assert_close(ours, gsplat_torch._spherical_harmonics(degree, directions, coefficients))


def test_kernels_agree_with_gsplats_projection_and_its_gradients():
    """Through float32 kernels and gsplat's float64 autograd: means, covariances and cameras of a projection."""
    given, views = head_like(100), cameras(80, 60)
    covars = covariances(given["quats"], given["scales"])
    generator = torch.Generator().manual_seed(0)
    slopes = [torch.randn(1, 100, n, generator=generator) for n in (2, 1)]
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).clone().requires_grad_() for t in (given["means"], views["viewmats"])]
        if dtype == torch.float32:
            *_, meta = rasterization(
                leaves[0], None, None, given["opacities"], given["colors"], leaves[1], views["Ks"], 80, 60, sh_degree=3,
                covars=covars,
            )  # fmt: skip
            parts = meta["means2d"], meta["depths"][..., None]
        else:
            _, means2d, depths, _, _ = gsplat_torch._fully_fused_projection(
                leaves[0], covars.double(), leaves[1], views["Ks"].double(), 80, 60
            )
            parts = means2d, depths[..., None]
        sum((part * slope.to(dtype)).sum() for part, slope in zip(parts, slopes, strict=True)).backward()
        gradients.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*gradients, strict=True):
        assert relative_error(ours, theirs) < 5e-6


def test_gsplats_densification_runs_on_our_meta():
    """Gaussians with large gradients in the picture are split and duplicated, transparent ones removed."""
    from gsplat.strategy import DefaultStrategy

    torch.manual_seed(0)
    given, views = head_like(200), cameras(64, 64, 2)
    scene = {"means": given["means"], "quats": given["quats"], "scales": given["scales"].log(), "sh0": given["colors"]}
    opacities = given["opacities"].clone()
    opacities[:20] = 0.001
    params = torch.nn.ParameterDict({k: torch.nn.Parameter(t) for k, t in scene.items()})
    params["opacities"] = torch.nn.Parameter(torch.logit(opacities))
    optimizers = {name: torch.optim.SGD([{"params": [p], "name": name}], lr=1e-9) for name, p in params.items()}
    image, _, meta = rasterization(
        params["means"], params["quats"], params["scales"].exp(), params["opacities"].sigmoid(), params["sh0"], **views,
        sh_degree=3,
    )  # fmt: skip
    meta["means2d"].retain_grad()
    image.square().sum().backward()
    drawn = (meta["radii"] > 0).all(-1)
    # mean over the cameras that see a Gaussian, of its slope in units of half a picture, times the number of cameras
    slopes = (meta["means2d"].grad * 64 / 2 * 2).norm(dim=-1) * drawn
    slopes = slopes.sum(0) / drawn.sum(0).clamp_min(1)
    assert (slopes[:20] == 0).all() and not drawn[:, :20].any()
    threshold = float(slopes[20:].median())
    strategy = DefaultStrategy(refine_start_iter=0, refine_every=1, grow_grad2d=threshold, verbose=False)
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=1.0)
    strategy.step_post_backward(params, optimizers, state, 1, meta, packed=False)
    grown = int((slopes > threshold).sum())
    assert grown == 90 and len(params["means"]) == 200 + grown - 20


def test_the_basis_is_the_real_spherical_harmonics_up_to_sign():
    """3DGS's functions are SciPy's complex ones made real, with a sign for each that its papers fixed."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=-1)
    polar, azimuth = torch.acos(directions[:, 2]).numpy(), torch.atan2(directions[:, 1], directions[:, 0]).numpy()
    ours = sh_basis(directions, 3)
    for band in range(4):
        for order in range(-band, band + 1):
            value = sph_harm_y(band, abs(order), polar, azimuth)
            real = value.real if order == 0 else 2**0.5 * (value.real if order > 0 else value.imag)
            column = ours[:, band * (band + 1) + order]
            wanted = torch.from_numpy(real)
            wanted = wanted * torch.sign((wanted * column).sum())
            torch.testing.assert_close(column, wanted, rtol=1e-9, atol=1e-12)


def test_rotated_coefficients_give_the_rotated_function():
    import roma

    generator = torch.Generator().manual_seed(1)
    rotation = roma.random_rotmat(dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(30, 3, generator=generator, dtype=torch.float64), dim=-1)
    coefficients = torch.randn(16, generator=generator, dtype=torch.float64)
    rotated = sh_rotation(rotation, 3) @ coefficients
    torch.testing.assert_close(sh_basis(directions @ rotation.T, 3) @ rotated, sh_basis(directions, 3) @ coefficients)


def test_the_twin_has_the_right_derivatives():
    """gradcheck, by finite differences, of the definitions that everything else is compared with."""
    given, views = double(head_like(4)), double(cameras(12, 10))
    given["scales"] = given["scales"] * 0.5  # about two pixels
    names = ("means", "quats", "scales", "opacities", "colors")

    def picture(*leaves):
        return rasterization(**dict(zip(names, leaves, strict=True)), **views, sh_degree=3, backend="torch")[:2]

    leaves = [given[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(picture, leaves, eps=1e-7, atol=2e-4, rtol=1e-3, nondet_tol=0.0, fast_mode=True)


def test_gsplat_gets_what_gives_it_the_gradients_of_the_other_backends(monkeypatch):
    """It reads the upper triangle of a covariance and inverts whole view matrices; see `draw_with_gsplat`."""
    import gsplat

    def fake(means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, covars, **_):
        upper = torch.triu(covars).sum() + torch.linalg.inv(viewmats)[:, :3, 3].square().sum()
        image = means.new_zeros(1, height, width, 3) + upper
        return image, image[..., :1], {"radii": torch.ones(1, len(means), 2, dtype=torch.int32)}

    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", types.SimpleNamespace(_C=object()))
    monkeypatch.setattr(gsplat, "rasterization", fake)
    given, views = head_like(5), cameras(8, 8)
    covars = covariances(given["quats"], given["scales"]).requires_grad_()
    viewmats = views["viewmats"].clone().requires_grad_()
    scene = replace(as_scene(given, views), quats=None, scales=None, covars=covars, viewmats=viewmats)
    draw_with_gsplat(scene)[0].sum().backward()
    torch.testing.assert_close(covars.grad, covars.grad.mT)
    assert viewmats.grad[:, :3].abs().max() > 0 and not viewmats.grad[:, 3].any()
