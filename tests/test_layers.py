"""The Style U-Net's parts against their textbook forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from realhead.model.layers import ConvBlock, DecoderBlock, EqualConv, StyledConv, activate


def grouped_modulated_conv(conv: StyledConv, x, style):
    """StyleGAN2's own formulation: weights scaled and normalised per sample, one group a sample."""
    weight = conv.conv.weight * conv.conv.gain
    weight = weight[None] * conv.affine(style)[:, None, :, None, None]
    weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    b, c, h, w = x.shape
    y = F.conv2d(x.reshape(1, b * c, h, w), weight.flatten(0, 1), padding=1, groups=b)
    return activate(y.reshape(b, -1, h, w) + conv.conv.bias[:, None, None])


def test_styled_conv_equals_per_sample_weights():
    torch.manual_seed(0)
    conv = StyledConv(5, 7, 4).double()
    x, style = torch.randn(3, 5, 8, 8).double().requires_grad_(), torch.randn(3, 4).double()
    ours, theirs = conv(x, style), grouped_modulated_conv(conv, x, style)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (a,) = torch.autograd.grad((ours * weights).sum(), x)
    (b,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(a, b)


def test_styled_conv_output_does_not_depend_on_the_size_of_the_style():
    torch.manual_seed(0)
    conv = StyledConv(5, 7, 4)
    torch.nn.init.zeros_(conv.affine.bias)
    x, style = torch.randn(2, 5, 8, 8), torch.randn(2, 4)
    torch.testing.assert_close(conv(x, style), conv(x, 100 * style), rtol=1e-3, atol=1e-3)


def test_activation_keeps_the_variance():
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert activate(x).square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_equal_conv_keeps_the_variance_at_the_start():
    torch.manual_seed(0)
    y = EqualConv(64, 64, 3)(torch.randn(1, 64, 32, 32))[..., 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("downsample", "size"), [(False, 16), (True, 8)])
def test_conv_block_halves_only_when_told(downsample, size):
    assert ConvBlock(3, 6, downsample)(torch.zeros(2, 3, 16, 16)).shape == (2, 6, size, size)


def test_decoder_block_merges_to_its_own_width():
    block = DecoderBlock(10, 6, 4, convs=2)
    assert len(block.convs) == 2
    assert block(torch.zeros(2, 10, 8, 8), torch.zeros(2, 4)).shape == (2, 6, 8, 8)
    assert math.isclose(block.merge.gain, 1 / math.sqrt(10))
