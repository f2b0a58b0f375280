"""Gaussian primitives: from 59 raw channels a texel to canonical primitives, and from there to posed Gaussians.

Everything the network says is relative to the template head, so that zeros mean "the head itself, in grey":

| channels | meaning | zero means |
|---|---|---|
| 3 | position offset (tangent, bitangent, normal), added to the canonical position (equation 4) | on the mesh |
| 1 | opacity, before the sigmoid | 0.9 |
| 4 | quaternion (w, x, y, z) relative to the texel's tangent frame | along the surface |
| 3 | log scale relative to the texel's footprint | neighbours just overlap |
| 48 | SH coefficients of degree 3 | mid grey from everywhere |
"""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.capture import Frame
from realhead.head.model import Head
from realhead.head.uv import UVMap
from realhead.splatting.gaussians import Gaussians
from realhead.splatting.harmonics import sh_rotation

NUM_CHANNELS = 3 + 1 + 4 + 3 + 48
SCALE_CHANNELS = slice(8, 11)
# All ours, found by trying: units in which the network's outputs are near one.
OFFSET_UNIT = 0.02  # metres
OPACITY_BIAS = 2.2  # sigmoid(2.2) = 0.9
OVERLAP = 0.65  # standard deviation over distance of neighbouring texels
FLATNESS = 0.25  # thickness over width
MAX_LOG_SCALE = 2.5  # a Gaussian is at most 12 times wider than its texel
SH_REST_UNIT = 0.2  # higher degrees learn five times slower than the base colour


@dataclass(frozen=True)
class Primitives:
    """Canonical Gaussians of a batch, one a covered texel.

    Attributes:
        offset: Position offsets in metres, [B, N, 3].
        opacity: In (0, 1), [B, N].
        rotation: Rotation matrices in canonical space, [B, N, 3, 3].
        scale: Standard deviations in metres, [B, N, 3].
        sh: SH coefficients in the head's frame, [B, N, 16, 3].
        raw: What the network said, [B, N, 59] (enrollment stays close to it, equation 8).
    """

    offset: Float[Tensor, "b n 3"]
    opacity: Float[Tensor, "b n"]
    rotation: Float[Tensor, "b n 3 3"]
    scale: Float[Tensor, "b n 3"]
    sh: Float[Tensor, "b n 16 3"]
    raw: Float[Tensor, "b n 59"]


def decode_primitives(raw: Float[Tensor, "b n 59"], uv_map: UVMap) -> Primitives:
    """Activates what the network says on the covered texels.

    Offsets and quaternions are relative to the template's tangent frame (ours): "hair stands off the scalp" is then one
    number all over the head, which a convolution can say, and not another direction at every texel.
    """
    offset, opacity, quaternion, log_scale, sh = raw.split([3, 1, 4, 3, 48], -1)
    wxyz = torch.nn.functional.normalize(quaternion + quaternion.new_tensor([1.0, 0, 0, 0]), dim=-1)
    relative = roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(wxyz))
    width = uv_map.footprint * OVERLAP
    base = torch.cat([width, FLATNESS * width.mean(-1, keepdim=True)], -1)
    unit = torch.ones(16, 1, device=sh.device)
    unit[1:] = SH_REST_UNIT
    return Primitives(
        offset=(uv_map.frame @ offset[..., None])[..., 0] * OFFSET_UNIT,
        opacity=torch.sigmoid(opacity[..., 0] + OPACITY_BIAS),
        rotation=uv_map.frame @ relative,
        scale=base * torch.exp(MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE)),
        sh=sh.unflatten(-1, (16, 3)) * unit,
        raw=raw,
    )


def pose_primitives(head: Head, uv_map: UVMap, primitives: Primitives, frame: Frame, index: int = 0) -> Gaussians:
    """Equations (2) to (4): primitives on the canonical mesh, skinned together with their covariances.

    The SH coefficients turn with the head (root and neck), so that a highlight seen at enrollment stays where it was
    seen, relative to the head (ours; the paper is silent).

    Args:
        head: The head model.
        uv_map: The layout of the primitives.
        primitives: A batch of primitives.
        frame: Shape, expression and pose.
        index: Which element of the batch.
    """
    batch = frame.parameters()
    canonical = head.canonical(batch["shape"], batch["expression"], batch["pose"], batch["eyelids"])
    transforms = head.joint_transforms(batch["shape"], batch["expression"], batch["pose"], batch["translation"])[0]
    skin = torch.einsum("nj,jab->nab", uv_map.interpolate(head.weights), transforms[:, :3])  # (N, 3, 4)
    linear, shift = skin[..., :3], skin[..., 3]
    means = uv_map.interpolate(canonical)[0] + primitives.offset[index]
    half = linear @ primitives.rotation[index] * primitives.scale[index][:, None, :]
    head_turn = transforms[1, :3, :3]  # the neck's rotation includes the root's
    return Gaussians(
        means=(linear @ means[..., None])[..., 0] + shift,
        covars=half @ half.mT,
        opacities=primitives.opacity[index],
        sh=torch.einsum("kl,nlc->nkc", sh_rotation(head_turn, 3), primitives.sh[index]),
    )
