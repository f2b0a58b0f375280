"""Every backend against every Gaussian at every pixel in float64: pictures, and the gradients of all inputs.

The same tests run gsplat where there is CUDA, with the tolerance that its float32 atomics need.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from splatting_scenes import cameras, covariances, head_like, oracle, relative_error, stressful
from torch import Tensor

from realhead.splatting import rasterization
from realhead.splatting.harmonics import sh_basis

WIDTH, HEIGHT = 70, 45  # neither a multiple of a tile (64 x 32) nor of a Vector
MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


@dataclass(frozen=True)
class Backend:
    """What a test calls, and how exact it has to be."""

    name: str
    lanes: int = 0
    image: float = 5e-6
    gradient: float = 5e-5

    @property
    def device(self) -> str:
        return "cuda" if self.name == "gsplat" else "cpu"

    def __call__(self, **arguments):
        moved = {key: a.to(self.device) if isinstance(a, Tensor) else a for key, a in arguments.items()}
        return rasterization(**moved, backend=self.name)


@pytest.fixture(
    params=[
        Backend("cpu"),
        Backend("torch"),
        pytest.param(Backend("gsplat", image=1e-4, gradient=1e-3), marks=pytest.mark.gpu),
    ],
    ids=lambda backend: backend.name,
)
def backend(request):
    return request.param


def shaded(scene: dict[str, Tensor], viewmat: Tensor, degree: int) -> Tensor:
    """Colours seen from a camera."""
    centre = -viewmat[:3, :3].inverse() @ viewmat[:3, 3]
    basis = sh_basis(torch.nn.functional.normalize(scene["means"] - centre, dim=-1), degree)
    return (torch.einsum("nk,nkc->nc", basis, scene["colors"][:, : basis.shape[1]]) + 0.5).clamp_min(0)


def expected(scene, views, background, degree=3, mode="RGB", **options):
    """Images and alphas of the oracle, and a list of projected means, for all cameras."""
    results = []
    for c, (viewmat, K) in enumerate(zip(views["viewmats"], views["Ks"], strict=True)):
        depth = (scene["means"] @ viewmat[:3, :3].T + viewmat[:3, 3])[:, 2:]
        colors = scene["colors"] if degree is None else shaded(scene, viewmat, degree)
        features = {"RGB": [colors], "D": [depth], "ED": [depth]}.get(mode, [colors, depth])
        behind = None if background is None else background[c]
        if behind is not None and mode != "RGB":
            behind = torch.cat([behind, behind.new_zeros(1)])[-sum(f.shape[1] for f in features) :]
        covars = scene["covars"] if "covars" in scene else covariances(scene["quats"], scene["scales"])
        image, alpha, means2d = oracle(
            scene["means"], covars, scene["opacities"], torch.cat(features, 1), viewmat, K, views["width"],
            views["height"], behind, **options,
        )  # fmt: skip
        if mode.endswith("ED"):
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], -1)
        results.append((image, alpha, means2d))
    images, alphas, means2d = zip(*results, strict=True)
    return torch.stack(images), torch.stack(alphas), means2d


def leaves(tensors: dict, dtype=torch.float32) -> dict:
    """Copies that collect gradients; what is not a tensor stays."""
    copies = {k: t.detach().clone().to(dtype).requires_grad_() for k, t in tensors.items() if isinstance(t, Tensor)}
    return tensors | copies


def compare(backend, scene, views, background=None, degree=3, mode="RGB", antialiased=False, options=None):
    """Checks images and all gradients; a random cotangent reaches images, alphas and projected means."""
    scene = {k: t for k, t in scene.items() if t is not None}
    given = leaves(scene | views | ({} if background is None else {"backgrounds": background}))
    exact = leaves(given, torch.float64)
    for tensors in (given, exact):  # no gradients for intrinsics, as in gsplat
        tensors["Ks"].requires_grad_(False)
    shape = {"quats": None, "scales": None} if "covars" in scene else {}
    options = options or {}
    settings = shape | options | {"sh_degree": degree, "render_mode": mode}
    settings["rasterize_mode"] = "antialiased" if antialiased else "classic"
    image, alpha, meta = backend(**given, **settings)
    names = {"near_plane": "near", "far_plane": "far"}
    wanted, wanted_alpha, wanted_means2d = expected(
        {k: exact[k] for k in scene}, exact, exact.get("backgrounds"), degree, mode, antialiased=antialiased,
        **{names.get(k, k): v for k, v in options.items()},
    )  # fmt: skip
    assert image.shape == wanted.shape and alpha.shape == wanted_alpha.shape
    assert float((image.detach().cpu() - wanted.detach()).abs().max()) <= backend.image
    assert float((alpha.detach().cpu() - wanted_alpha.detach()).abs().max()) <= backend.image
    generator = torch.Generator().manual_seed(5)
    cotangents = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (wanted, wanted_alpha)]
    for tensor in (meta["means2d"], *wanted_means2d):
        tensor.retain_grad()
    for picture, transparency in ((image, alpha), (wanted, wanted_alpha)):
        sums = [(a * b.to(a)).sum() for a, b in zip((picture, transparency), cotangents, strict=True)]
        sum(sums).backward()
    errors = {}
    for name, tensor in exact.items():
        if isinstance(tensor, Tensor) and tensor.grad is not None and tensor.grad.any():
            errors[name] = relative_error(given[name].grad.cpu(), tensor.grad)
    drawn = (meta["radii"] > 0).all(-1).cpu()
    slopes = torch.stack([each.grad for each in wanted_means2d])
    errors["means2d"] = relative_error(meta["means2d"].grad.cpu()[drawn], slopes[drawn])
    assert wanted.abs().max() > 0.1 and max(errors.values()) <= backend.gradient, errors
    return errors


@pytest.mark.parametrize("make", [head_like, stressful])
def test_pictures_and_gradients_of_two_cameras_are_exact(backend, make):
    """The most important test: a peer that halves one off-diagonal gradient passes any test of pictures."""
    background = torch.tensor([[0.2, 0.5, 0.9], [1.0, 1.0, 1.0]])
    errors = compare(backend, make(200), cameras(WIDTH, HEIGHT, 2), background)
    assert set(errors) == {
        "means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds", "means2d",
    }  # fmt: skip


@pytest.mark.parametrize("make", [head_like, stressful])
def test_covariances_instead_of_quaternions_and_scales(backend, make):
    scene = make(150, seed=3)
    scene["covars"] = covariances(scene.pop("quats"), scene.pop("scales"))
    assert "covars" in compare(backend, scene, cameras(WIDTH, HEIGHT))


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_all_modes(backend, mode, antialiased):
    background = torch.tensor([[0.2, 0.5, 0.9]])
    scene = head_like(60, seed=4)
    compare(backend, scene, cameras(48, 40), background, mode=mode, antialiased=antialiased)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_lower_degrees_use_the_first_coefficients(backend, degree):
    compare(backend, head_like(40, seed=degree), cameras(40, 40), degree=degree)
    scene = head_like(40, seed=degree)
    scene["colors"] = scene["colors"][:, : (degree + 1) ** 2]
    compare(backend, scene, cameras(40, 40), degree=degree)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
def test_features_instead_of_colours(backend, channels):
    scene = stressful(80)
    scene["colors"] = torch.rand(80, channels, generator=torch.Generator().manual_seed(channels))
    background = torch.rand(1, channels, generator=torch.Generator().manual_seed(0))
    mode = "RGB" if channels == 64 else "RGB+ED"
    compare(backend, scene, cameras(40, 36), background, degree=None, mode=mode)


@pytest.mark.parametrize("options", [
    {"near_plane": 0.55, "far_plane": 0.62},
    {"eps2d": 0.0},
    {"eps2d": 0.1},
    {"eps2d": 2.0},
    {"radius_clip": 6.0},
])  # fmt: skip
def test_planes_blur_and_clipping(backend, options):
    compare(backend, head_like(100, seed=7), cameras(56, 40), options=options)


def test_colours_may_differ_between_cameras(backend):
    scene, views = stressful(70), cameras(44, 36, 2)
    colors = torch.rand(2, 70, 3, generator=torch.Generator().manual_seed(1))
    both = backend(**scene | {"colors": colors}, **views)[0]
    for c in range(2):
        one = views | {"viewmats": views["viewmats"][c : c + 1], "Ks": views["Ks"][c : c + 1]}
        alone = backend(**scene | {"colors": colors[c]}, **one)[0]
        torch.testing.assert_close(both[c : c + 1], alone, rtol=0, atol=1e-6)


def test_gradients_of_colours_for_each_camera(backend):
    scene, views = stressful(70), cameras(44, 36, 2)
    single = scene["colors"].clone().requires_grad_()
    double = torch.stack([scene["colors"]] * 2).requires_grad_()
    for colors in (single, double):
        backend(**scene | {"colors": colors}, **views, sh_degree=2)[0].square().sum().backward()
    torch.testing.assert_close(double.grad.sum(0), single.grad, rtol=1e-4, atol=1e-5)
    assert double.grad[:, :, 9:].abs().max() == 0 and double.grad[:, :, :9].abs().max() > 0


def test_a_loss_on_the_projected_means_reaches_the_gaussians(backend):
    scene, views = head_like(50), cameras(48, 40)
    total = {}
    for weights in ((1, 0), (0, 1), (1, 1)):
        means = scene["means"].clone().to(backend.device).requires_grad_()
        image, _, meta = backend(**scene | {"means": means}, **views, sh_degree=3)
        (weights[0] * image.square().sum() + weights[1] * (meta["means2d"] ** 2).sum()).backward()
        total[weights] = means.grad.clone()
    torch.testing.assert_close(total[1, 1], total[1, 0] + total[0, 1], rtol=2e-4, atol=1e-3)


def test_gradients_only_where_they_are_wanted(backend):
    scene, views = head_like(30), cameras(32, 32)
    for wanted in ("means", "quats", "scales", "opacities", "colors", "viewmats"):
        tensors = leaves(scene | views)
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor):
                tensor.requires_grad_(name == wanted)
        backend(**tensors, sh_degree=3)[0].sum().backward()
        assert tensors[wanted].grad.abs().max() > 0
        assert all(t.grad is None for k, t in tensors.items() if isinstance(t, Tensor) and k != wanted)


def test_meta_tells_what_is_drawn(backend):
    scene, views = stressful(200), cameras(WIDTH, HEIGHT, 2)
    scene["colors"] = torch.eye(200)[:, :64]
    meta = backend(**scene, **views)[2]
    assert meta["radii"].shape == (2, 200, 2) and meta["radii"].dtype == torch.int32
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (WIDTH, HEIGHT, 2)
    visible = torch.zeros(2, 200, dtype=torch.bool, device=backend.device)
    visible[meta["camera_ids"], meta["gaussian_ids"]] = True
    assert torch.equal(visible, (meta["radii"] > 0).all(-1)) and 100 < int(visible.sum()) < 400
    camera = cameras(WIDTH, HEIGHT, 2)
    points = scene["means"] @ camera["viewmats"][:, :3, :3].mT + camera["viewmats"][:, None, :3, 3]
    pixels = points @ camera["Ks"].mT
    got = meta["means2d"].cpu()[visible.cpu()]
    torch.testing.assert_close(got, (pixels[..., :2] / pixels[..., 2:])[visible.cpu()], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(meta["depths"].cpu()[visible.cpu()], points[..., 2][visible.cpu()], rtol=1e-5, atol=1e-6)
