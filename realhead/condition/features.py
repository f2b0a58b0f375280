"""Feature pictures for the mouth map of Table III: histograms of oriented gradients, and DINO features.

Both have nine channels, values of order one and the size of the picture, so that they are drop-in replacements of the
image gradients. What the paper leaves out (number of channels, scaling) is ours.
"""

from __future__ import annotations

import functools
import math
import os

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from realhead.model.backbones import AlexBackbone, Backbone, DinoBackbone, find_dino, load_backbone

CHANNELS = 9
CELL = 8  # pixels (Dalal and Triggs 2005), like the nine orientations and the blocks of 3 x 3 cells
NOISE_FLOOR = 0.03  # ours: blocks with less contrast than this are not blown up to full strength


def hog_picture(image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 9"]:
    """Histogram of oriented gradients around every pixel (Dalal and Triggs 2005).

    Nine unsigned orientations of 20 degrees, the strongest colour channel votes, one cell of 8 x 8 pixels, divided by
    the contrast of its block of 3 x 3 cells. Instead of one histogram per cell there is one per pixel: cells are
    centred at all pixel corners, and a pixel takes the mean of its four corners, so nothing shifts by half a pixel.

    Args:
        image: The whole picture in [0, 1].

    Returns:
        Histograms in [0, 9], scaled so that a block has an RMS of one if its contrast is well above `NOISE_FLOOR`;
        zero where the picture is flat.
    """
    corners = normalised_cells(image, NOISE_FLOOR) * math.sqrt(9 * CHANNELS)
    return F.avg_pool2d(corners[None], 2, stride=1)[0].permute(1, 2, 0)


def normalised_cells(image: Float[Tensor, "h w 3"], floor: float) -> Float[Tensor, "9 h1 w1"]:
    """Block-normalised histograms of the cells around all pixel corners.

    Args:
        image: The whole picture in [0, 1].
        floor: Added to the contrast of a block, in units of the summed gradient of a cell per pixel.

    Returns:
        One more row and column than the picture; entry [:, i, j] belongs to the 8 x 8 pixels from row i - 4 and column
        j - 4 on. Cells that lie partly outside count the missing pixels as flat.
    """
    half = CELL // 2
    votes = F.pad(_votes(image), (half, half, half, half))[None]
    cells = F.avg_pool2d(F.avg_pool2d(votes, (CELL, 1), stride=1), (1, CELL), stride=1)  # separable, hence quick
    energy = F.pad(cells.square().sum(1, keepdim=True), (CELL, CELL, CELL, CELL))
    block = F.conv2d(energy, energy.new_ones(1, 1, 3, 3), dilation=CELL)  # the cell and its eight neighbours
    return (cells / (block + floor**2).sqrt())[0]


def _votes(image: Tensor) -> Tensor:
    """Gradient magnitude of each pixel in the channel of its orientation [9, h, w]; zero on the outermost pixels."""
    picture = image.permute(2, 0, 1)
    down, across = torch.zeros_like(picture), torch.zeros_like(picture)
    down[:, 1:-1] = picture[:, 2:] - picture[:, :-2]
    across[:, :, 1:-1] = picture[:, :, 2:] - picture[:, :, :-2]
    magnitude, strongest = torch.hypot(down, across).max(0, keepdim=True)
    down, across = down.gather(0, strongest), across.gather(0, strongest)
    angle = torch.atan2(down, across).remainder(math.pi)
    orientation = (angle * (CHANNELS / math.pi)).long() % CHANNELS  # rounding may give pi itself
    return magnitude.new_zeros(CHANNELS, *image.shape[:2]).scatter_(0, orientation, magnitude)


def dino_source() -> str:
    """Which network `dino_picture` uses, to be written beside every result: DINO, or its named stand-in."""
    return (DinoBackbone if find_dino() else AlexBackbone).name


def dino_picture(image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 9"]:
    """Features of DINO's last layer, reduced to nine channels by a fixed random projection.

    The picture keeps its resolution (rounded to multiples of 16), so one feature covers 16 x 16 pixels. Features are
    scaled to an RMS of one, projected onto nine fixed orthonormal directions, and interpolated bilinearly.

    Args:
        image: The whole picture in [0, 1].

    Returns:
        Features of order one, see `dino_source` for the network.
    """
    height, width = image.shape[:2]
    backbone = _backbone(os.environ.get("REALHEAD_ASSETS"), str(image.device))
    size = [max(16, 16 * round(side / 16)) for side in (height, width)]
    with torch.no_grad():
        picture = image.permute(2, 0, 1)[None]
        if size != [height, width]:
            picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
        features = F.normalize(backbone.patches(picture), dim=1) * math.sqrt(backbone.channels[-1])
        reduced = torch.einsum("bchw,ck->bkhw", features, projection(backbone.channels[-1]).to(features))
        return F.interpolate(reduced, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


@functools.cache
def projection(channels: int) -> Float[Tensor, "c 9"]:
    """Nine orthonormal directions among so many channels, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(channels, CHANNELS, generator=generator, dtype=torch.float64))[0].float()


@functools.lru_cache(maxsize=2)
def _backbone(assets_folder: str | None, device: str) -> Backbone:
    """Loaded once; the folder is a key because it decides which network is found."""
    return load_backbone().to(device)
