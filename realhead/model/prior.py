"""The prior over human heads (paper IV-A, Figure 2): two encoders and one decoder emit a UV map of 3D Gaussians.

    identity texture ----> identity encoder ---\
                                                >-- decoder --> 59 channels a texel --> Gaussians --> skinning
    expression map + ----> expression encoder -/
    mouth map
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realhead.condition.expression import expression_map
from realhead.condition.mouth import MOUTH_CHANNELS
from realhead.config import PriorConfig
from realhead.head.model import Head
from realhead.model.layers import ConvBlock, DecoderBlock, EqualConv, EqualLinear, activate
from realhead.model.primitives import NUM_CHANNELS, Primitives, decode_primitives

FeatureMaps = list[Float[Tensor, "_ _ _ _"]]
"""Six feature maps of an encoder, full resolution first; a batch of one goes with any other."""


class Encoder(nn.Module):
    """Six convolutional blocks that give six feature maps, channels growing as resolution falls (supplement A)."""

    def __init__(self, inputs: int, channels: tuple[int, ...]):
        """The first block keeps the resolution, the others halve it (ours: 128 texels give maps of 128 ... 4)."""
        super().__init__()
        sizes = (inputs, *channels)
        self.blocks = nn.ModuleList(
            ConvBlock(a, b, i > 0) for i, (a, b) in enumerate(zip(sizes, channels, strict=False))
        )

    def forward(self, x: Float[Tensor, "b c r r"]) -> FeatureMaps:
        """Encodes a map."""
        return hierarchy(self.blocks, x)


def hierarchy(blocks: Iterable[Callable[[Tensor], Tensor]], x: Float[Tensor, "b c r r"]) -> FeatureMaps:
    """What comes out of each of a row of blocks."""
    maps = []
    x = x.contiguous(memory_format=torch.channels_last)  # faster on CPUs; the maps inherit it
    for block in blocks:
        x = block(x)
        maps.append(x)
    return maps


class Decoder(nn.Module):
    """Up-sampling blocks with modulated convolutions; every level takes both encoders' maps as skips (supplement A)."""

    def __init__(self, config: PriorConfig):
        """Coarse levels, which are cheap, have two styled convolutions; the two finest have one (ours)."""
        super().__init__()
        deepest = config.encoder_channels[-1]
        self.style = nn.ModuleList(
            [EqualLinear(deepest, config.style_dim), EqualLinear(config.style_dim, config.style_dim)]
        )
        blocks = []
        for level, outputs in enumerate(config.decoder_channels):
            below = config.decoder_channels[level + 1] if level + 1 < config.num_levels else 0
            skip, convs = config.encoder_channels[level], 1 if level < 2 else 2
            blocks.append(DecoderBlock(below, skip, outputs, config.style_dim, convs))
        self.blocks = nn.ModuleList(blocks)
        self.last = EqualConv(config.decoder_channels[0], NUM_CHANNELS, 1, zero_init=True)

    def forward(self, identity: FeatureMaps, expression: FeatureMaps, last: nn.Module | None = None) -> Tensor:
        """Decodes two hierarchies into a map of raw primitives [B, 59, R, R].

        Args:
            identity: Maps of the identity encoder (or the ones that enrollment has found).
            expression: Maps of the expression encoder.
            last: Replaces the last layer (enrollment tunes a copy of it).
        """
        style, x = self.style_of(identity), None
        for block, id_map, ex_map in reversed(list(zip(self.blocks, identity, expression, strict=True))):
            x = block(x, id_map, ex_map, style)
        return (last or self.last)(x)

    def style_of(self, identity: FeatureMaps) -> Float[Tensor, "b z"]:
        """The style vector: the paper names no input for it, ours is the pooled deepest identity map."""
        style = identity[-1].mean((2, 3))
        for layer in self.style:
            style = activate(layer(style))
        return style


class Prior(nn.Module):
    """The whole prior, bound to one head and one UV layout."""

    def __init__(self, head: Head, config: PriorConfig):
        """An untrained prior already renders the template head in grey, since its last layer starts at zero."""
        super().__init__()
        self.head, self.config = head, config
        self.uv_map = head.uv_map(config.resolution)
        expression_inputs = 3 + MOUTH_CHANNELS[config.mouth]
        self.identity_encoder = Encoder(3, config.encoder_channels)
        self.expression_encoder = Encoder(expression_inputs, config.encoder_channels)
        self.decoder = Decoder(config)
        # Ours: the mean person, learned texel by texel, to which the decoder adds. A convolution does not know where it
        # is on the head; without this map hair had not begun to grow after 500 steps.
        self.mean = nn.Parameter(torch.zeros(len(self.uv_map), NUM_CHANNELS))

    @property
    def device(self) -> torch.device:
        """Where the weights are; enrollment and driving follow them."""
        return self.mean.device

    def _apply(self, fn, recurse: bool = True):
        """Takes the UV tables along when the module moves to another device."""
        super()._apply(fn, recurse)
        self.uv_map = self.uv_map.to(self.device)
        return self

    def forward(
        self,
        texture: Float[Tensor, "b 3 r r"],
        expression: Float[Tensor, "b e"],
        pose: Float[Tensor, "b 5 3"],
        mouth: Float[Tensor, "b m r r"] | None = None,
        eyelids: Float[Tensor, "b 2"] | None = None,
        offsets: Float[Tensor, "b 3 r r"] | None = None,
    ) -> Primitives:
        """Figure 2 up to the primitives.

        Args:
            texture: Identity texture, [-1, 1].
            expression: Expression coefficients of the driving frame.
            pose: Pose of the driving frame; only the jaw enters the expression map.
            mouth: Mouth map of the driving frame; None is a map of zeros.
            eyelids: Eyelids of the driving frame.
            offsets: Expression map that replaces the one of `expression`, `pose` and `eyelids` (SMIRK's).
        """
        identity = self.identity_encoder(texture)
        return self.decode(identity, self.encode_expression(expression, pose, mouth, eyelids, offsets))

    def encode_expression(
        self, expression: Tensor, pose: Tensor, mouth: Tensor | None = None, eyelids: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> FeatureMaps:  # fmt: skip
        """Expression map and mouth map through the expression encoder; see `forward`."""
        return self.expression_encoder(self.driving_maps(expression, pose, mouth, eyelids, offsets))

    def driving_maps(
        self, expression: Tensor, pose: Tensor, mouth: Tensor | None = None, eyelids: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> Float[Tensor, "b c r r"]:  # fmt: skip
        """Expression map and mouth map, side by side; see `forward`."""
        if offsets is None:
            with _full_precision(expression):
                offsets = expression_map(self.head, self.uv_map, expression, pose, eyelids)
        if not self.config.expression_input:  # Table V: blendshapes and skinning alone move the face
            offsets = torch.zeros_like(offsets)
        channels = MOUTH_CHANNELS[self.config.mouth]
        if mouth is None or channels == 0:
            mouth = offsets.new_zeros(len(offsets), channels, *offsets.shape[2:])
        return torch.cat([offsets, mouth], 1)

    def decode(self, identity: FeatureMaps, expression: FeatureMaps, last: nn.Module | None = None) -> Primitives:
        """Feature maps to Gaussian primitives on the covered texels, in canonical space."""
        return self.primitives(self.decoder(identity, expression, last))

    def primitives(self, decoded: Float[Tensor, "b 59 r r"]) -> Primitives:
        """The decoder's map to Gaussian primitives on the covered texels, in canonical space."""
        with _full_precision(decoded):
            return decode_primitives(self.uv_map.gather(decoded.float()) + self.mean, self.uv_map)


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Switches mixed precision off: lengths on a head need more than eight bits."""
    return torch.autocast(tensor.device.type, enabled=False)
