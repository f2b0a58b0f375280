"""Augmentation of a training sample (paper IV-B): colour jitter and Gaussian blur, one draw for input and target.

A draw is a colour map and a blur. The identity texture and the target picture get the same ones; were only the texture
changed, the network would learn to ignore its colours. "The same colour map" is meant literally, pixel by pixel:

- Contrast pivots on the fixed grey `CONTRAST_PIVOT`. The usual pivot, the mean of the picture, is another number for a
  texture than for a picture with a white background, and the two would drift apart.
- The order is fixed: brightness, contrast, saturation, hue, clipped to [0, 1] after each step as torchvision does.

The mask decides what is coloured. The head is taken off the white background, changed, and put back with the same
mask, so the background stays white and the outline stays where it is. The blur is a normalised convolution: it averages
over the head alone, or over the seen texels alone, so that neither white nor the zeros of unseen texels bleed in. Its
width counts pixels in the picture and texels in the texture, which are of like size on the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from realhead.config import TrainConfig

JITTER = 0.3  # brightness, contrast and saturation: factors in [0.7, 1.3] (paper)
HUE_JITTER = 0.1  # turns of the colour circle, either way (paper)
BLUR_KERNEL = 5  # pixels (paper)
CONTRAST_PIVOT = 0.5  # ours; in the texture's units it is 0
_LUMA = (0.2989, 0.587, 0.114)  # torchvision's


@dataclass(frozen=True)
class Augmentation:
    """One draw; the default changes nothing."""

    brightness: float = 1.0
    """Factor on all colours."""
    contrast: float = 1.0
    """Factor on the distance from `CONTRAST_PIVOT`."""
    saturation: float = 1.0
    """Factor on the distance from grey."""
    hue: float = 0.0
    """Shift in turns."""
    blur: float = 0.0
    """Standard deviation of the Gaussian in pixels or texels; 0 does not blur."""

    @classmethod
    def draw(cls, generator: np.random.Generator, config: TrainConfig) -> Augmentation:
        """Draws one augmentation; always takes seven numbers, so probabilities do not shift the later draws.

        Args:
            generator: Source of randomness, the sample's own.
            config: Shares of jittered and blurred samples and the range of the blur.
        """
        jitter, blur, *factors, hue, width = generator.random(7).tolist()
        colours = {}
        if jitter < config.jitter_probability:
            names = ("brightness", "contrast", "saturation")
            colours = {name: 1 + JITTER * (2 * u - 1) for name, u in zip(names, factors, strict=True)}
            colours["hue"] = HUE_JITTER * (2 * hue - 1)
        low, high = config.blur_sigma
        return cls(**colours, blur=low + (high - low) * width if blur < config.blur_probability else 0.0)

    def apply_to_picture(self, image: Float[Tensor, "*b 3 h w"], mask: Tensor) -> Float[Tensor, "*b 3 h w"]:
        """Changes the head and leaves the white around it.

        Args:
            image: Pictures in [0, 1], composited on white.
            mask: Share of the head per pixel in [0, 1]; [h, w], [1, h, w] or [b, 1, h, w].

        Returns:
            Pictures in [0, 1], composited on white with the same mask.
        """
        if self == Augmentation():
            return image
        mask = mask.to(image.dtype)
        head = ((image - 1) / mask.clamp_min(1e-4) + 1).clamp(0, 1)  # as image = mask * head + (1 - mask)
        return 1 + mask * (self._changed(head, mask) - 1)

    def apply_to_texture(self, texture: Float[Tensor, "*b 3 r r"]) -> Float[Tensor, "*b 3 r r"]:
        """Changes the seen texels and leaves the unseen ones zero.

        Args:
            texture: Colours in [-1, 1]; a texel whose three channels are exactly 0 counts as unseen.

        Returns:
            Colours in [-1, 1], zero where they were.
        """
        if self == Augmentation():
            return texture
        seen = (texture != 0).any(-3, keepdim=True).to(texture.dtype)
        return (self._changed((texture + 1) / 2, seen) * 2 - 1) * seen

    def _changed(self, colour: Tensor, weight: Tensor) -> Tensor:
        """Colours in [0, 1] after jitter and blur; where the weight is zero the result means nothing."""
        if self.brightness != 1:
            colour = (colour * self.brightness).clamp(0, 1)
        if self.contrast != 1:
            colour = (colour * self.contrast + (1 - self.contrast) * CONTRAST_PIVOT).clamp(0, 1)
        if self.saturation != 1:
            red, green, blue = colour.unbind(-3)
            grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
            colour = (colour * self.saturation + (1 - self.saturation) * grey.unsqueeze(-3)).clamp(0, 1)
        if self.hue != 0:
            colour = shift_hue(colour, self.hue)
        if self.blur > 0:
            colour = normalised_blur(colour, weight, self.blur)
        return colour


def shift_hue(colour: Float[Tensor, "*b 3 h w"], turns: float) -> Float[Tensor, "*b 3 h w"]:
    """Turns the hue of HSV, value and saturation stay.

    Args:
        colour: RGB in [0, 1].
        turns: Shift of the hue, 1 is a full circle.

    Returns:
        RGB in [0, 1].
    """
    red, green, blue = colour.unbind(-3)
    low, high = colour.amin(-3), colour.amax(-3)
    chroma = high - low
    per_chroma = 1 / chroma.clamp_min(1e-8)
    from_red, from_green, from_blue = green - blue, blue - red, red - green
    hue = torch.where(  # in sixths of the circle
        red == high,
        from_red * per_chroma,
        torch.where(green == high, 2 + from_green * per_chroma, 4 + from_blue * per_chroma),
    )
    hue = (hue + 6 * turns).remainder(6)
    # Each channel is a trapezoid over the hue: red is full around 0, green around 2, blue around 4.
    shares = ((hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs())
    return torch.stack([low + chroma * share.clamp(0, 1) for share in shares], -3)


def normalised_blur(colour: Float[Tensor, "*b 3 h w"], weight: Tensor, sigma: float) -> Float[Tensor, "*b 3 h w"]:
    """Gaussian blur over weighted pixels only; beyond the border the weight is zero.

    Args:
        colour: Any values.
        weight: Weights in [0, 1], one channel; broadcasts against `colour`.
        sigma: Standard deviation in pixels; the kernel is cut to `BLUR_KERNEL` pixels.

    Returns:
        blur(weight * colour) / blur(weight), and `colour` itself where no weight is near.
    """
    steps = torch.arange(BLUR_KERNEL, dtype=colour.dtype, device=colour.device) - BLUR_KERNEL // 2
    kernel = torch.softmax(-steps.square() / (2 * sigma**2), 0)
    weight = weight.expand_as(colour[..., :1, :, :])
    stacked = torch.cat([colour * weight, weight], -3)  # [*b, 4, h, w]
    planes = stacked.reshape(-1, 1, *stacked.shape[-2:])
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(BLUR_KERNEL // 2, 0))
    planes = F.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, BLUR_KERNEL // 2))
    blurred = planes.view_as(stacked)
    total = blurred[..., 3:, :, :]
    return torch.where(total > 1e-4, blurred[..., :3, :, :] / total.clamp_min(1e-4), colour)
