"""Real spherical harmonics as 3D Gaussian splatting uses them, degree 0 to 3, and their rotation.

The basis, its order and its signs are those of 3DGS: degree 1 is (-C1 y, +C1 z, -C1 x). The direction runs from the
camera to the Gaussian, in world coordinates, and a colour is max(0, 0.5 + sum of coefficient times basis).
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Bool, Float
from torch import Tensor

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def sh_basis(directions: Float[Tensor, "*b 3"], degree: int) -> Float[Tensor, "*b k"]:
    """Evaluates the (degree + 1)^2 basis functions.

    Args:
        directions: Unit vectors, shape [..., 3].
        degree: 0 to 3.

    Returns:
        Basis values, shape [..., (degree + 1)^2].
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        a, b, c = C2
        basis += [a * x * y, -a * y * z, b * (2 * zz - xx - yy), -a * x * z, c * (xx - yy)]
    if degree >= 3:
        a, b, c, d, e = C3
        basis += [
            -a * y * (3 * xx - yy),
            b * x * y * z,
            -c * y * (4 * zz - xx - yy),
            d * z * (2 * zz - 3 * xx - 3 * yy),
            -c * x * (4 * zz - xx - yy),
            e * z * (xx - yy),
            -a * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, -1)


def sh_rotation(rotation: Float[Tensor, "3 3"], degree: int = 3) -> Float[Tensor, "k k"]:
    """Finds the matrix that rotates SH coefficients: `rotated = matrix @ coefficients`.

    A rotated function is f'(d) = f(R^-1 d). Each band is closed under rotation, so sampling both sides at enough fixed
    directions and solving for the coefficients is exact; no Wigner formula is needed. Mirrorings work as well.

    Args:
        rotation: Orthogonal matrix, shape [3, 3].
        degree: 0 to 3.

    Returns:
        Block-diagonal orthogonal matrix, shape [(degree + 1)^2, (degree + 1)^2].
    """
    directions, solve, same_band = _samples(degree)
    rot = rotation.detach().to("cpu", torch.float64)
    matrix = solve @ sh_basis(directions @ rot, degree)  # rows d^T R = (R^-1 d)^T
    return torch.where(same_band, matrix, 0.0).to(rotation)


@functools.cache
def _samples(degree: int) -> tuple[Float[Tensor, "64 3"], Float[Tensor, "k 64"], Bool[Tensor, "k k"]]:
    """Fixed directions, what solves for the coefficients of a function known there, and who shares a band."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    band = torch.tensor([band for band in range(degree + 1) for _ in range(2 * band + 1)])
    return directions, torch.linalg.pinv(sh_basis(directions, degree)), band[:, None] == band[None, :]
