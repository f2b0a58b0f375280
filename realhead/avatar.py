"""An avatar: the prior, one person's identity feature maps, and what enrollment tuned. It is driven frame by frame."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.capture import Frame, View
from realhead.condition.expression import smirk_expression_map
from realhead.condition.store import view_mouth_map
from realhead.errors import CheckpointError
from realhead.head.model import Head
from realhead.head.uv import UVMap
from realhead.model.checkpoint import load_tensors, network_state, prior_from, prior_metadata, save_tensors
from realhead.model.folded import FoldedNetwork
from realhead.model.layers import EqualConv
from realhead.model.primitives import Primitives, pose_primitives
from realhead.model.prior import FeatureMaps, Prior
from realhead.note import SYNTHETIC
from realhead.rendering import render
from realhead.splatting.gaussians import Gaussians

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Avatar:
    """A person, ready to be driven.

    Attributes:
        prior: The network.
        shape: The person's identity coefficients, [S].
        identity: Six identity feature maps, full resolution first, each [1, C, H, W].
        last: The last decoder layer that enrollment tuned, or None for the prior's own.
        colour: Affine colour transform [3, 4] of the person's pictures, or None.
        info: How it was made: shots, pictures, numbers.
    """

    prior: Prior
    shape: Float[Tensor, "s"]
    identity: FeatureMaps
    last: EqualConv | None = None
    colour: Float[Tensor, "3 4"] | None = None
    info: dict | None = None

    @property
    def head(self) -> Head:
        """The head model that the avatar sits on."""
        return self.prior.head

    @property
    def uv_map(self) -> UVMap:
        """Texel, triangle and region of every Gaussian."""
        return self.prior.uv_map

    @property
    def device(self) -> torch.device:
        """Where the avatar is and its pictures are made: where its prior is."""
        return self.prior.device

    def to(self, device: torch.device | str) -> Avatar:
        """The avatar on another device; a prior that others use stays where it is."""
        device = torch.device(device)
        if device.type == self.device.type:
            return self
        prior, last = (copy.deepcopy(module).to(device) if module else None for module in (self.prior, self.last))
        colour = None if self.colour is None else self.colour.to(device)
        return Avatar(prior, self.shape.to(device), [m.to(device) for m in self.identity], last, colour, self.info)

    @cached_property
    def neutral(self) -> Frame:
        """The person at rest at the origin, looking to +z."""
        zeros = torch.zeros
        rest = Frame(0, self.shape, zeros(self.head.num_expression), zeros(5, 3), zeros(3))
        return rest.to(self.device)

    def primitives(self, frame: Frame, mouth: Float[Tensor, "c r r"] | None = None) -> Primitives:
        """Canonical primitives of a driving frame (batch of one), without gradients."""
        with torch.no_grad():
            frame = frame.to(self.device)
            batch = frame.parameters()
            mouth = None if mouth is None else mouth[None].to(self.device)
            maps = self.prior.driving_maps(
                batch["expression"], batch["pose"], mouth, batch["eyelids"],
                smirk_expression_map([frame], self.head, self.uv_map),
            )  # fmt: skip
            return self.network(maps)

    @cached_property
    def network(self) -> FoldedNetwork:
        """The prior's network with this person folded in."""
        return FoldedNetwork(self.prior, self.identity, self.last)

    def gaussians(self, frame: Frame, mouth: Float[Tensor, "c r r"] | None = None) -> Gaussians:
        """Posed Gaussians of a driving frame.

        Args:
            frame: Expression, pose and translation; its shape is replaced by the avatar's.
            mouth: Mouth map of the driving picture (`mouth_map`), or None: then the 3DMM alone moves the mouth.
        """
        with torch.no_grad():
            frame = replace(frame, shape=self.shape).to(self.device)
            posed = pose_primitives(self.head, self.uv_map, self.primitives(frame, mouth), frame)
            return posed if self.colour is None else recolour(posed, self.colour)

    def mouth_map(self, view: View) -> Float[Tensor, "c r r"]:
        """Mouth map of a driving picture, with the driver's own tracked mesh."""
        with torch.no_grad():
            return view_mouth_map(view.to(self.device), self.uv_map, self.head, self.prior.config.mouth)

    def render(
        self, frame: Frame, camera: Camera, mouth: Float[Tensor, "c r r"] | None = None, background: float = 1.0
    ) -> Float[Tensor, "h w 3"]:
        """The avatar in a driving frame, seen by a camera; values in [0, 1]."""
        with torch.no_grad():
            return render(self.gaussians(frame, mouth), camera, background)[0].clamp(0, 1)

    def save(self, path: str | Path) -> Path:
        """Writes the avatar with its prior (float16) into one safetensors file."""
        tensors = {f"prior.{k}": v.half() for k, v in network_state(self.prior).items()}
        tensors |= {f"identity.{i}": m.half() for i, m in enumerate(self.identity)}
        tensors["shape"] = self.shape
        if self.last is not None:
            tensors |= {f"last.{k}": v for k, v in self.last.state_dict().items()}
        if self.colour is not None:
            tensors["colour"] = self.colour
        metadata = {"kind": "avatar", "note": SYNTHETIC, "info": self.info or {}, **prior_metadata(self.prior)}
        save_tensors(path, tensors, metadata)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, head: Head | None = None) -> Avatar:
        """Reads an avatar; nothing in the file is executed.

        Raises:
            CheckpointError: Absent, damaged, or made with another head.
        """
        tensors, metadata = load_tensors(path)
        if metadata.get("kind") != "avatar":
            raise CheckpointError(
                f"{path} is no avatar (it is a {metadata.get('kind', 'foreign file')}): see `realhead enroll`."
            )
        weights = {k[6:]: v for k, v in tensors.items() if k.startswith("prior.")}
        prior = prior_from(weights, metadata, path, head)
        try:
            identity = [tensors[f"identity.{i}"].float() for i in range(prior.config.num_levels)]
            last = None
            if "last.weight" in tensors:
                last = new_last_layer(prior)
                last.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("last.")})
            return cls(prior, tensors["shape"], identity, last, tensors.get("colour"), metadata["info"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{path} is incomplete ({error}): enroll the person again.") from error


def interpolate(first: Avatar, second: Avatar, share: float) -> Avatar:
    """A person between two (Appendix D-A): shape and all six identity feature maps are mixed linearly.

    Args:
        first: The person at `share` 0.
        second: The person at `share` 1; of the same prior.
        share: Where between them, [0, 1].
    """
    maps = [torch.lerp(a, b, float(share)) for a, b in zip(first.identity, second.identity, strict=True)]
    shape = torch.lerp(first.shape, second.shape, float(share))
    return Avatar(first.prior, shape, maps, info={"kind": "interpolated", "share": float(share)})


def new_last_layer(prior: Prior) -> EqualConv:
    """A copy of the prior's last layer that may be tuned."""
    return copy.deepcopy(prior.decoder.last)


def recolour(gaussians: Gaussians, colour: Float[Tensor, "3 4"]) -> Gaussians:
    """Applies an affine colour transform to SH coefficients, which is exact as long as no colour is clamped at zero."""
    matrix, shift = colour[:, :3], colour[:, 3]
    sh = gaussians.sh @ matrix.T
    constant = (matrix @ torch.full((3,), 0.5, device=sh.device) + shift - 0.5) / SH_C0
    sh = torch.cat([sh[:, :1] + constant, sh[:, 1:]], 1)
    return replace(gaussians, sh=sh)
