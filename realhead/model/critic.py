"""The critic of the adversarial loss, equation (5): five small heads on a frozen backbone (as in StyleGAN-T).

The heads look at features of different depths and give one logit per token, so that a picture is judged patch by patch,
from texture to layout. The hinge losses are in `realhead.losses`. Spectral normalisation keeps each layer's gain at
most one; there is no gradient penalty.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from realhead.errors import CheckpointError
from realhead.model.backbones import Backbone, load_backbone

SIDE = 224  # pixels that the backbone sees
CROP_PROBABILITY = 0.5  # of a crop at full resolution, where the picture is larger than SIDE
SAMPLES_PER_NORM = 8  # statistics are shared by so many pictures, whatever the batch size
GREY = 0.5  # what augmentation fills holes with


class LocalBatchNorm(nn.Module):
    """Batch normalisation over small groups of pictures and all their tokens, without running statistics."""

    def __init__(self, channels: int):
        """Starts as a plain normalisation."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c l"]) -> Float[Tensor, "b c l"]:
        """Normalises each channel over (group, tokens)."""
        groups = x.split(SAMPLES_PER_NORM)
        return torch.cat([F.batch_norm(g, None, None, self.weight, self.bias, training=True, eps=1e-5) for g in groups])


def block(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Spectrally normalised convolution along the tokens, local batch normalisation, leaky ReLU."""
    convolution = nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2, padding_mode="circular")
    return nn.Sequential(spectral_norm(convolution), LocalBatchNorm(channels_out), nn.LeakyReLU(0.2))


class Head(nn.Module):
    """Tokens of one depth to one logit each."""

    def __init__(self, channels: int, width: int):
        """Builds the head.

        Args:
            channels: Of the tap.
            width: Channels inside.
        """
        super().__init__()
        self.first = block(channels, width, 1)
        self.residual = block(width, width, 9)
        self.last = spectral_norm(nn.Conv1d(width, 1, 1))

    def forward(self, tokens: Float[Tensor, "b c l"]) -> Float[Tensor, "b l"]:
        """Logits, large for real pictures."""
        x = self.first(tokens)
        x = (x + self.residual(x)) / math.sqrt(2)  # halves the variance of the sum
        return self.last(x)[:, 0]


class Critic(nn.Module):
    """Says of every patch, at five depths, how real it looks."""

    def __init__(self, backbone: Backbone | None = None, seed: int = 0):
        """Builds the critic.

        Args:
            backbone: Frozen features; default DINO where the user has its weights, else the stand-in.
            seed: Of the heads' initial weights; the global random state is left as it was.
        """
        super().__init__()
        self.backbone = backbone or load_backbone()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = [min(channels, self.backbone.head_width) for channels in self.backbone.channels]
            self.heads = nn.ModuleList(map(Head, self.backbone.channels, widths))

    @property
    def name(self) -> str:
        """The backbone, to be written beside every result."""
        return self.backbone.name

    def forward(
        self, images: Float[Tensor, "b 3 h w"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b l"]:
        """Logits of all heads side by side; gradients reach the pictures and the heads.

        Args:
            images: Pictures in [0, 1], augmented or not.
            generator: Draws the crop; None takes the square in the middle.
        """
        grids = self.backbone(square_view(images, generator))
        return torch.cat([head(grid.flatten(2)) for head, grid in zip(self.heads, grids, strict=True)], 1)

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        """Loads the heads.

        Raises:
            CheckpointError: They were trained on another backbone.
        """
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            raise CheckpointError(
                f"The critic in this checkpoint does not fit the backbone {self.name}: start with the same DINO file "
                "in REALHEAD_ASSETS (or without it) as the run did, or start a new run."
            ) from error


def square_view(images: Float[Tensor, "b 3 h w"], generator: torch.Generator | None) -> Float[Tensor, "b 3 s s"]:
    """The square that the backbone sees: the shorter side of the picture or a crop at full resolution.

    A random square instead of a squeezed picture keeps portraits in proportion. One draw serves the whole batch.

    Args:
        images: Pictures in [0, 1].
        generator: Draws size and place; None takes the largest square, in the middle.

    Returns:
        Pictures of `SIDE` x `SIDE` pixels.
    """
    height, width = images.shape[-2:]
    side, down, across = min(height, width), 0.5, 0.5
    if generator is not None:
        crop, down, across = torch.rand(3, generator=generator, device=generator.device).tolist()
        side = min(side, SIDE) if crop < CROP_PROBABILITY else side
    top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
    square = images[..., top : top + side, left : left + side]
    if side == SIDE:
        return square
    if side > SIDE:
        return F.interpolate(square, (SIDE, SIDE), mode="area")
    return F.interpolate(square, (SIDE, SIDE), mode="bilinear", align_corners=False)


def diff_augment(images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Differentiable augmentation (Zhao et al. 2020) of real and fake pictures alike, so that few data suffice.

    Args:
        images: Pictures in [0, 1].
        generator: Draws anew for every picture.

    Returns:
        Pictures with other colours, shifted, with a hole; about [0, 1], not clipped, so that no gradient is lost.
    """
    draws = torch.rand(7, len(images), 1, 1, 1, generator=generator, device=generator.device).to(images)
    return _with_hole(_shifted(_recoloured(images, *draws[:3]), *draws[3:5]), *draws[5:])


def _recoloured(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Adds up to a quarter, scales the distance from grey by 0 to 2, from the mean by 0.5 to 1.5; draws in [0, 1]."""
    images = images + (brightness - 0.5) / 2
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + contrast)


def _shifted(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Moves each picture by up to an eighth of its sides; what comes in is grey. Draws in [0, 1]."""
    height, width = images.shape[-2:]
    reach = (round(height / 8), round(width / 8))
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]), value=GREY)
    tops, lefts = ((u.flatten() * (2 * r + 1)).long().tolist() for u, r in zip((down, across), reach, strict=True))
    return torch.stack(
        [image[:, t : t + height, l : l + width] for image, t, l in zip(padded, tops, lefts, strict=True)]
    )


def _with_hole(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Greys a rectangle of a fifth of the sides, centred anywhere. Draws in [0, 1]."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1) + 0.5
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1) + 0.5
    hole = ((rows - down * height).abs() < height / 10) & ((columns - across * width).abs() < width / 10)
    return torch.where(hole, GREY, images)
