"""Expression maps: how far expression and jaw move every texel, with identity and head pose taken out (paper IV-A)."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.errors import RealheadError
from realhead.head.flame_editions import find_edition
from realhead.head.model import Head
from realhead.head.uv import UVMap

if TYPE_CHECKING:
    from realhead.capture.capture import Capture
    from realhead.capture.frame import Frame

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
    mean_head = expression.new_zeros(len(expression), 0)  # coefficients that are left out are zero
    posed = head(mean_head, expression, jaw_only, pose.new_zeros(len(pose), 3), eyelids)
    return uv_map.scatter(uv_map.interpolate(posed - head.v_template)) * CENTIMETRE


def smirk_head() -> Head | None:
    """The user's FLAME 2020, which SMIRK's coefficients belong to; None where there is none."""
    return _flame_2020(os.environ.get("REALHEAD_ASSETS"))


@functools.lru_cache(maxsize=2)
def _flame_2020(assets_folder: str | None) -> Head | None:
    """Read once; the folder is a key because it decides which file is found."""
    from realhead.head import load_head

    path = find_edition("2020")
    return None if path is None else load_head(path)


def smirk_expression_map(frames: Sequence[Frame], head: Head, uv_map: UVMap) -> Float[Tensor, "b 3 r r"] | None:
    """The paper's expression maps: SMIRK's expression and jaw on FLAME 2020, whatever FLAME edition the geometry has.

    All editions have the same mesh, so the offsets of FLAME 2020's vertices may be laid out in the geometry's UV space.

    Args:
        frames: Driving frames.
        head: The geometry.
        uv_map: Its UV layout.

    Returns:
        The maps; None where SMIRK did not see every frame, FLAME 2020 is absent, or the geometry is no FLAME: then the
        tracker's own expression and jaw serve.

    Raises:
        RealheadError: The user's FLAME 2020 cannot be read or is of another edition.
    """
    if head.edition is None or any(frame.smirk is None for frame in frames) or (source := smirk_head()) is None:
        return None
    if source.edition != "2020" or source.num_vertices != head.num_vertices:
        raise RealheadError(
            f"SMIRK's coefficients need FLAME 2020, but '{source.name}' is {source.edition} with {source.num_vertices} "
            f"vertices, and the geometry has {head.num_vertices}: keep the same companions beside both, or remove it."
        )
    seen = torch.stack([frame.smirk for frame in frames]).cpu()
    pose = seen.new_zeros(len(seen), 5, 3)
    pose[:, JAW] = seen[:, 50:]
    return expression_map(source, uv_map.to("cpu"), seen[:, :50], pose).to(uv_map.index.device)


def frame_expression_map(frame: Frame, head: Head, uv_map: UVMap) -> Float[Tensor, "3 r r"]:
    """The expression map of one frame: SMIRK's where it can be had, else the tracker's own.

    Raises:
        RealheadError: As `smirk_expression_map`.
    """
    made = smirk_expression_map([frame], head, uv_map)
    if made is None:
        values = frame.parameters()
        made = expression_map(head, uv_map, values["expression"], values["pose"], values["eyelids"])
    return made[0]


def expression_source(captures: Iterable[Capture]) -> str:
    """Where the expression maps of captures come from, in words for run cards."""
    own = "the tracker's own expression and jaw"
    captures = list(captures)
    seen = [capture.smirk_file(t).is_file() for capture in captures for t in capture.parameter_files]
    if not any(seen):
        return f"{own} (SMIRK was not run)"
    if captures[0].head.edition is None:
        return f"{own} (SMIRK needs a FLAME head)"
    if smirk_head() is None:
        return f"{own} (SMIRK needs FLAME 2020, which is absent)"
    some = "" if all(seen) else f" in {sum(seen)} of {len(seen)} frames, {own} in the others"
    return f"SMIRK's expression and jaw on FLAME 2020{some}"
