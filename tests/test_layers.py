"""The Style U-Net's parts against their textbook forms."""

import pytest
import torch
import torch.nn.functional as F

from realhead.model.layers import ConvBlock, DecoderBlock, EqualConv, StyledConv, activate, leaky


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


def textbook_decoder_block(block: DecoderBlock, below, identity, expression, style):
    """Up-sample, join, convolve (StyleAvatar's order), every sample with its own copy of the skips."""
    skips = [maps.expand(len(style), -1, -1, -1) for maps in (identity, expression)]
    up = [] if below is None else [F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)]
    x = activate(block.merge(torch.cat(up + skips, 1)))
    for conv in block.convs:
        x = grouped_modulated_conv(conv, x, style)
    return x


@pytest.mark.parametrize("below", [0, 5])
@pytest.mark.parametrize("people", [1, 3])
def test_decoder_block_equals_joining_its_inputs(below, people):
    torch.manual_seed(0)
    block = DecoderBlock(below, 4, 6, 8, convs=2).double()
    torch.nn.init.normal_(block.merge.bias)
    inputs = [
        torch.randn(n, c, s, s).double().requires_grad_() for n, c, s in ((3, below, 8), (people, 4, 16), (3, 4, 16))
    ]
    given = [inputs[0] if below else None, *inputs[1:]]
    style = torch.randn(3, 8).double()
    ours, theirs = block(*given, style), textbook_decoder_block(block, *given, style)
    torch.testing.assert_close(ours, theirs)
    weights, wanted = torch.randn_like(ours), [x for x in given if x is not None] + list(block.parameters())
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), wanted) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_activated_convolution_is_the_activation_of_the_convolution():
    torch.manual_seed(0)
    conv, x = EqualConv(4, 5, 3), torch.randn(2, 4, 9, 9)
    torch.nn.init.normal_(conv.bias)
    torch.testing.assert_close(conv.activated(x), activate(conv(x)))


def test_a_style_may_be_folded_into_the_weights():
    torch.manual_seed(0)
    conv, x, style = StyledConv(5, 7, 4).double(), torch.randn(2, 5, 8, 8).double(), torch.randn(1, 4).double()
    torch.nn.init.normal_(conv.conv.bias)
    torch.testing.assert_close(leaky(F.conv2d(x, *conv.of_style(style), padding=1)), conv(x, style))
