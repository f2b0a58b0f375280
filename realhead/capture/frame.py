"""What a capture consists of: a frame is one timestep's head parameters, a view is one picture of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.camera import Camera
from realhead.capture.files import read_png
from realhead.errors import CaptureError


@dataclass(frozen=True)
class Frame:
    """Head parameters of one timestep.

    Attributes:
        timestep: Index inside the capture.
        shape: Identity coefficients [S] (unit variance).
        expression: Expression coefficients [E].
        pose: Axis-angle rotations in radians of root, neck, jaw, left eye, right eye, shape [5, 3].
        translation: Root translation in metres [3].
        eyelids: Left and right eyelid in [0, 1], shape [2], or None.
        smirk: What SMIRK saw in the frontal picture: 50 expressions and the jaw's axis-angle of FLAME 2020, [53], or
            None. Only the expression map is made of it.
    """

    timestep: int
    shape: Float[Tensor, "s"]
    expression: Float[Tensor, "e"]
    pose: Float[Tensor, "5 3"]
    translation: Float[Tensor, "3"]
    eyelids: Float[Tensor, "2"] | None = None
    smirk: Float[Tensor, "53"] | None = None

    def parameters(self) -> dict[str, Tensor | None]:
        """Keyword arguments of `Head.forward`, with a leading batch of one."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("timestep", "smirk")}
        return {name: None if value is None else value[None] for name, value in values.items()}

    def to(self, device: torch.device | str) -> Frame:
        """The same frame on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: v.to(device) for name, v in tensors.items() if isinstance(v, Tensor)})

    @property
    def effort(self) -> float:
        """How far the face is from neutral: the norm of expression and jaw (jaw in units of 0.1 rad)."""
        return float(torch.cat([self.expression, self.pose[2] * 10]).norm())


@dataclass(frozen=True)
class View:
    """One picture: a timestep seen by a camera.

    Attributes:
        frame: The head's parameters.
        camera: The camera.
        image_path: The picture, on white.
        mask_path: Its foreground, or None.
        mouth_path: Where a segmentation saw the mouth, or None.
        device: Where pictures and masks are put that are read.
    """

    frame: Frame
    camera: Camera
    image_path: Path
    mask_path: Path | None
    mouth_path: Path | None = None
    device: torch.device | str = "cpu"

    def to(self, device: torch.device | str) -> View:
        """The same view, whose frame, camera and pictures are on another device."""
        return replace(self, frame=self.frame.to(device), camera=self.camera.to(device), device=device)

    def image(self, background: float = 1.0) -> Float[Tensor, "h w 3"]:
        """The picture in [0, 1], composited on a grey level (files are stored on white)."""
        image = self._read(self.image_path, 3)
        return image if background == 1.0 else image + (1 - self.mask()[..., None]) * (background - 1.0)

    def mask(self) -> Float[Tensor, "h w"]:
        """Straight alpha of the head in [0, 1]; ones where the capture has no masks."""
        if self.mask_path is None:
            return torch.ones(self.camera.height, self.camera.width, device=self.device)
        return self._read(self.mask_path, 1)[..., 0]

    def mouth(self) -> Float[Tensor, "h w"] | None:
        """Where a segmentation saw lips or the inside of the mouth, 0 or 1; None where the capture has none."""
        return None if self.mouth_path is None else (self._read(self.mouth_path, 1)[..., 0] > 0.5).float()

    def _read(self, path: Path, channels: int) -> Tensor:
        pixels = read_png(path, channels)
        if pixels.shape[:2] != (self.camera.height, self.camera.width):
            raise CaptureError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels but its camera says "
                f"{self.camera.width}x{self.camera.height}: resize the picture or correct w and h in transforms.json."
            )
        return torch.from_numpy(pixels.astype(np.float32) / 255).to(self.device)
