"""A set of 3D Gaussians: what the prior predicts, the rasterizer draws and a `.ply` file stores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.errors import RealheadError
from realhead.splatting.harmonics import sh_rotation


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians with activated values.

    Example:
        >>> colors, alphas, _ = rasterization(
        ...     g.means, None, None, g.opacities, g.sh, viewmats, Ks, 512, 512, sh_degree=g.degree, covars=g.covars)
    """

    means: Float[Tensor, "n 3"]
    """Centres in metres."""
    covars: Float[Tensor, "n 3 3"]
    """Covariances in square metres, symmetric and positive semi-definite."""
    opacities: Float[Tensor, "n"]
    """Peak opacities in [0, 1]."""
    sh: Float[Tensor, "n k 3"]
    """Spherical-harmonic coefficients per colour channel; k is 1, 4, 9 or 16 for degree 0 to 3."""

    def __post_init__(self):
        n, k = self.means.shape[0], self.sh.shape[1] if self.sh.ndim == 3 else 0
        wanted = {"means": (n, 3), "covars": (n, 3, 3), "opacities": (n,), "sh": (n, k, 3)}
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                got = tuple(getattr(self, name).shape)
                raise RealheadError(f"Gaussians.{name} has shape {got}, but {n} means need {shape}: pass it so.")
        if k not in (1, 4, 9, 16):
            raise RealheadError(f"Gaussians.sh has {k} coefficients a channel: pass 1, 4, 9 or 16 (degree 0 to 3).")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1

    def to(self, *args, **kwargs) -> Gaussians:
        """Moves or casts all tensors, as `Tensor.to`."""
        return Gaussians(*(t.to(*args, **kwargs) for t in (self.means, self.covars, self.opacities, self.sh)))

    def detach(self) -> Gaussians:
        """Returns the same values without their history."""
        return Gaussians(*(t.detach() for t in (self.means, self.covars, self.opacities, self.sh)))

    def __getitem__(self, index) -> Gaussians:
        """Selects Gaussians by a slice, a mask or an index tensor."""
        return Gaussians(self.means[index], self.covars[index], self.opacities[index], self.sh[index])

    def transformed(self, world_from_model: Float[Tensor, "4 4"]) -> Gaussians:
        """Moves the Gaussians by an affine map, appearance included.

        Means and covariances follow the map exactly (covariance A C A^T). The spherical harmonics are rotated by the
        orthogonal part of A, so that the Gaussians look the same from a camera that was moved along.
        """
        matrix = torch.as_tensor(world_from_model).to(self.means)
        linear, translation = matrix[:3, :3], matrix[:3, 3]
        u, s, vt = torch.linalg.svd(linear.detach().double())
        if not bool(torch.isfinite(s).all()) or float(s[2]) <= 1e-12 * float(s[0]):
            raise RealheadError("world_from_model is singular or not finite: pass an invertible 4x4 matrix.")
        rotate_sh = sh_rotation((u @ vt).to(self.sh), self.degree)
        return Gaussians(
            self.means @ linear.T + translation,
            linear @ self.covars @ linear.T,
            self.opacities,
            torch.einsum("kj,njc->nkc", rotate_sh, self.sh),
        )

    def quats_scales(self) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
        """Factors each covariance into a rotation and standard deviations.

        Returns:
            Unit quaternions (w, x, y, z) [N, 4] and standard deviations in metres, ascending [N, 3].
        """
        import roma

        values, axes = torch.linalg.eigh(self.covars.detach().cpu().double())
        axes = axes * torch.sign(torch.linalg.det(axes))[:, None, None]  # an odd dimension: -axes mirrors back
        quats = roma.rotmat_to_unitquat(axes)[:, [3, 0, 1, 2]] if len(self) else axes.new_zeros(0, 4)  # roma is xyzw
        return quats.to(self.covars), values.clamp_min(0).sqrt().to(self.covars)

    def save_ply(self, path: str | Path) -> None:
        """Writes the standard degree-3 3DGS `.ply` (see `realhead.splatting.ply`)."""
        from realhead.splatting.ply import save_ply

        save_ply(self, path)

    @classmethod
    def load_ply(cls, path: str | Path) -> Gaussians:
        """Reads a 3DGS `.ply` of degree 0 to 3 (see `realhead.splatting.ply`)."""
        from realhead.splatting.ply import load_ply

        return load_ply(path)
