"""What nobody should pass and somebody will: every input is drawn correctly or refused in one clear sentence."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from splatting_scenes import cameras, covariances, head_like, relative_error, stressful

from realhead.errors import RealheadError
from realhead.splatting import rasterization, reference, scene

BACKENDS = ("cpu", "torch")


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def arguments(count=20, size=32, **changes):
    return head_like(count) | cameras(size, size) | {"sh_degree": 3} | changes


def draw(backend="cpu", **given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rasterization(**given, backend=backend)


def refusal(**given) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(RealheadError) as caught:
        draw(**given)
    sentence = str(caught.value)
    assert isinstance(caught.value, ValueError) and sentence.startswith("rasterization: ") and sentence.endswith(".")
    assert "\n" not in sentence and len(sentence) < 200
    return sentence


def test_nothing_to_draw_is_background(backend):
    means = torch.zeros(0, 3, requires_grad=True)
    empty = {"means": means, "quats": torch.zeros(0, 4), "scales": torch.zeros(0, 3), "opacities": torch.zeros(0)}
    for colors, degree in ((torch.zeros(0, 16, 3), 3), (torch.zeros(0, 5), None)):
        channels = 3 if degree else 5
        given = arguments(backgrounds=torch.full((1, channels), 0.25)) | empty
        image, alpha, meta = draw(backend, **given | {"colors": colors, "sh_degree": degree})
        assert (image == 0.25).all() and (alpha == 0).all() and meta["radii"].shape == (1, 0, 2)
        assert len(meta["gaussian_ids"]) == 0
        image.sum().backward()
        assert means.grad.shape == (0, 3)


def test_all_behind_the_camera_is_background_with_gradients_of_zero(backend):
    given = arguments(backgrounds=torch.full((1, 3), 0.5))
    given["means"] = (given["means"] - torch.tensor([0.0, 0.0, 2.0])).requires_grad_()
    image, alpha, meta = draw(backend, **given)
    assert (image == 0.5).all() and (alpha == 0).all() and (meta["radii"] == 0).all()
    (image.sum() + alpha.sum()).backward()
    assert (given["means"].grad == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds"])
def test_values_that_are_not_finite_are_named_and_counted(backend, name, value):
    given = arguments(backgrounds=torch.ones(1, 3))
    bad = given[name] = given[name].clone()
    bad.view(-1)[[0, 2]] = value
    sentence = refusal(backend=backend, **given)
    assert sentence.startswith(f"rasterization: {name} holds 2 NaN or infinite values of {bad.numel()}")


@pytest.mark.parametrize("channels", [2, 3, 7])
def test_features_that_are_not_finite(backend, channels):
    colors = torch.ones(20, channels)
    colors[3, 1] = float("nan")
    assert "colors holds 1 NaN" in refusal(backend=backend, **arguments(colors=colors, sh_degree=None))


def test_covariances_that_are_not_finite(backend):
    given = arguments()
    given["covars"] = covariances(given.pop("quats"), given.pop("scales"))
    given["covars"][5, 1, 2] = float("inf")
    assert "covars holds 1 NaN or infinite" in refusal(backend=backend, quats=None, scales=None, **given)


def test_the_sign_of_a_scale_is_lost_in_its_square(backend):
    given = arguments(200, 48)
    wanted = draw(backend, **given)[0]
    negative = given | {"scales": -given["scales"]}
    assert torch.equal(draw(backend, **negative)[0], wanted)


def test_scales_of_zero_leave_the_blur(backend):
    """A Gaussian without extent is a dot of eps2d square pixels, of any colour and with finite gradients."""
    given = arguments(1, scales=torch.zeros(1, 3, requires_grad=True), means=torch.zeros(1, 3, requires_grad=True))
    given["opacities"] = torch.tensor([0.9])
    image, alpha, meta = draw(backend, **given)
    offset = torch.tensor([17.5, 15.5]) - meta["means2d"][0, 0].detach()
    wanted = 0.9 * torch.exp(-0.5 * offset.square().sum() / 0.3)
    torch.testing.assert_close(alpha[0, 15, 17, 0].detach(), wanted, rtol=1e-5, atol=1e-6)
    image.sum().backward()
    assert (given["scales"].grad == 0).all() and given["means"].grad.isfinite().all()


def test_quaternions_of_zero_are_refused_and_others_may_have_any_length(backend):
    given = arguments()
    wanted = draw(backend, **given)[0]
    for factor in (1e-15, 1e15, -3.0):
        image = draw(backend, **given | {"quats": factor * given["quats"]})[0]
        torch.testing.assert_close(image, wanted, rtol=0, atol=2e-5)
    quats = given["quats"].clone()
    quats[[3, 7]] = 0
    assert "quats holds 2 quaternions of length zero" in refusal(backend=backend, **given | {"quats": quats})


def test_quaternions_too_long_for_float32():
    quats = 1e30 * arguments()["quats"]
    assert "overflow" in refusal(**arguments(quats=quats))


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_opacities_outside_their_range(backend, value):
    opacities = torch.full((20,), value)
    opacities[:15] = torch.linspace(0, 1, 15)
    assert "opacities holds 5 values outside [0, 1]" in refusal(backend=backend, **arguments(opacities=opacities))


def test_covariances_that_no_gaussian_has_are_not_drawn(backend):
    """Indefinite ones appear when covariances are optimised freely."""
    given = arguments(2, quats=None, scales=None)
    given["covars"] = torch.stack([torch.diag(torch.tensor([1e-2, -1e-2, 1e-2])), -1e-2 * torch.eye(3)])
    given["covars"].requires_grad_()
    image, alpha, _ = draw(backend, **given)
    assert (alpha == 0).all()
    image.sum().backward()
    assert (given["covars"].grad == 0).all()


def test_only_the_symmetric_part_of_a_covariance_counts(backend):
    given = arguments(50, 40, quats=None, scales=None)
    covars = covariances(head_like(50)["quats"], head_like(50)["scales"])
    skew = 1e-5 * torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(0))
    skew = skew - skew.mT
    images = [draw(backend, **given, covars=c)[0] for c in (covars, covars + skew)]
    torch.testing.assert_close(*images, rtol=0, atol=2e-5)


def test_one_huge_gaussian_covers_the_image(backend):
    given = arguments(1, 200, means=torch.zeros(1, 3), scales=torch.full((1, 3), 50.0), opacities=torch.tensor([0.5]))
    given["means"].requires_grad_()
    image, alpha, meta = draw(backend, **given)
    assert 0.499 < float(alpha.detach().min()) and float(alpha.detach().max()) < 0.5 + 3e-6
    assert (meta["radii"] > 10_000).all()
    image.sum().backward()
    assert given["means"].grad.isfinite().all()


def test_a_million_gaussians_in_one_pixel():
    count = 1_000_000
    given = {
        "means": torch.zeros(count, 3, requires_grad=True),
        "quats": torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        "scales": torch.full((count, 3), 1e-5),
        "opacities": torch.full((count,), 0.01),
        "colors": torch.tensor([[1.0, 0.5, 0.25]]).expand(count, 3),
    }
    image, alpha, _ = draw(**given, **cameras(9, 9))
    # all lie at the same place, so each pixel stops as soon as one more would bring its transmittance to 1e-4
    assert 0.9998 < float(alpha.detach().max()) < 1 - 1e-4
    torch.testing.assert_close(image[..., 1:2], 0.5 * alpha, rtol=1e-4, atol=1e-6)
    image.sum().backward()
    # the same depth: in order of their numbers, so that only the first ones are seen
    reached = given["means"].grad.abs().sum(1) > 0
    assert 500 < int(reached.sum()) < 5000 and not reached[10_000:].any()


def test_too_much_for_the_twin_is_refused(monkeypatch):
    monkeypatch.setattr(reference, "MAX_BLOCK_PAIRS", 10_000)
    assert "use 'cpu'" in refusal(backend="torch", **arguments())


@pytest.mark.parametrize("size", [(0, 32), (32, 0), (-1, 32), (16385, 32), (32.0, 32), (True, 32), ("32", 32)])
def test_sizes_without_a_picture(backend, size):
    sentence = refusal(backend=backend, **arguments() | {"width": size[0], "height": size[1]})
    name, value = ("height", 0) if size[1] == 0 else ("width", size[0])
    assert f"{name} is {value!r}; pass an int from 1 to 16384 pixels" in sentence


@pytest.mark.parametrize("size", [(16384, 3), (3, 16384), (1, 1)])
def test_pictures_of_the_greatest_side(size):
    """Gaussians at the far end of a wide picture must not wrap around."""
    width, height = size
    K = torch.tensor([[[100.0, 0, width / 2], [0, 100.0, height / 2], [0, 0, 1]]])
    ends = torch.tensor([[0.5, 0.5], [width - 0.5, height - 0.5]])
    means = torch.cat([(ends - K[0, :2, 2]) / 100, torch.ones(2, 1)], 1).requires_grad_()
    given = {"quats": torch.tensor([[1.0, 0, 0, 0]] * 2), "scales": torch.full((2, 3), 1e-3)}
    image, alpha, _ = draw(
        means=means, **given, opacities=torch.full((2,), 0.5), colors=torch.eye(2), viewmats=torch.eye(4)[None], Ks=K,
        width=width, height=height,
    )  # fmt: skip
    assert image.shape == (1, height, width, 2)
    torch.testing.assert_close(image[0, 0, 0, 0].detach(), torch.tensor(0.5), rtol=1e-4, atol=1e-4)
    wanted = 0.25 if size == (1, 1) else 0.5  # behind the first one in the only pixel
    torch.testing.assert_close(image[0, -1, -1, 1].detach(), torch.tensor(wanted), rtol=1e-4, atol=1e-4)
    assert int((alpha > 0).sum()) <= 100
    image.sum().backward()
    assert means.grad.isfinite().all()


def test_pictures_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(scene, "free_memory", lambda: 2**30)
    sentence = refusal(**arguments() | {"width": 16384, "height": 16384})
    assert "do not fit into memory" in sentence and "1.0 GiB are free" in sentence


def test_layout_does_not_matter(backend):
    given = arguments(60, 40)
    wanted = draw(backend, **given)[0]
    scattered = {}
    for name in ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"):
        wide = torch.full((*given[name].shape, 2), float("nan"))
        wide[..., 0] = given[name]
        scattered[name] = wide[..., 0].requires_grad_()
        assert not scattered[name].is_contiguous()
    image = draw(backend, **given | scattered)[0]
    assert torch.equal(image, wanted)
    image.sum().backward()
    assert scattered["quats"].grad.shape == (60, 4)


def test_one_tensor_may_serve_all_gaussians(backend):
    """Expanded tensors have a stride of 0, and their gradients are the sums."""
    given = arguments(60, 40)
    single = {"quats": given["quats"][:1].clone(), "scales": given["scales"][:1].clone()}
    gradients = []
    for grow in (lambda t: t.expand(60, -1), lambda t: t.repeat(60, 1)):
        leaves = {name: t.clone().requires_grad_() for name, t in single.items()}
        draw(backend, **given | {name: grow(t) for name, t in leaves.items()})[0].sum().backward()
        gradients.append(leaves)
    for name in single:
        assert relative_error(gradients[0][name].grad, gradients[1][name].grad) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_other_number_types_than_float32(dtype):
    given = arguments()
    moved = {k: t.to(dtype) if isinstance(t, torch.Tensor) else t for k, t in given.items()}
    assert "float" in refusal(**moved)
    assert "float" in refusal(**given | {"scales": given["scales"].to(dtype)})
    if dtype != torch.float64:
        assert "pass all tensors as torch.float32" in refusal(backend="torch", **moved)


def test_float64_is_for_the_twin():
    given = {k: t.double() if isinstance(t, torch.Tensor) else t for k, t in arguments().items()}
    assert draw("torch", **given)[0].dtype == torch.float64
    assert "backend='torch' takes float64" in refusal(**given)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
def test_wrong_shapes_are_named(backend, name):
    given = arguments()
    for wrong in (given[name][:-1], given[name][..., None], given[name].reshape(-1), torch.tensor(1.0)):
        if wrong.shape == given[name].shape:
            continue
        sentence = refusal(backend=backend, **given | {name: wrong})
        assert "has shape" in sentence


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
def test_what_is_not_a_tensor_is_named(backend, name):
    given = arguments()
    for wrong in (given[name].numpy(), None, given[name].to_sparse(), given[name].to("meta")):
        sentence = refusal(backend=backend, **given | {name: wrong})
        assert name in sentence


def test_neither_covariances_nor_scales(backend):
    assert "neither covars nor both" in refusal(backend=backend, **arguments(scales=None))


@pytest.mark.parametrize("K", [
    torch.zeros(3, 3),
    torch.diag(torch.tensor([0.0, 50.0, 1.0])),
    torch.diag(torch.tensor([50.0, -50.0, 1.0])),
    torch.diag(torch.tensor([50.0, 50.0, 0.0])),
])  # fmt: skip
def test_singular_intrinsics(backend, K):
    assert "Ks holds a singular matrix" in refusal(backend=backend, **arguments(Ks=K[None]))


def test_skew_is_refused(backend):
    K = torch.tensor([[50.0, 1.0, 16.0], [0, 50.0, 16.0], [0, 0, 1]])
    assert "skew" in refusal(backend=backend, **arguments(Ks=K[None]))


def test_view_matrices_that_are_none(backend):
    transposed = arguments()["viewmats"].mT.contiguous()
    assert "not transposed" in refusal(backend=backend, **arguments(viewmats=transposed))
    flat = torch.diag(torch.tensor([1.0, 1, 0, 1]))[None]
    assert "singular rotation" in refusal(backend=backend, **arguments(viewmats=flat))


@pytest.mark.parametrize(("change", "part"), [
    ({"near_plane": 0.0}, "near_plane"),
    ({"near_plane": 2.0, "far_plane": 1.0}, "0 < near_plane < far_plane"),
    ({"far_plane": float("inf")}, "far"),
    ({"eps2d": -1.0}, "eps2d"),
    ({"eps2d": float("nan")}, "eps2d"),
    ({"radius_clip": "3"}, "radius_clip"),
    ({"render_mode": "RGBD"}, "RGB+ED"),
    ({"rasterize_mode": "fast"}, "antialiased"),
    ({"sh_degree": 4}, "sh_degree"),
    ({"sh_degree": True}, "sh_degree"),
    ({"sh_degree": 2.0}, "sh_degree"),
    ({"backend": "cuda"}, "gsplat"),
    ({"backend": "gsplat"}, "needs cuda tensors"),
    ({"backgrounds": torch.ones(3)}, "backgrounds has shape (3,)"),
    ({"colors": torch.zeros(20, 9, 3)}, "K >= 16"),
    ({"colors": torch.zeros(20, 65), "sh_degree": None}, "D from 1 to 64"),
    ({"colors": torch.zeros(20, 0), "sh_degree": None}, "D from 1 to 64"),
])  # fmt: skip
def test_settings_without_a_meaning(change, part):
    assert part in refusal(**arguments() | change)


def test_values_beyond_float32_are_refused_and_not_drawn_wrongly():
    assert "overflow" in refusal(**arguments(scales=torch.full((20, 3), 1e25)))
    assert "overflow" in refusal(**arguments(means=torch.full((20, 3), 3e38)))


def test_far_away_and_tiny_things_do_no_harm(backend):
    given = stressful(60) | cameras(32, 32) | {"sh_degree": 3}
    wanted = draw(backend, **given)[0]
    extra = stressful(4)
    extra["means"] = torch.tensor([[1e6, 0, 5.0], [0, -1e8, 1e9], [1e15, 1e15, 1e9], [0, 0, 1e12]])
    extra["opacities"][:] = 0.5
    both = {name: torch.cat([given[name], extra[name]]) for name in extra}
    torch.testing.assert_close(draw(backend, **given | both)[0], wanted, rtol=0, atol=2e-3)


@pytest.mark.parametrize("degree", [None, 0])
def test_what_lies_too_far_to_be_drawn_gets_a_gradient_of_zero(backend, degree):
    given = arguments(sh_degree=degree) | ({} if degree == 0 else {"colors": torch.ones(20, 3)})
    given["means"][3, 0] = -1e20  # its squared distance overflows in float32
    given["means"].requires_grad_()
    draw(backend, **given)[0].sum().backward()
    assert given["means"].grad.isfinite().all() and (given["means"].grad[3] == 0).all()


def test_a_second_derivative_is_refused_rather_than_wrong():
    means = arguments()["means"].requires_grad_()
    image = draw(**arguments() | {"means": means})[0]
    (gradient,) = torch.autograd.grad(image.square().sum(), means, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_backward_may_run_twice():
    given = arguments(60, 40)
    for channels in (16, 5, 3):
        colors = given["colors"] if channels == 16 else torch.rand(60, 5)
        leaf = colors.clone().requires_grad_()
        image = draw(**given | {"colors": leaf, "sh_degree": 3 if channels == 16 else None})[0]
        first = torch.autograd.grad(image.square().sum(), leaf, retain_graph=True)[0]
        assert torch.equal(torch.autograd.grad(image.square().sum(), leaf)[0], first)


def test_inputs_are_left_alone():
    given = arguments(60, 40)
    before = {k: t.clone() for k, t in given.items() if isinstance(t, torch.Tensor)}
    leaf = given["means"].requires_grad_()
    draw(**given)[0].sum().backward()
    assert all(torch.equal(given[k].detach(), t) for k, t in before.items()) and leaf.grad is not None
    with torch.inference_mode():
        assert np.isfinite(draw(**arguments())[0].numpy()).all()
