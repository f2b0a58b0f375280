"""Metrics: each against another library's implementation, plus the laws of masks and gradients."""

import warnings

import numpy as np
import pytest
import torch

from realhead import metrics
from realhead.assets import asset
from realhead.errors import AssetError, RealheadError
from realhead.metrics import identity, lpips, perceptual_network, psnr, ssim, ssim_map, t_lpips


def _has(*names):
    try:
        return all(asset(name, fetch=False).exists() for name in names)
    except AssetError:
        return False


needs_lpips = pytest.mark.skipif(not _has("lpips_alexnet", "lpips_vgg16"), reason="LPIPS weights are not fetched")
needs_dlib = pytest.mark.skipif(not _has("dlib_face_recognition_resnet_model_v1.dat"), reason="dlib not fetched")


@pytest.fixture(scope="module")
def astronaut():
    from skimage.data import astronaut

    return torch.from_numpy(astronaut() / np.float32(255))


@pytest.fixture
def pair(astronaut):
    target = astronaut[40:168, 150:278]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (target + 0.08 * noise).clamp(0, 1), target


def test_psnr_matches_scikit_image(pair):
    from skimage.metrics import peak_signal_noise_ratio

    expected = peak_signal_noise_ratio(pair[1].numpy(), pair[0].numpy(), data_range=1)
    assert psnr(*pair).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_matches_scikit_image(pair):
    from skimage.metrics import structural_similarity

    expected = structural_similarity(
        pair[1].numpy(), pair[0].numpy(), channel_axis=-1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=1,
    )  # fmt: skip
    assert ssim(*pair).item() == pytest.approx(expected, abs=2e-5)


def test_ssim_matches_torchmetrics_inside(pair):
    torchmetrics = pytest.importorskip("torchmetrics.functional.image")
    x, y = (p.permute(2, 0, 1)[None] for p in pair)
    # torchmetrics continues the picture by reflection; windows inside the picture must agree.
    _, full = torchmetrics.structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
    torch.testing.assert_close(ssim_map(x, y), full[..., 5:-5, 5:-5], atol=1e-3, rtol=0)  # flat windows cancel


@pytest.mark.parametrize("metric, best", [(psnr, torch.inf), (ssim, 1.0)])
def test_equal_pictures_get_the_best_value(pair, metric, best):
    assert metric(pair[1], pair[1]).item() == pytest.approx(best)


def test_batch_equals_loop(pair):
    batch = torch.stack(pair)[None]  # [1, 2, h, w, 3]
    target = torch.stack((pair[1], pair[1]))[None]
    assert ssim(batch, target).shape == (1, 2)
    torch.testing.assert_close(ssim(batch, target)[0, 0], ssim(*pair))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_mask_hides_what_lies_outside(pair, metric):
    prediction, target = pair
    mask = torch.zeros(target.shape[:2])
    mask[:, :64] = 1
    spoiled = prediction.clone()
    spoiled[:, 64 + 5 :] = 0  # SSIM windows reach 5 pixels over the mask
    torch.testing.assert_close(metric(spoiled, target, mask), metric(prediction, target, mask))
    assert metric(spoiled, target) < metric(prediction, target)
    torch.testing.assert_close(metric(prediction, target, torch.ones_like(mask)), metric(prediction, target))


def test_ssim_gradient_is_right():
    g = torch.Generator().manual_seed(1)
    x, y = (torch.rand(1, 1, 13, 12, generator=g, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, y), x.requires_grad_())


@pytest.mark.parametrize(
    "prediction, match",
    [(torch.zeros(16, 16, 4), "shape"), (torch.zeros(8, 16, 3), "shape"), (torch.full((16, 16, 3), 200.0), "255")],
)
def test_bad_input_is_one_sentence(prediction, match):
    # The check itself: in the tests the shapes of annotations are checked before it is reached.
    with pytest.raises(RealheadError, match=match):
        metrics._checked(prediction, torch.zeros(16, 16, 3), None)


@needs_lpips
@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_matches_the_lpips_package(pair, net):
    package = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = package.LPIPS(net=net, pnet_rand=True, verbose=False)  # its own linear heads
    ours = perceptual_network(net)
    convolutions = [m for m in oracle.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for i, module in enumerate(convolutions):
        module.weight.data, module.bias.data = getattr(ours, f"conv{i}_weight"), getattr(ours, f"conv{i}_bias")
    x, y = (p.permute(2, 0, 1)[None] * 2 - 1 for p in pair)
    assert lpips(*pair, net=net).item() == pytest.approx(oracle(x, y).item(), abs=1e-6)


@needs_lpips
def test_lpips_mask_of_ones_changes_nothing_and_zeros_hide(pair):
    prediction, target = pair
    ones = torch.ones(target.shape[:2])
    torch.testing.assert_close(lpips(prediction, target, ones), lpips(prediction, target))
    half = ones.clone()
    half[:, 64:] = 0
    spoiled = prediction.clone()
    spoiled[:, 64:] = 0
    torch.testing.assert_close(lpips(spoiled, target, half), lpips(prediction, target, half))


@needs_lpips
def test_perceptual_network_is_a_loss(pair):
    x, y = (p.permute(2, 0, 1)[None].clone() for p in pair)
    x.requires_grad_(), y.requires_grad_()
    network = perceptual_network("alex")
    network(x, y).sum().backward()
    assert x.grad.abs().sum() > 0 and y.grad is None
    assert not network.state_dict() and not list(network.parameters())
    assert network(y, y).item() == 0


@needs_lpips
def test_lpips_refuses_tiny_pictures():
    with pytest.raises(RealheadError, match="31 pixels"):
        lpips(torch.zeros(16, 16, 3), torch.zeros(16, 16, 3))


@needs_lpips
def test_t_lpips_variants_on_a_shaking_clip(pair):
    still = torch.stack([pair[1]] * 3)
    shaking = torch.stack([pair[1], pair[0], pair[1]])
    step = lpips(pair[0], pair[1]).item()
    assert t_lpips(shaking, variant="lpips_consecutive").item() == pytest.approx(step, abs=1e-6)
    assert t_lpips(shaking, still, "tlp").item() == pytest.approx(step, abs=1e-6)
    assert t_lpips(shaking, still).item() == pytest.approx(100 * step, abs=1e-4)
    assert t_lpips(still, still, "lpips_tdiff").item() == 0 < t_lpips(shaking, still, "lpips_tdiff").item()
    with pytest.raises(RealheadError, match="true frames"):
        t_lpips(shaking)
    with pytest.raises(RealheadError, match="two frames"):
        t_lpips(still[:1], still[:1])


POINTS = torch.tensor([[255.5, 104.5], [238.5, 105.5], [195.5, 101.5], [212.5, 103.5], [224.5, 135.5]])


@needs_dlib
def test_face_network_matches_dlib(astronaut):
    dlib = pytest.importorskip("dlib")
    from realhead.face_network import face_chip, face_network

    points = [dlib.point(int(x), int(y)) for x, y in POINTS]
    found = dlib.full_object_detection(dlib.rectangle(175, 76, 265, 166), points)
    chip = dlib.get_face_chip((astronaut.numpy() * 255).round().astype(np.uint8), found, 150, 0.25)
    model = dlib.face_recognition_model_v1(str(asset("dlib_face_recognition_resnet_model_v1.dat", fetch=False)))
    expected = torch.tensor(list(model.compute_face_descriptor(chip)))
    same_chip = torch.from_numpy(chip / np.float32(255)).permute(2, 0, 1)[None]
    own_chip = face_chip(astronaut.permute(2, 0, 1)[None], POINTS[None])
    embeddings = face_network()(torch.cat((same_chip, own_chip)))
    torch.testing.assert_close(embeddings[0], expected, atol=1e-5, rtol=0)
    assert (embeddings[1] - expected).norm() < 0.05  # one person is within 0.6


@needs_dlib
def test_identity_falls_with_damage_and_has_gradients(astronaut):
    blurred = torch.nn.functional.avg_pool2d(astronaut.permute(2, 0, 1), 9, 1, 4).permute(1, 2, 0).requires_grad_()
    value = identity(blurred, astronaut, points=POINTS)
    value.backward()
    assert 0.5 < value.item() < 0.99 and blurred.grad.abs().sum() > 0
    assert identity(astronaut, astronaut, points=POINTS).item() == pytest.approx(1, abs=1e-6)


@needs_dlib
@pytest.mark.skipif(not _has("face_landmarker.task"), reason="landmarker not fetched")
def test_identity_finds_its_own_points(astronaut):
    dark = astronaut * 0.8
    by_hand, by_itself = identity(dark, astronaut, points=POINTS), identity(dark, astronaut)
    assert by_itself.item() == pytest.approx(by_hand.item(), abs=0.01)
    with pytest.raises(RealheadError, match="No face"):
        identity(dark * 0, dark * 0)
