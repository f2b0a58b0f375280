"""The arguments of `rasterization`, checked once: every backend may trust a `Scene`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from realhead.errors import RealheadError

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")
MAX_SIDE = 16384  # pixels
MAX_CHANNELS = 64
WORTH_A_LOOK = 1 << 28  # bytes; a smaller need is not compared with the memory that is free


@dataclass(frozen=True)
class Scene:
    """Gaussians, cameras and settings of one call, in the names of gsplat."""

    means: Tensor
    """[N, 3]"""
    quats: Tensor | None
    """[N, 4] wxyz, or None where covars are given"""
    scales: Tensor | None
    """[N, 3], or None where covars are given"""
    opacities: Tensor
    """[N]"""
    colors: Tensor
    """[N, D] or [C, N, D] without, [N, K, 3] or [C, N, K, 3] with `sh_degree`"""
    viewmats: Tensor
    """[C, 4, 4] cam_from_world"""
    Ks: Tensor
    """[C, 3, 3]"""
    width: int
    height: int
    near: float
    far: float
    eps2d: float
    sh_degree: int | None
    backgrounds: Tensor | None
    """[C, D] or None"""
    mode: str
    antialiased: bool
    covars: Tensor | None
    """[N, 3, 3] or None"""
    radius_clip: float = 0.0

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are given, by name."""
        names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds", "covars")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @cached_property
    def views(self) -> np.ndarray:
        """`viewmats` in float64 [C, 4, 4]; numpy's calls cost a fifth of torch's on matrices this small."""
        return self.viewmats.detach().cpu().double().numpy()

    @cached_property
    def intrinsics(self) -> np.ndarray:
        """`Ks` in float64 [C, 3, 3]."""
        return self.Ks.detach().cpu().double().numpy()

    @property
    def per_camera_colors(self) -> bool:
        """Whether `colors` has a leading axis of cameras."""
        return self.colors.ndim == (3 if self.sh_degree is None else 4)


def check_scene(scene: Scene) -> None:
    """Refuses what no backend could draw.

    Raises:
        RealheadError: A `ValueError` of one sentence that names the argument, what was got and what is legal.
    """
    _check_settings(scene)
    _check_kinds(scene)
    channels = _check_shapes(scene)
    _check_cameras(scene)
    if scene.means.device.type == "cpu":
        pixels = len(scene.viewmats) * scene.height * scene.width
        check_memory(4 * pixels * (channels + 2), f"{pixels} pixels do not fit into memory; make the images smaller")


def refuse(sentence: str) -> NoReturn:
    """Raises the one kind of error of this package."""
    raise RealheadError(f"rasterization: {sentence}")


def _check_settings(scene: Scene) -> None:
    for name in ("width", "height"):
        size = getattr(scene, name)
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIDE:
            refuse(f"{name} is {size!r}; pass an int from 1 to {MAX_SIDE} pixels.")
    for name in ("near", "far", "eps2d", "radius_clip"):
        number = getattr(scene, name)
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
            refuse(f"{name} is {number!r}; pass a finite number.")
    if not 0 < scene.near < scene.far:
        refuse(f"near_plane is {scene.near} and far_plane {scene.far}; pass 0 < near_plane < far_plane.")
    if scene.eps2d < 0:
        refuse(f"eps2d is {scene.eps2d}; pass 0 or more square pixels.")
    if scene.mode not in RENDER_MODES:
        refuse(f"render_mode is {scene.mode!r}; pass one of {', '.join(RENDER_MODES)}.")
    degree = scene.sh_degree
    if degree is not None and (not isinstance(degree, int) or isinstance(degree, bool) or not 0 <= degree <= 3):
        refuse(f"sh_degree is {scene.sh_degree!r}; pass None, 0, 1, 2 or 3.")


def _check_kinds(scene: Scene) -> None:
    needed = {name: getattr(scene, name) for name in ("means", "opacities", "colors", "viewmats", "Ks")}
    for name, tensor in (needed | scene.tensors).items():
        if not isinstance(tensor, Tensor):
            refuse(f"{name} is a {type(tensor).__name__}; pass a torch.Tensor.")
        if tensor.layout != torch.strided or tensor.is_meta:
            refuse(f"{name} is a sparse or a meta tensor; pass a dense one with values.")
        if tensor.dtype != scene.means.dtype or tensor.dtype not in (torch.float32, torch.float64):
            refuse(f"{name} is {tensor.dtype} and means is {scene.means.dtype}; pass all tensors as torch.float32.")
        if tensor.device != scene.means.device:
            refuse(f"{name} is on {tensor.device} and means on {scene.means.device}; move all tensors to one device.")


def _check_shapes(scene: Scene) -> int:
    """Returns the number of colour channels."""
    if scene.means.ndim != 2:
        refuse(f"means has shape {tuple(scene.means.shape)}; pass [N, 3].")
    n = scene.means.shape[0]
    num_cameras = scene.viewmats.shape[0] if scene.viewmats.ndim == 3 else -1
    if num_cameras < 1:
        refuse(f"viewmats has shape {tuple(scene.viewmats.shape)}; pass [C, 4, 4] with at least one camera.")
    if scene.covars is None and (scene.quats is None or scene.scales is None):
        refuse("neither covars nor both quats and scales are given; pass one of the two.")
    wanted = {"means": (n, 3), "opacities": (n,), "viewmats": (num_cameras, 4, 4), "Ks": (num_cameras, 3, 3)}
    wanted |= {"quats": (n, 4), "scales": (n, 3)} if scene.covars is None else {"covars": (n, 3, 3)}
    for name, shape in wanted.items():
        got = tuple(getattr(scene, name).shape)
        if got != shape:
            refuse(f"{name} has shape {got}; {n} Gaussians and {num_cameras} cameras need {shape}.")
    channels = _check_color_shape(scene, n, num_cameras)
    if scene.backgrounds is not None:
        got = tuple(scene.backgrounds.shape)
        if got != (num_cameras, channels):
            refuse(f"backgrounds has shape {got}; {num_cameras} cameras need {(num_cameras, channels)}.")
    return channels


def _check_color_shape(scene: Scene, n: int, num_cameras: int) -> int:
    got = tuple(scene.colors.shape)
    body = got[1:] if scene.per_camera_colors and got[0] == num_cameras else got
    if scene.sh_degree is None:
        if len(body) != 2 or body[0] != n or not 1 <= body[1] <= MAX_CHANNELS:
            refuse(f"colors has shape {got}; pass [{n}, D] with D from 1 to {MAX_CHANNELS}, or set sh_degree.")
        return body[1]
    coefficients = (scene.sh_degree + 1) ** 2
    if len(body) != 3 or body[0] != n or body[1] < coefficients or body[2] != 3:
        refuse(f"colors has shape {got}; sh_degree {scene.sh_degree} needs [{n}, K, 3] with K >= {coefficients}.")
    return 3


def _check_cameras(scene: Scene) -> None:
    for name, values in (("Ks", scene.intrinsics), ("viewmats", scene.views)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            refuse(f"{name} holds {bad} NaN or infinite values of {values.size}; find out where they come from.")
    # numbers of Python: for a matrix this small numpy takes ten times as long
    for (fx, skew, _), (other, fy, _), last in scene.intrinsics.tolist():
        if not (fx > 0 and fy > 0 and last[2] == 1):
            refuse("Ks holds a singular matrix; pass [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0 pixels.")
        if skew or other or last[0] or last[1]:
            refuse("Ks holds skew or a third row other than 0, 0, 1; undistort the images first.")
    for (a, b, c, _), (d, e, f, _), (g, h, i, _), last in scene.views.tolist():
        if abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) < 1e-12:
            refuse("viewmats holds a singular rotation; pass cam_from_world matrices.")
        if last != [0.0, 0.0, 0.0, 1.0]:
            refuse("viewmats holds a last row other than 0, 0, 0, 1; pass cam_from_world matrices (not transposed).")


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Refuses NaN and infinite values, naming the tensor and how many."""
    for name, tensor in tensors.items():
        if math.isfinite(tensor.detach().sum()):
            continue  # one cheap look; a sum may also be too large where all values are finite, so look closer
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            refuse(f"{name} holds {bad} NaN or infinite values of {tensor.numel()}; find out where they come from.")


def check_values(scene: Scene) -> None:
    """Refuses values without a meaning: not finite, opacities outside [0, 1], quaternions of length zero."""
    check_finite(scene.tensors)
    outside = int(((scene.opacities < 0) | (scene.opacities > 1)).sum())
    if outside:
        refuse(f"opacities holds {outside} values outside [0, 1]; pass activated ones, as torch.sigmoid(logits).")
    if scene.covars is None:
        zero = int((scene.quats.detach().square().sum(-1) == 0).sum())
        if zero:
            refuse(f"quats holds {zero} quaternions of length zero; a rotation needs a direction, as (1, 0, 0, 0).")


def check_memory(num_bytes: int, what: str) -> None:
    """Refuses what does not fit into the memory that is free: the system would end the process halfway.

    Args:
        num_bytes: That are needed.
        what: Needs them, and how it gets smaller, for the sentence.
    """
    if num_bytes < WORTH_A_LOOK:
        return
    free = free_memory()
    if free is not None and num_bytes > free:
        refuse(f"{what} ({num_bytes / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free).")


def free_memory() -> int | None:
    """Bytes of memory that a program may still take; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
