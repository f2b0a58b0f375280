"""Expression maps: how far expression and jaw move every texel, with identity and head pose taken out (paper IV-A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.head.model import Head
from realhead.head.uv import UVMap

CENTIMETRE = 100.0
"""The maps are in centimetres, so that typical values are near one (ours; the paper names no unit)."""

JAW = 2  # index of the jaw in a pose


def expression_map(
    head: Head,
    uv_map: UVMap,
    expression: Float[Tensor, "b e"],
    pose: Float[Tensor, "b 5 3"],
    eyelids: Float[Tensor, "b 2"] | None = None,
) -> Float[Tensor, "b 3 r r"]:
    """Position offsets between an expression and the neutral face of the mean head, in UV space.

    Only expression, eyelids and the jaw's rotation enter; shape and every other rotation are canonical, which
    disentangles the map from identity and head pose.
    """
    jaw_only = torch.zeros_like(pose)
    jaw_only[:, JAW] = pose[:, JAW]
    zeros = {
        "shape": expression.new_zeros(len(expression), head.num_shape),
        "translation": pose.new_zeros(len(pose), 3),
    }
    posed = head(expression=expression, pose=jaw_only, eyelids=eyelids, **zeros)
    neutral = head(expression=torch.zeros_like(expression), pose=torch.zeros_like(pose), **zeros)
    return uv_map.scatter(uv_map.interpolate(posed - neutral)) * CENTIMETRE
