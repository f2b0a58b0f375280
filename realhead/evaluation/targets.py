"""The true pictures of an evaluation, with all that several methods are compared with computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from realhead.capture.capture import View
from realhead.evaluation.views import camera_azimuth
from realhead.head.model import Head
from realhead.metrics import perceptual_network

MOUTH_CROP = 96
"""Pixels along a side to which mouth crops are enlarged, since LPIPS and SSIM need some."""
MOUTH_MARGIN = 1.3
"""Side of the square mouth crop over the larger side of the projected lips."""
LARGEST_AZIMUTH = math.radians(50)
"""Mouth crops and ID are taken from cameras within this angle of the face's direction."""
DLIB_FIVE_OF_68 = (45, 42, 36, 39, 33)
CHUNK = 8
"""Pictures that pass a network at a time."""

Features = list[Tensor]


@dataclass(frozen=True)
class Targets:
    """True pictures.

    Attributes:
        views: The pictures, in order.
        head: The head of their parameters; its lips and landmarks say where the mouth and the face are.
    """

    views: Sequence[View]
    head: Head

    @cached_property
    def images(self) -> Float[Tensor, "b h w 3"]:
        """The pictures."""
        return torch.stack([view.image() for view in self.views])

    @cached_property
    def masks(self) -> Float[Tensor, "b h w"]:
        """Their foreground."""
        return torch.stack([view.mask() for view in self.views])

    @cached_property
    def facing(self) -> list[int]:
        """Which of them look the person in the face."""
        return [i for i, view in enumerate(self.views) if abs(camera_azimuth(view)) <= LARGEST_AZIMUTH]

    @cached_property
    def boxes(self) -> dict[int, tuple[float, float, float]]:
        """Squares around the mouths that lie inside a facing picture."""
        found = {i: mouth_box(self.views[i], self.head) for i in self.facing}
        return {i: box for i, box in found.items() if box is not None}

    @cached_property
    def mouths(self) -> Float[Tensor, "m s s 3"]:
        """Mouth crops of the pictures."""
        return self.crops(self.images)

    def crops(self, pictures: Float[Tensor, "b h w 3"]) -> Float[Tensor, "m s s 3"]:
        """The same mouth crops of other pictures."""
        return torch.stack([crop(pictures[i], box) for i, box in self.boxes.items()])

    @cached_property
    def points(self) -> Float[Tensor, "f 5 2"] | None:
        """Five points of each facing picture for the alignment of ID; None where the head has no landmarks."""
        if "68" not in self.head.landmarks:
            return None
        return torch.stack([five_points(self.views[i], self.head) for i in self.facing])

    @cached_property
    def features(self) -> list[Features]:
        """LPIPS features (AlexNet) of the pictures."""
        return _features(self.images)

    @cached_property
    def mouth_features(self) -> list[Features]:
        """LPIPS features (AlexNet) of the mouth crops."""
        return _features(self.mouths)


def _features(pictures: Float[Tensor, "b h w 3"]) -> list[Features]:
    network = perceptual_network("alex")
    with torch.no_grad():
        return [network.features(part) for part in pictures.permute(0, 3, 1, 2).split(CHUNK)]


def lpips_to(
    prediction: Float[Tensor, "b h w 3"], wanted: list[Features], mask: Float[Tensor, "b h w"] | None = None
) -> Float[Tensor, "b"]:
    """`realhead.metrics.lpips` with AlexNet against features that are known already.

    With a mask, the caller has put the true picture outside of it.
    """
    network = perceptual_network("alex")
    masks = [None] * len(wanted) if mask is None else mask[:, None].split(CHUNK)
    parts = zip(_features(prediction), wanted, masks, strict=True)
    return torch.cat([network.distance(first, second, weight) for first, second, weight in parts])


def mouth_box(view: View, head) -> tuple[float, float, float] | None:
    """Square around the projected lips, x, y of its upper left corner and its side in pixels; None off the picture."""
    vertices = head(**view.frame.parameters())[0]
    xy, depth = view.camera.project(vertices[head.regions["lips"]])
    low, high = xy.amin(0), xy.amax(0)
    side = float((high - low).max()) * MOUTH_MARGIN
    left, top = ((low + high) / 2 - side / 2).tolist()
    inside = left >= 0 and top >= 0 and left + side <= view.camera.width and top + side <= view.camera.height
    return (left, top, side) if inside and bool((depth > 0).all()) and side >= 1 else None


def crop(image: Float[Tensor, "h w 3"], box: tuple[float, float, float]) -> Float[Tensor, "s s 3"]:
    """A square of a picture, sampled bilinearly at MOUTH_CROP pixels a side."""
    left, top, side = box
    height, width = image.shape[:2]
    steps = (torch.arange(MOUTH_CROP) + 0.5) / MOUTH_CROP * side
    x, y = (left + steps) / width * 2 - 1, (top + steps) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    pixels = F.grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False, padding_mode="border")
    return pixels[0].permute(1, 2, 0).clamp(0, 1)


def five_points(view: View, head) -> Float[Tensor, "5 2"]:
    """Eye corners and base of the nose of the tracked mesh, in pixels, in dlib's order."""
    points = head.landmark_positions(head(**view.frame.parameters()))[0]
    return view.camera.project(points[list(DLIB_FIVE_OF_68)])[0]
