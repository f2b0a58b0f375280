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


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance of its input."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


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

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "b s"]) -> Float[Tensor, "b d h w"]:
        """Convolves with weights w * s, divided by their norm over inputs and kernel (StyleGAN2, equation 3)."""
        scale = self.affine(style)  # (B, C)
        weight = self.conv.weight * self.conv.gain
        norm = torch.rsqrt(scale.square() @ weight.square().sum((2, 3)).T + 1e-8)  # (B, D)
        y = F.conv2d(x * scale[:, :, None, None], weight, padding=1) * norm[:, :, None, None]
        return activate(y + self.conv.bias[:, None, None])


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
        return activate(self.second(activate(self.first(x))))


class DecoderBlock(nn.Module):
    """Decoder block: (up-sampled features, identity skip, expression skip) -> styled convolutions."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, convs: int):
        """Makes a 1x1 convolution that merges the three inputs, and `convs` styled ones."""
        super().__init__()
        self.merge = EqualConv(inputs, outputs, 1)
        self.convs = nn.ModuleList(StyledConv(outputs, outputs, style_dim) for _ in range(convs))

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "b s"]) -> Float[Tensor, "b d h w"]:
        """Decodes one level."""
        x = activate(self.merge(x))
        for conv in self.convs:
            x = conv(x, style)
        return x
