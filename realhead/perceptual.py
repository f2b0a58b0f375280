"""LPIPS (Zhang et al. 2018, version 0.1): distance of two pictures in the features of AlexNet or VGG16.

The weights are the published ones, backbone and linear heads alike (see `realhead.assets`); the `lpips` package is the
oracle in the tests. Features of the target are computed without gradients, which makes it a cheap training loss.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from realhead.errors import RealheadError

Net = Literal["alex", "vgg"]

# Layers in order: ("conv", stride, padding), ("pool", kernel, stride); a tap follows each convolution named "tap".
_ALEX = [("tap", 4, 2), ("pool", 3, 2), ("tap", 1, 2), ("pool", 3, 2), ("tap", 1, 1), ("tap", 1, 1), ("tap", 1, 1)]
_CONV, _TAP, _POOL = ("conv", 1, 1), ("tap", 1, 1), ("pool", 2, 2)
_VGG = 2 * [_CONV, _TAP, _POOL] + 2 * [_CONV, _CONV, _TAP, _POOL] + [_CONV, _CONV, _TAP]
_LAYERS = {"alex": _ALEX, "vgg": _VGG}
_SMALLEST = {"alex": 31, "vgg": 16}


class PerceptualNetwork(nn.Module):
    """LPIPS as a module; its weights are constants and take no place in a state dictionary."""

    def __init__(self, net: Net, weights: dict[str, Tensor]):
        """Builds the network.

        Args:
            net: Backbone.
            weights: `conv{i}.weight` [out, in, k, k] and `conv{i}.bias` in order, `head{i}` [1, channels, 1, 1].
        """
        super().__init__()
        self.net = net
        # Torchvision's mean and deviation of ImageNet, written for inputs in [-1, 1] in the LPIPS code.
        self.register_buffer("_shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value, persistent=False)

    def features(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Channel-normalised features of the five taps.

        Args:
            image: Pictures in [0, 1].

        Returns:
            Five tensors [b, channels, h_i, w_i].
        """
        if min(image.shape[-2:]) < _SMALLEST[self.net]:
            raise RealheadError(
                f"LPIPS ({self.net}) needs pictures of at least {_SMALLEST[self.net]} pixels a side and got "
                f"{image.shape[-1]} x {image.shape[-2]}: use larger pictures or crops."
            )
        x = (image * 2 - 1 - self._shift) / self._scale
        taps, conv = [], 0
        for kind, first, second in _LAYERS[self.net]:
            if kind == "pool":
                x = F.max_pool2d(x, first, second)
                continue
            weight, bias = getattr(self, f"conv{conv}_weight"), getattr(self, f"conv{conv}_bias")
            x = F.relu(F.conv2d(x, weight, bias, stride=first, padding=second))
            conv += 1
            if kind == "tap":
                taps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return taps

    def distance(self, first: list[Tensor], second: list[Tensor], mask: Tensor | None = None) -> Float[Tensor, " b"]:
        """LPIPS of two sets of features.

        Args:
            first: From `features`.
            second: From `features`.
            mask: Weights [b, 1, h, w] in [0, 1], averaged down to each tap; None weighs all pixels alike.

        Returns:
            One distance per picture, 0 for equal pictures.
        """
        total = 0.0
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            weighted = F.conv2d((a - b).square(), getattr(self, f"head{i}"))  # [b, 1, h_i, w_i]
            if mask is None:
                total = total + weighted.mean((1, 2, 3))
            else:
                weight = F.adaptive_avg_pool2d(mask, weighted.shape[-2:])
                total = total + (weighted * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-8)
        return total

    def forward(
        self, prediction: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"], mask: Tensor | None = None
    ) -> Float[Tensor, " b"]:
        """LPIPS per picture; gradients flow into the prediction only.

        Args:
            prediction: Pictures in [0, 1].
            target: Ground truth in [0, 1].
            mask: Weights [b, 1, h, w] in [0, 1] or None.

        Returns:
            One distance per picture.
        """
        with torch.no_grad():
            wanted = self.features(target)
        return self.distance(self.features(prediction), wanted, mask)


@functools.cache
def perceptual_network(net: Net = "alex", device: str = "cpu") -> PerceptualNetwork:
    """The LPIPS network with its published weights, built once per backbone and device.

    Args:
        net: "alex" (the usual metric, fast on a CPU) or "vgg".
        device: Where it computes.

    Returns:
        A frozen network for BCHW pictures in [0, 1].

    Raises:
        RealheadError: Unknown backbone, or the weights are absent and cannot be fetched.
    """
    from safetensors.torch import load_file

    from realhead.assets import asset

    if net not in _LAYERS:
        raise RealheadError(f"LPIPS has no backbone {net!r}: choose 'alex' or 'vgg'.")
    arrays = load_file(asset({"alex": "lpips_alexnet", "vgg": "lpips_vgg16"}[net]))
    prefix = {"alex": "AlexNet_0", "vgg": "VGG16_0"}[net]
    weights = {}
    for i in range(sum(kind != "pool" for kind, _, _ in _LAYERS[net])):
        weights[f"conv{i}.weight"] = arrays[f"{prefix}.Conv_{i}.kernel"].permute(3, 2, 0, 1).contiguous()
        weights[f"conv{i}.bias"] = arrays[f"{prefix}.Conv_{i}.bias"]
    for i in range(5):
        weights[f"head{i}"] = arrays[f"NetLinLayer_{i}.Conv_0.kernel"].permute(3, 2, 0, 1).contiguous()
    return PerceptualNetwork(net, weights).eval().to(device)
