"""Mouth maps: what the driving picture shows around the mouth, carried into UV space (paper, Appendix C).

A 3DMM has no tongue, no teeth and few lips; the picture has them all. Image gradients keep that structure and leave
behind the driver's colours and most of the light, so they may drive an avatar whose looks come from elsewhere.

The map always comes from the frontal or driving picture of a timestep, never from the view that is to be rendered.
Texels look up the picture without a depth test: the tracked mesh does not know where tongue and teeth really are, and
its own depth would cut them away.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.head.uv import UVMap

MouthKind = Literal["gradient", "rgb", "full_gradient", "full_rgb", "hog", "dino", "none"]
"""Gradients (the paper's), colours, both over the whole face (Table II), HOG and DINO features (Table III)."""

MOUTH_CHANNELS = {"gradient": 3, "rgb": 3, "full_gradient": 3, "full_rgb": 3, "hog": 9, "dino": 9, "none": 0}

MOUTH_REGIONS = ("lips", "mouth", "teeth_upper", "teeth_lower", "tongue")
FACE_REGIONS = ("face", *MOUTH_REGIONS)

_SOBEL_X = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
_LUMA = torch.tensor([0.299, 0.587, 0.114])


def image_gradients(image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Sobel gradients of the grey picture: x, y and magnitude (Appendix C).

    Args:
        image: The whole picture in [0, 1], before any masking.

    Returns:
        Horizontal and vertical derivative in [-1, 1], divided by the largest absolute value of the whole picture, and
        their magnitude in [0, sqrt(2)]. A picture without any edge (below one 8-bit level) gives almost zeros.
    """
    grey = (image @ _LUMA.to(image))[None, None]
    kernels = torch.stack([_SOBEL_X, _SOBEL_X.T]).to(image)[:, None]
    gradient = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)[0]
    gradient = gradient / gradient.abs().max().clamp_min(1 / 255)
    return torch.stack([*gradient, torch.hypot(*gradient)], -1)


def sample_image(image: Float[Tensor, "h w c"], xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Bilinear look-up at pixel positions (centres at integer + 0.5); zeros outside."""
    height, width = image.shape[:2]
    grid = xy / xy.new_tensor([width / 2, height / 2]) - 1
    sampled = F.grid_sample(image.permute(2, 0, 1)[None], grid[None, None].to(image), align_corners=False)
    return sampled[0, :, 0].T


def mouth_texels(uv_map: UVMap, kind: MouthKind = "gradient") -> Tensor:
    """Which covered texels carry the map: the mouth, or the whole face for the 'full' variants. Bool, shape [N]."""
    regions = FACE_REGIONS if kind.startswith("full") else MOUTH_REGIONS
    return torch.stack([uv_map.region(name) for name in regions]).any(0)


def feature_picture(image: Float[Tensor, "h w 3"], kind: MouthKind) -> Float[Tensor, "h w c"]:
    """The picture of which a mouth map is made; channels as in `MOUTH_CHANNELS`, values of order one."""
    if kind in ("hog", "dino"):
        from realhead.condition import features

        return getattr(features, f"{kind}_picture")(image)
    return image_gradients(image) if kind.endswith("gradient") else image * 2 - 1


def mouth_map(
    image: Float[Tensor, "h w 3"],
    vertices: Float[Tensor, "v 3"],
    camera: Camera,
    uv_map: UVMap,
    kind: MouthKind = "gradient",
) -> Float[Tensor, "c r r"]:
    """The mouth map of a frontal or driving picture.

    Args:
        image: The picture in [0, 1].
        vertices: Posed vertices of the tracked head, world space, metres.
        camera: The camera of the picture.
        uv_map: UV layout and resolution.
        kind: What is stored (Tables II and III).

    Returns:
        The map in UV space, zero outside of the mouth (or face), values in [-1, sqrt(2)] for gradients and [-1, 1] for
        colours.
    """
    values = vertices.new_zeros(len(uv_map.index), MOUTH_CHANNELS[kind])
    if kind != "none":
        inside = mouth_texels(uv_map, kind)
        xy, depth = camera.project(uv_map.interpolate(vertices)[inside])
        values[inside] = torch.where(depth[:, None] > 0, sample_image(feature_picture(image, kind), xy), 0.0)
    return uv_map.scatter(values)
