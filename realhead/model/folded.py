"""The network of one avatar, for driving: all that does not depend on the driving frame is worked out once.

Identity maps and style vector of an avatar are fixed. So the styled convolutions become plain ones, their weights
scaled and normalised for that style, and what the identity maps contribute at every level becomes a constant map. Equal
to `Prior.encode_expression` and `Prior.decode` up to rounding, a fifth faster (`bench_prior.py`), without gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from realhead.model.layers import ConvBlock, DecoderBlock, leaky, upsample
from realhead.model.primitives import Primitives
from realhead.model.prior import FeatureMaps, Prior, hierarchy

Weights = tuple[Float[Tensor, "_ _ _ _"], Float[Tensor, "_"]]


@dataclass(frozen=True)
class FoldedEncoderBlock:
    """A `ConvBlock` whose weights are scaled already."""

    downsample: bool
    convs: tuple[Weights, Weights]

    @classmethod
    def of(cls, block: ConvBlock) -> FoldedEncoderBlock:
        """Scales the weights."""
        return cls(block.downsample, tuple(conv.before_activation() for conv in (block.first, block.second)))

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Encodes one level."""
        return _convolved(F.avg_pool2d(x, 2) if self.downsample else x, self.convs)


@dataclass(frozen=True)
class FoldedDecoderBlock:
    """A `DecoderBlock` for one identity.

    Attributes:
        below: Merging weights of what comes from the coarser level.
        expression: Merging weights of the expression skip.
        identity: What the identity skip and the bias add.
        convs: Styled convolutions as plain ones.
    """

    below: Float[Tensor, "d c 1 1"]
    expression: Float[Tensor, "d s 1 1"]
    identity: Float[Tensor, "1 d h w"]
    convs: tuple[Weights, ...]

    @classmethod
    def of(cls, block: DecoderBlock, identity: Tensor, style: Float[Tensor, "1 z"]) -> FoldedDecoderBlock:
        """Folds identity map and style in."""
        (below, from_identity, from_expression), bias = block.merge_parts()
        constant = F.conv2d(identity, from_identity, bias)
        return cls(below, from_expression, constant, tuple(conv.of_style(style) for conv in block.convs))

    def __call__(self, below: Tensor | None, expression: Tensor) -> Tensor:
        """Decodes one level."""
        x = F.conv2d(expression, self.expression) + self.identity
        if below is not None:
            x += upsample(F.conv2d(below, self.below))
        return _convolved(leaky(x), self.convs)


class FoldedNetwork:
    """Expression maps in, primitives of one identity out."""

    @torch.no_grad()
    def __init__(self, prior: Prior, identity: FeatureMaps, last: nn.Module | None = None):
        """Folds one identity into the prior's network.

        Args:
            prior: The prior.
            identity: Identity feature maps, a batch of one.
            last: Replaces the decoder's last layer.
        """
        identity = [maps.contiguous(memory_format=torch.channels_last) for maps in identity]
        style = prior.decoder.style_of(identity)
        self.prior, self.last = prior, last or prior.decoder.last
        self.encoder_blocks = [FoldedEncoderBlock.of(block) for block in prior.expression_encoder.blocks]
        self.decoder_blocks = [
            FoldedDecoderBlock.of(block, maps, style)
            for block, maps in zip(prior.decoder.blocks, identity, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, expression: Float[Tensor, "b c r r"]) -> Primitives:
        """Primitives of driving frames.

        Args:
            expression: What enters the expression encoder, see `Prior.driving_maps`.
        """
        maps = hierarchy(self.encoder_blocks, expression)
        x = None
        for block, skip in reversed(list(zip(self.decoder_blocks, maps, strict=True))):
            x = block(x, skip)
        return self.prior.primitives(self.last(x))


def _convolved(x: Tensor, convs: tuple[Weights, ...]) -> Tensor:
    for weight, bias in convs:
        x = leaky(F.conv2d(x, weight, bias, padding=1))
    return x
