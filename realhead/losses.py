"""Losses of equations (5) to (8), one function each, unreduced: the caller weights and averages."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from realhead.config import LossConfig
from realhead.metrics import perceptual_network, ssim_map
from realhead.model.primitives import SCALE_CHANNELS, Primitives

Images = Float[Tensor, "b 3 h w"]


def photometric(prediction: Images, target: Images) -> Float[Tensor, "b 3 h w"]:
    """Absolute difference."""
    return (prediction - target).abs()


def structural(prediction: Images, target: Images) -> Float[Tensor, "b 3 h2 w2"]:
    """1 - SSIM (11x11 Gaussian window, sigma 1.5, valid pixels only), in [0, 2]."""
    return 1 - ssim_map(prediction, target)


def perceptual(prediction: Images, target: Images) -> Float[Tensor, "b"]:
    """LPIPS with AlexNet; its weights stay fixed."""
    return perceptual_network("alex", str(prediction.device))(prediction, target).flatten()


def position(primitives: Primitives) -> Float[Tensor, "b n"]:
    """Squared length of the position offsets, in square decimetres."""
    return (primitives.offset * 10).square().sum(-1)


def scale(primitives: Primitives) -> Float[Tensor, "b n"]:
    """Mean squared scale offset: the logarithm of the scale over the template's, before it is limited."""
    return primitives.raw[..., SCALE_CHANNELS].square().mean(-1)


def closeness(primitives: Primitives, initial: Primitives) -> Float[Tensor, "b n"]:
    """Equation (8): squared distance to the primitives before enrollment, in the network's own units."""
    return (primitives.raw - initial.raw).square().mean(-1)


def adversarial_generator(fake_logits: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """Hinge loss of the prior: the critic should call its pictures real."""
    return -fake_logits


def adversarial_critic(real_logits: Float[Tensor, "b l"], fake_logits: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """Hinge loss of the critic."""
    return F.relu(1 - real_logits) + F.relu(1 + fake_logits)


def reconstruction(
    prediction: Images, target: Images, primitives: Primitives, weights: LossConfig
) -> dict[str, Float[Tensor, ""]]:
    """The weighted terms of equation (6), averaged; a term of weight zero is not computed.

    Returns:
        Terms by name; their sum is the loss.
    """
    terms = {
        "photometric": lambda: photometric(prediction, target),
        "ssim": lambda: structural(prediction, target),
        "perceptual": lambda: perceptual(prediction, target),
        "position": lambda: position(primitives),
        "scale": lambda: scale(primitives),
    }
    return {name: getattr(weights, name) * term().mean() for name, term in terms.items() if getattr(weights, name) > 0}
