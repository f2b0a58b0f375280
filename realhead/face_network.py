"""dlib's face recognition ResNet (29 convolutions, 128-D) in torch: the network behind the identity similarity ID.

Faces of one person lie within a distance of 0.6 of each other. The network sees a chip: the face turned upright by five
points and cut out at 150 x 150 pixels. Everything is differentiable.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from realhead.errors import AssetError

CHIP_SIZE = 150
CHIP_PADDING = 0.25
# Five points of dlib's mean face: left eye outer and inner corner, right eye outer and inner corner, base of the nose.
_MEAN_FACE = torch.tensor(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
FIVE_POINTS = (263, 362, 33, 133, 2)
"""Where these five points are among the 478 of MediaPipe."""

_BLOCKS = [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2 + [(256, 2)] + [(256, 1)] * 2
_BLOCKS += [(256, 2)]
"""Channels and stride of the residual blocks, from the input on."""


class FaceNetwork(nn.Module):
    """The ResNet; batch normalisation is folded into one affine step per convolution."""

    def __init__(self, convolutions: list[tuple[Tensor, Tensor, Tensor, Tensor]], head: Tensor):
        """Builds the network.

        Args:
            convolutions: Weight [out, in, k, k], bias, gamma and beta [out] of each convolution in order.
            head: Last linear layer [256, 128].
        """
        super().__init__()
        for i, parts in enumerate(convolutions):
            for name, value in zip(("weight", "bias", "gamma", "beta"), parts, strict=True):
                self.register_buffer(f"{name}{i}", value, persistent=False)
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("_mean", torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1), persistent=False)

    def _conv(self, i: int, x: Tensor, stride: int) -> Tensor:
        weight = getattr(self, f"weight{i}")
        padding = weight.shape[-1] // 2 if stride == 1 else 0  # dlib pads only where the size is to be kept
        x = F.conv2d(x, weight, getattr(self, f"bias{i}"), stride=stride, padding=padding)
        return x * getattr(self, f"gamma{i}").view(1, -1, 1, 1) + getattr(self, f"beta{i}").view(1, -1, 1, 1)

    def forward(self, chip: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        """Embeds aligned chips.

        Args:
            chip: Upright faces in [0, 1], from `face_chip`.

        Returns:
            Embeddings, not normalised.
        """
        x = F.max_pool2d(F.relu(self._conv(0, (chip * 255 - self._mean) / 256, 2)), 3, 2)
        for block, (_, stride) in enumerate(_BLOCKS):
            shortcut = F.avg_pool2d(x, 2, 2) if stride == 2 else x
            x = F.relu(self._conv(2 * block + 1, x, stride))
            x = F.relu(_padded_sum(self._conv(2 * block + 2, x, 1), shortcut))
        return x.mean((2, 3)) @ self.head


def _padded_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of maps of unequal size, the smaller one continued with zeros (dlib's add_prev)."""
    channels, height, width = (max(a.shape[i], b.shape[i]) for i in (1, 2, 3))

    def grown(x: Tensor) -> Tensor:
        return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))

    return grown(a) + grown(b)


def chip_from_image(points: Float[Tensor, "*b 5 2"]) -> Float[Tensor, "*b 2 3"]:
    """Similarity that takes five points of a picture to their places in the chip (Umeyama, least squares).

    Args:
        points: Pixels, in the order of `FIVE_POINTS`.

    Returns:
        Rows of the affine map from picture pixels to chip pixels.
    """
    wanted = (_MEAN_FACE.to(points) + CHIP_PADDING) / (2 * CHIP_PADDING + 1) * CHIP_SIZE
    from_mean, to_mean = points.mean(-2, keepdim=True), wanted.mean(-2, keepdim=True)
    source, target = points - from_mean, wanted - to_mean
    scale = 1 / source.square().sum((-2, -1))
    a = (source * target).sum((-2, -1)) * scale
    b = (source[..., 0] * target[..., 1] - source[..., 1] * target[..., 0]).sum(-1) * scale
    linear = torch.stack((torch.stack((a, -b), -1), torch.stack((b, a), -1)), -2)
    offset = to_mean.squeeze(-2) - (linear @ from_mean.mT).squeeze(-1)
    return torch.cat((linear, offset.unsqueeze(-1)), -1)


def face_chip(image: Float[Tensor, "b 3 h w"], points: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 3 150 150"]:
    """Cuts upright faces out of pictures.

    Args:
        image: Pictures in [0, 1].
        points: Five points in pixels (centres at integer + 0.5), in the order of `FIVE_POINTS`.

    Returns:
        Chips in [0, 1]; black where the chip leaves the picture.
    """
    transform = chip_from_image(points.to(image))
    linear, offset = transform[..., :2], transform[..., 2]
    shrink = int(1 / torch.linalg.det(linear).sqrt().max().item() + 0.5)
    height, width = image.shape[-2:]
    if shrink > 1:  # sampling alone would skip pixels
        image = F.avg_pool2d(image, shrink, ceil_mode=True, count_include_pad=False)
    centres = torch.arange(CHIP_SIZE, device=image.device, dtype=image.dtype) + 0.5
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)  # [150, 150, 2]
    pixels = torch.einsum("bij,bhwj->bhwi", torch.linalg.inv(linear), grid - offset[:, None, None])
    covered = torch.tensor([image.shape[-1], image.shape[-2]], device=image.device) * max(shrink, 1)
    assert covered[0] >= width and covered[1] >= height
    return F.grid_sample(image, pixels / covered * 2 - 1, mode="bilinear", align_corners=False)


@functools.cache
def face_network(device: str = "cpu") -> FaceNetwork:
    """The network with dlib's weights, built once per device.

    Raises:
        AssetError: The weights are absent and cannot be fetched, or are damaged.
    """
    from realhead.assets import asset

    return FaceNetwork(*read_dlib(asset("dlib_face_recognition_resnet_model_v1.dat"))).eval().to(device)


def read_dlib(path: Path) -> tuple[list[tuple[Tensor, Tensor, Tensor, Tensor]], Tensor]:
    """Reads the parameters out of dlib's own file format, in which the layers follow each other from the input on.

    Args:
        path: `dlib_face_recognition_resnet_model_v1.dat`.

    Returns:
        Arguments of `FaceNetwork`.

    Raises:
        AssetError: The file does not hold this network.
    """
    data = path.read_bytes()
    convolutions, position, in_channels = [], 0, 3
    try:
        for out_channels, size in [(32, 7)] + [(n, 3) for n, _ in _BLOCKS for _ in range(2)]:
            filters, position = _tensor_after(data, b"con_4", position)
            affine, position = _tensor_after(data, b"affine_", position)
            weight, bias = filters[:-out_channels], filters[-out_channels:]
            gamma, beta = affine.view(2, out_channels)
            convolutions.append((weight.view(out_channels, in_channels, size, size), bias, gamma, beta))
            in_channels = out_channels
        head, _ = _tensor_after(data, b"fc_2", position, skipped=2)  # its sizes come first
        return convolutions, head.view(256, 128)
    except (ValueError, IndexError, RuntimeError, struct.error) as error:
        raise AssetError(f"{path.name} does not hold dlib's face network: remove it and run `make setup`.") from error


def _tensor_after(data: bytes, layer: bytes, position: int, skipped: int = 0) -> tuple[Tensor, int]:
    """The tensor that follows a layer's name: version 2, four sizes, then plain little-endian floats."""
    position = data.index(bytes([1, len(layer)]) + layer, position) + 2 + len(layer)
    for _ in range(skipped):
        _, position = _integer(data, position)
    version, position = _integer(data, position)
    if version != 2:
        raise ValueError("unknown version")
    count = 1
    for _ in range(4):
        extent, position = _integer(data, position)
        count *= extent
    end = position + 4 * count
    if count <= 0 or end > len(data):
        raise ValueError("truncated")
    return torch.frombuffer(bytearray(data[position:end]), dtype=torch.float32), end


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """dlib's integers: one byte with the number of bytes (top bit: negative), then that many, lowest first."""
    length = data[position] & 0x0F
    value = int.from_bytes(data[position + 1 : position + 1 + length], "little")
    return -value if data[position] & 0x80 else value, position + 1 + length
