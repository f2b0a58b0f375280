"""Expression maps: how far expression and jaw move every texel, with identity and head pose taken out (paper IV-A)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.errors import CaptureError
from realhead.head.model import Head
from realhead.head.uv import UVMap

if TYPE_CHECKING:
    from realhead.capture.capture import Capture

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


def expression_source(capture: Capture, expression_head: Head | None) -> str:
    """Where a capture's expression maps come from, in words for run cards.

    Args:
        capture: The capture, with or without SMIRK's files beside it.
        expression_head: FLAME 2020, or None where the user has none.
    """
    if smirk_files(capture) and expression_head is not None:
        return "SMIRK's expression and jaw on FLAME 2020 (as the paper)"
    reason = "FLAME 2020 is absent" if smirk_files(capture) else "SMIRK was not run"
    return f"the tracker's own expression and jaw ({reason})"


def capture_expression_map(
    capture: Capture, timestep: int, uv_map: UVMap, expression_head: Head | None = None
) -> Float[Tensor, "3 r r"]:
    """The expression map of one timestep: by SMIRK and FLAME 2020 where both are there, else by the tracker.

    Args:
        capture: The capture.
        timestep: Which one.
        uv_map: The geometry's UV layout; all FLAME editions share their mesh.
        expression_head: FLAME 2020, whatever edition the geometry has.

    Raises:
        CaptureError: SMIRK's file is damaged, or the expression head is no FLAME 2020 or has another mesh.
    """
    path = smirk_files(capture).get(timestep)
    if path is None or expression_head is None:
        frame = capture.frame(timestep).parameters()
        return expression_map(capture.head, uv_map, frame["expression"], frame["pose"], frame["eyelids"])[0]
    if expression_head.edition != "2020" or expression_head.num_vertices != capture.head.num_vertices:
        raise CaptureError(
            f"SMIRK's coefficients need FLAME 2020, not '{expression_head.name}' ({expression_head.edition}), on a "
            "capture that was tracked with FLAME: pass generic_model.pkl, or remove the folder smirk/."
        )
    from realhead.capture.files import read_npz

    data = read_npz(path, only=("expression", "jaw"))
    if {k: v.size for k, v in data.items()} != {"expression": 50, "jaw": 3}:
        raise CaptureError(f"{path} does not hold SMIRK's 50 expressions and its jaw: remove it and run SMIRK again.")
    pose = torch.zeros(1, 5, 3)
    pose[0, JAW] = torch.from_numpy(data["jaw"].reshape(3))
    expression = torch.from_numpy(data["expression"].reshape(1, 50))
    return expression_map(expression_head, uv_map, expression.float(), pose)[0]


def smirk_files(capture: Capture) -> dict[int, Path]:
    """SMIRK's file of every timestep that has one."""
    return {int(p.stem): p for p in sorted((capture.folder / "smirk").glob("*.npz")) if p.stem.isdecimal()}
