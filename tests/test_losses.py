"""Each term of equations (5) to (8): identical inputs, a known value, an oracle."""

import pytest
import torch

from realhead import losses
from realhead.config import LossConfig
from realhead.model.primitives import Primitives


def primitives(offset=0.0, scale=0.01, raw=0.0):
    n = 4
    return Primitives(
        offset=torch.full((1, n, 3), offset),
        opacity=torch.full((1, n), 0.5),
        rotation=torch.eye(3).expand(1, n, 3, 3),
        scale=torch.full((1, n, 3), scale),
        sh=torch.zeros(1, n, 16, 3),
        raw=torch.full((1, n, 59), raw),
    )


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(2, 3, 40, 48, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_photometric_is_the_absolute_difference():
    a, b = pair()
    torch.testing.assert_close(losses.photometric(a, b).mean(), torch.nn.L1Loss()(a, b))
    assert losses.photometric(b, b).max() == 0


def test_structural_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    a, b = pair()
    ours = losses.structural(a, b).mean((1, 2, 3))
    for i in range(2):
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        _, full = structural_similarity(
            a[i].permute(1, 2, 0).numpy(), b[i].permute(1, 2, 0).numpy(), channel_axis=2, full=True, **settings
        )
        assert ours[i].item() == pytest.approx(1 - full[5:-5, 5:-5].mean(), abs=1e-4)
    assert losses.structural(b, b).abs().max() < 1e-5


def test_perceptual_is_lpips():
    a, b = pair()
    value = losses.perceptual(a, b)
    assert value.shape == (2,) and (value > 0).all()
    assert losses.perceptual(b, b).abs().max() < 1e-5


def test_position_is_the_squared_length_in_decimetres():
    assert losses.position(primitives(offset=0.1)).mean() == pytest.approx(3.0)
    assert losses.position(primitives()).max() == 0


def test_scale_is_the_mean_square_of_the_offset():
    assert losses.scale(primitives(raw=2.0)).mean() == pytest.approx(4.0)
    assert losses.scale(primitives()).max() == 0


def test_closeness_is_zero_at_the_start_and_quadratic():
    assert losses.closeness(primitives(), primitives()).max() == 0
    assert losses.closeness(primitives(raw=2.0), primitives(raw=-1.0)).mean() == pytest.approx(9.0)


def test_adversarial_terms_are_the_hinge():
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.5]])
    torch.testing.assert_close(losses.adversarial_critic(real, fake), torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(losses.adversarial_generator(fake), torch.tensor([[3.0, -0.5]]))


def test_reconstruction_weights_its_terms_and_skips_zero_weights():
    a, b = pair()
    weights = LossConfig(photometric=2.0, perceptual=0.0, ssim=0.0, position=1.0, scale=0.0)
    terms = losses.reconstruction(a, b, primitives(offset=0.1), weights)
    assert terms.keys() == {"photometric", "position"}
    torch.testing.assert_close(terms["photometric"], 2 * torch.nn.L1Loss()(a, b))
    assert terms["position"].item() == pytest.approx(3.0)


@pytest.mark.parametrize("term", [losses.photometric, losses.structural, losses.perceptual])
def test_picture_terms_pull_towards_the_target(term):
    a, b = pair()
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(term(a, b).mean(), a)
    stepped = a.detach() - 0.02 * gradient / gradient.abs().max()
    assert term(stepped, b).mean() < term(a.detach(), b).mean()
