"""Parts of the Style U-Net: equalised and modulated convolutions (StyleGAN2, as used by StyleAvatar).

Modulation is written as scaling of the inputs and outputs of one shared convolution, which equals scaling its weights
per sample but needs no grouped convolution: a factor of several on a CPU, and identities may share a batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

GAIN = math.sqrt(2)
"""What a leaky ReLU takes from the standard deviation of its input, about; given back so that depth changes nothing."""

EPSILON = 1e-8
"""Keeps the norm of modulated weights from zero (StyleGAN2)."""


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance of its input."""
    return F.leaky_relu(x, 0.2) * GAIN


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU in place, for what carries `GAIN` already: a factor may be applied before it as well as after."""
    return F.leaky_relu(x, 0.2, inplace=True)


def upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the resolution, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class EqualConv(nn.Module):
    """Convolution whose weights have unit variance and are scaled by 1/sqrt(fan-in) when used ("equalised rate")."""

    def __init__(self, inputs: int, outputs: int, kernel: int, zero_init: bool = False):
        """Makes a same-size convolution with bias; `zero_init` starts it at zero."""
        super().__init__()
        shape = (outputs, inputs, kernel, kernel)
        self.weight = nn.Parameter(torch.zeros(shape) if zero_init else torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1 / math.sqrt(inputs * kernel * kernel)
        self.padding = kernel // 2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Convolves."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)

    def activated(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Convolves and activates: `activate` of `forward`, with one pass over the picture less."""
        weight, bias = self.before_activation()
        return leaky(F.conv2d(x, weight, bias, padding=self.padding))

    def before_activation(self) -> tuple[Float[Tensor, "d c k k"], Float[Tensor, "d"]]:
        """Weights and bias as used, times the `GAIN` of the activation that follows."""
        return self.weight * (self.gain * GAIN), self.bias * GAIN


class EqualLinear(nn.Module):
    """Linear layer with equalised rate."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0):
        """Makes the layer; `bias` is the bias' initial value."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain = 1 / math.sqrt(inputs)

    def forward(self, x: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        """Multiplies."""
        return F.linear(x, self.weight * self.gain, self.bias)


class StyledConv(nn.Module):
    """3x3 convolution modulated by a style vector, demodulated, with bias and activation."""

    def __init__(self, inputs: int, outputs: int, style_dim: int):
        """Makes the convolution and the affine map from style to input scales (which starts at one)."""
        super().__init__()
        self.conv = EqualConv(inputs, outputs, 3)
        self.affine = EqualLinear(style_dim, inputs, bias=1.0)

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "_ s"]) -> Float[Tensor, "b d h w"]:
        """Convolves with weights w * s, divided by their norm over inputs and kernel (StyleGAN2, equation 3)."""
        scale = self.affine(style)  # (B, C)
        weight = self.conv.weight * self.conv.gain
        norm = torch.rsqrt(scale.square() @ weight.square().sum((2, 3)).T + EPSILON) * GAIN  # (B, D)
        y = F.conv2d(x * scale[:, :, None, None], weight, padding=1)
        return leaky(torch.addcmul(self.conv.bias[:, None, None] * GAIN, y, norm[:, :, None, None]))

    def of_style(self, style: Float[Tensor, "1 s"]) -> tuple[Float[Tensor, "d c 3 3"], Float[Tensor, "d"]]:
        """Weights and bias for one style: with them a plain convolution and `leaky` equal `forward`."""
        weight = self.conv.weight * (self.conv.gain * self.affine(style)[0, :, None, None])
        norm = torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + EPSILON)
        return weight * (norm * GAIN), self.conv.bias * GAIN


class ConvBlock(nn.Module):
    """Encoder block: two 3x3 convolutions, after a 2x2 average (a blur) where the resolution is halved."""

    def __init__(self, inputs: int, outputs: int, downsample: bool):
        """Makes the block."""
        super().__init__()
        self.first, self.second = EqualConv(inputs, outputs, 3), EqualConv(outputs, outputs, 3)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Encodes one level."""
        x = F.avg_pool2d(x, 2) if self.downsample else x
        return self.second.activated(self.first.activated(x))


class DecoderBlock(nn.Module):
    """Decoder block: (features from below, identity skip, expression skip) -> merged -> styled convolutions."""

    def __init__(self, below: int, skip: int, outputs: int, style_dim: int, convs: int):
        """Makes a 1x1 convolution that merges the three inputs, and `convs` styled ones.

        Args:
            below: Channels that come up from the coarser level; 0 for the coarsest.
            skip: Channels of each of the two skips.
            outputs: Channels of the result.
            style_dim: Length of the style vector.
            convs: Styled convolutions.
        """
        super().__init__()
        self.inputs = [below, skip, skip]
        self.merge = EqualConv(sum(self.inputs), outputs, 1)
        self.convs = nn.ModuleList(StyledConv(outputs, outputs, style_dim) for _ in range(convs))

    def forward(
        self,
        below: Float[Tensor, "b c h2 w2"] | None,
        identity: Float[Tensor, "_ s h w"],
        expression: Float[Tensor, "_ s h w"],
        style: Float[Tensor, "_ z"],
    ) -> Float[Tensor, "b d h w"]:
        """Decodes one level; a skip or style of a batch of one goes with any other.

        A 1x1 convolution of joined maps is the sum of those of its parts, and commutes with up-sampling: nothing is
        joined, and what comes from below is convolved while it has a quarter of the texels.
        """
        (from_below, from_identity, from_expression), bias = self.merge_parts()
        x = F.conv2d(identity, from_identity, bias) + F.conv2d(expression, from_expression)
        if below is not None:
            x = x + upsample(F.conv2d(below, from_below))
        x = leaky(x)
        for conv in self.convs:
            x = conv(x, style)
        return x

    def merge_parts(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """The merging weights for each of the three inputs, and the bias, before the activation."""
        weight, bias = self.merge.before_activation()
        return weight.split(self.inputs, 1), bias
