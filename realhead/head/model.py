"""The parametric head: FLAME's equations (2) and (3), for FLAME's files and for the free head alike.

    T(shape, expression, pose) = template + shapedirs . shape + exprdirs . expression + posedirs . (R(pose) - I)     (2)
    M = skinning(T, joints(template + shapedirs . shape + exprdirs . expression), pose, weights) + translation      (3)

Metres; x to the person's left, y up, z out of the face. Joints: root, neck, jaw, left eye, right eye; the root turns
about its own joint, not about the origin. Li, Bolkart, Black, Li, Romero, "Learning a model of facial shape and
expression from 4D scans", SIGGRAPH Asia 2017.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from realhead.errors import RealheadError
from realhead.head.uv import UVMap

PARENTS = (-1, 0, 1, 1, 1)
JOINT_NAMES = ("root", "neck", "jaw", "left eye", "right eye")


@dataclass(frozen=True)
class HeadData:
    """What a head file holds, as NumPy arrays; see `Head` for shapes."""

    name: str
    v_template: np.ndarray
    shapedirs: np.ndarray
    exprdirs: np.ndarray
    posedirs: np.ndarray
    J_regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    uv_coords: np.ndarray
    uv_faces: np.ndarray
    expression_names: tuple[str, ...]
    edition: str | None = None
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    masks: str | None = None
    landmarks: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    eyelids: np.ndarray | None = None


def lbs(
    vertices: Float[Tensor, "b v 3"],
    weights: Float[Tensor, "v j"],
    transforms: Float[Tensor, "b j 4 4"],
) -> Float[Tensor, "b v 3"]:
    """Linear blend skinning: every vertex moves by the weighted mean of its joints' transforms.

    Args:
        vertices: Canonical vertices.
        weights: Skinning weights; rows sum to one.
        transforms: posed_from_canonical per joint.
    """
    blended = torch.einsum("vj,bjrc->bvrc", weights, transforms[:, :, :3])
    return torch.einsum("bvrc,bvc->bvr", blended[..., :3], vertices) + blended[..., 3]


class Head(nn.Module):
    """A parametric head with five joints.

    Attributes:
        name: What `load_head` was asked for ("open", or the file's stem).
        edition: FLAME edition by content ("2020", "2023", "2023 Open"), None for the free head or when unknown.
        hash: First 16 hex digits of the sha256 over everything that shapes vertices (not UVs, regions or landmarks).
        uv_hash: The same over UV coordinates and UV faces.
        faces: Triangles, [F, 3].
        v_template: Mean head, metres, [V, 3].
        shapedirs: Identity directions per standard deviation, [V, 3, S].
        exprdirs: Expression directions, [V, 3, E].
        posedirs: Pose blendshapes over row-major (R - I) of neck, jaw, eyes, [V, 3, 36].
        J_regressor: Joints from unposed vertices, [5, V].
        weights: Skinning weights, [V, 5].
        uv_coords: Texture coordinates, v up, [T, 2].
        uv_faces: Indices into `uv_coords`, [F, 3].
        expression_names: One name per expression direction.
        regions: Vertex masks by name.
        masks: First 16 hex digits of the sha256 of FLAME's own masks file, where the regions are its; else None.
        landmarks: "68" -> (face indices, barycentrics); "mediapipe" -> the same and indices into MediaPipe's 478.
        eyelids: Offsets for left and right eyelid, added after skinning (SMIRK), [2, V, 3], or None.
    """

    def __init__(self, data: HeadData) -> None:
        super().__init__()
        self.name, self.edition, self.masks = data.name, data.edition, data.masks
        self.expression_names = tuple(data.expression_names)
        for name in ("v_template", "shapedirs", "exprdirs", "posedirs", "J_regressor", "weights", "uv_coords"):
            self.register_buffer(name, torch.as_tensor(getattr(data, name)).float().contiguous(), persistent=False)
        for name in ("faces", "uv_faces"):
            self.register_buffer(name, torch.as_tensor(getattr(data, name)).long().contiguous(), persistent=False)
        eyelids = None if data.eyelids is None else torch.as_tensor(data.eyelids).float()
        self.register_buffer("eyelids", eyelids, persistent=False)
        self.regions = {k: torch.as_tensor(v).bool() for k, v in data.regions.items()}
        self.landmarks = {
            k: tuple(torch.as_tensor(np.asarray(a, np.float32 if a.dtype.kind == "f" else np.int64)) for a in v)
            for k, v in data.landmarks.items()
        }
        self.hash = _digest(
            self.v_template, self.shapedirs, self.exprdirs, self.posedirs, self.J_regressor, self.weights, self.faces,
            names=self.expression_names,
        )  # fmt: skip
        self.uv_hash = _digest(self.uv_coords, self.uv_faces)
        self._uv_maps: dict[int, UVMap] = {}
        self._joints_made_of: tuple = (None,) * 4

    @property
    def num_shape(self) -> int:
        """Identity coefficients."""
        return self.shapedirs.shape[-1]

    @property
    def num_expression(self) -> int:
        """Expression coefficients."""
        return self.exprdirs.shape[-1]

    @property
    def num_vertices(self) -> int:
        """Vertices of the mesh."""
        return len(self.v_template)

    def shaped(self, shape: Float[Tensor, "b s"], expression: Float[Tensor, "b e"]) -> Float[Tensor, "b v 3"]:
        """Template plus identity and expression; fewer coefficients than directions mean zeros for the rest."""
        return self._blended((self.v_template, self.shapedirs, self.exprdirs), shape, expression)

    def joints(self, shape: Float[Tensor, "b s"], expression: Float[Tensor, "b e"]) -> Float[Tensor, "b 5 3"]:
        """Unposed joint positions of a person: the regressor applied to `shaped`, without making the vertices."""
        return self._blended(self._joint_basis(), shape, expression)

    def canonical(
        self,
        shape: Float[Tensor, "b s"],
        expression: Float[Tensor, "b e"],
        pose: Float[Tensor, "b 5 3"] | None = None,
        eyelids: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b v 3"]:
        """Equation (2): template + shape + expression + pose blendshapes, not skinned.

        Args:
            shape: Identity coefficients.
            expression: Expression coefficients.
            pose: Joint rotations, axis-angle; None leaves the pose blendshapes out.
            eyelids: Closing of left and right eyelid; needs a head with eyelid offsets.
        """
        vertices = self.shaped(shape, expression)
        if pose is not None:
            vertices = vertices + self._pose_offsets(roma.rotvec_to_rotmat(pose))
        return vertices + self._eyelid_offsets(eyelids)

    def joint_transforms(
        self,
        shape: Float[Tensor, "b s"],
        expression: Float[Tensor, "b e"],
        pose: Float[Tensor, "b 5 3"],
        translation: Float[Tensor, "b 3"],
    ) -> Float[Tensor, "b 5 4 4"]:
        """posed_from_canonical of each joint, translation included: ready for `lbs` with `weights`."""
        return self._transforms(self.joints(shape, expression), roma.rotvec_to_rotmat(pose), translation)

    def forward(
        self,
        shape: Float[Tensor, "b s"],
        expression: Float[Tensor, "b e"],
        pose: Float[Tensor, "b 5 3"],
        translation: Float[Tensor, "b 3"],
        eyelids: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b v 3"]:
        """Posed vertices in world space.

        Args:
            shape: Identity coefficients (unit variance).
            expression: Expression coefficients.
            pose: Rotations of root, neck, jaw, left eye, right eye, axis-angle.
            translation: Added last, metres.
            eyelids: Closing of left and right eyelid in [0, 1]; offsets are added after skinning, before translation.
        """
        shaped = self.shaped(shape, expression)
        turns = roma.rotvec_to_rotmat(pose)
        transforms = self._transforms(self.joints(shape, expression), turns, translation)
        return lbs(shaped + self._pose_offsets(turns), self.weights, transforms) + self._eyelid_offsets(eyelids)

    def region_faces(self, name: str) -> Bool[Tensor, " f"]:
        """Triangles whose three corners all lie in a region."""
        return self.region(name)[self.faces.cpu()].all(1)

    def region(self, name: str) -> Bool[Tensor, " v"]:
        """Vertex mask of a region.

        Raises:
            RealheadError: The head has no region of that name.
        """
        if name not in self.regions:
            known = ", ".join(sorted(self.regions))
            raise RealheadError(f"Head '{self.name}' has no region '{name}': it has {known}.")
        return self.regions[name]

    def uv_map(self, resolution: int) -> UVMap:
        """Texel-to-triangle table at a resolution; made once and kept."""
        if resolution not in self._uv_maps:
            self._uv_maps[resolution] = UVMap.rasterize(
                self.v_template.float().cpu(), self.faces.cpu(), self.uv_coords.float().cpu(), self.uv_faces.cpu(),
                self.regions, resolution,
            )  # fmt: skip
        return self._uv_maps[resolution]

    def landmark_positions(self, vertices: Float[Tensor, "b v 3"], name: str = "68") -> Float[Tensor, "b l 3"]:
        """Landmarks on posed vertices, by the embedding of that name."""
        faces, weights = self.landmarks[name][:2]
        corners = vertices[:, self.faces[faces.to(vertices.device)]]  # [b, l, 3 corners, 3]
        return torch.einsum("lk,blkc->blc", weights.to(vertices), corners)

    def _blended(self, basis: tuple[Tensor, Tensor, Tensor], shape: Tensor, expression: Tensor) -> Tensor:
        """Mean plus identity and expression directions, of vertices or of joints."""
        mean, shapedirs, exprdirs = basis
        shape = self._checked(shape, self.num_shape, "shape")
        expression = self._checked(expression, self.num_expression, "expression")
        points = mean + torch.einsum("vcs,bs->bvc", shapedirs[..., : shape.shape[-1]], shape)
        return points + torch.einsum("vce,be->bvc", exprdirs[..., : expression.shape[-1]], expression)

    def _joint_basis(self) -> tuple[Tensor, Tensor, Tensor]:
        """Joints of the template and how they move with identity and expression: both are linear, so made once."""
        made_of = (self.J_regressor, self.v_template, self.shapedirs, self.exprdirs)
        if any(now is not then for now, then in zip(made_of, self._joints_made_of, strict=True)):
            self._joints = tuple(torch.einsum("jv,v...->j...", self.J_regressor, basis) for basis in made_of[1:])
            self._joints_made_of = made_of
        return self._joints

    def _pose_offsets(self, turns: Float[Tensor, "b 5 3 3"]) -> Float[Tensor, "b v 3"]:
        feature = (turns[:, 1:] - torch.eye(3, dtype=turns.dtype, device=turns.device)).flatten(1)
        return torch.einsum("vcp,bp->bvc", self.posedirs, feature)

    def _eyelid_offsets(self, eyelids: Tensor | None) -> Tensor | float:
        if eyelids is None or self.eyelids is None:
            return 0.0
        return torch.einsum("kvc,bk->bvc", self.eyelids, eyelids)

    @staticmethod
    def _transforms(joints: Tensor, turns: Tensor, translation: Tensor) -> Tensor:
        # A joint's transform is its parent's after a turn about the joint itself: p -> R (p - J) + J.
        linear, offset = [turns[:, 0]], [joints[:, 0] - (turns[:, 0] @ joints[:, 0, :, None])[..., 0] + translation]
        for j in range(1, len(PARENTS)):
            local = joints[:, j] - (turns[:, j] @ joints[:, j, :, None])[..., 0]
            parent = PARENTS[j]
            linear.append(linear[parent] @ turns[:, j])
            offset.append((linear[parent] @ local[..., None])[..., 0] + offset[parent])
        top = torch.cat([torch.stack(linear, 1), torch.stack(offset, 1)[..., None]], -1)
        bottom = torch.zeros_like(top[:, :, :1])
        bottom[..., 3] = 1
        return torch.cat([top, bottom], 2)

    def _checked(self, coefficients: Tensor, limit: int, what: str) -> Tensor:
        if coefficients.shape[-1] <= limit:
            return coefficients
        # Capture files pad with zeros (300 and 100): more is fine as long as it says nothing.
        if bool((coefficients[..., limit:] != 0).any()):
            raise RealheadError(
                f"Got {coefficients.shape[-1]} {what} coefficients for head '{self.name}', which has {limit}: "
                "they belong to another head."
            )
        return coefficients[..., :limit]


def _digest(*arrays: Tensor, names: tuple[str, ...] = ()) -> str:
    digest = hashlib.sha256("\n".join(names).encode())
    for array in arrays:
        values = array.detach().cpu().numpy() + 0  # no minus zeros: which zeros are negative depends on the processor
        digest.update(str(values.shape).encode())
        digest.update(np.ascontiguousarray(values, "<f4" if values.dtype.kind == "f" else "<i8").tobytes())
    return digest.hexdigest()[:16]
