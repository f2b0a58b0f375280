"""6D rotations as PyTorch3D and metrical-tracker store them: the first two ROWS of the matrix."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def matrix_from_6d(values: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """Gram-Schmidt over two rows; the third is their cross product (Zhou et al., CVPR 2019, transposed)."""
    first, second = values[..., :3], values[..., 3:]
    a = torch.nn.functional.normalize(first, dim=-1)
    b = torch.nn.functional.normalize(second - (a * second).sum(-1, keepdim=True) * a, dim=-1)
    return torch.stack([a, b, torch.linalg.cross(a, b, dim=-1)], -2)


def rotvec_from_6d(values: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3"]:
    """Axis-angle of a 6D rotation, radians."""
    return roma.rotmat_to_rotvec(matrix_from_6d(values))


def six_d_from_rotvec(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 6"]:
    """The first two rows of the rotation's matrix."""
    return roma.rotvec_to_rotmat(rotvec)[..., :2, :].flatten(-2)
