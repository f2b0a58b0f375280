"""The head reduced to its landmarks, with derivatives: what the fit needs, a thousand times cheaper than the mesh.

NumPy in float64. World axes as the head's (x to the person's left, y up, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from realhead.errors import TrackingError
from realhead.tracking.landmark_offsets import landmark_offsets

IRIS = (473, 468)
"""Centre of the left and of the right iris among MediaPipe's points (left is the person's left)."""
OVAL = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
"""MediaPipe's face oval below the eyes, from the person's right ear over the chin to the left."""
JAW_POINTS = 17
JAW_INDEX = -1
"""Stands in `LandmarkHead.indices` for a point of the jaw line, which is none of the 478."""
ROOT, NECK, JAW, EYE_LEFT, EYE_RIGHT = range(5)


@dataclass(frozen=True)
class State:
    """Parameters of one frame.

    Attributes:
        rotation: Head rotation (root joint), [3, 3].
        translation: Root translation in metres, [3].
        expression: Expression coefficients [E].
        jaw: Pitch and yaw of the jaw in radians, [2].
        gaze: Pitch and yaw of left and right eye in radians, [4].
    """

    rotation: np.ndarray
    translation: np.ndarray
    expression: np.ndarray
    jaw: np.ndarray
    gaze: np.ndarray

    def moved(self, step: np.ndarray) -> State:
        """The state after a step (rotation 3, translation 3, expression E, jaw 2, gaze 4)."""
        end = 6 + len(self.expression)
        return replace(
            self,
            rotation=rotation_matrix(step[:3]) @ self.rotation,
            translation=self.translation + step[3:6],
            expression=self.expression + step[6:end],
            jaw=self.jaw + step[end : end + 2],
            gaze=self.gaze + step[end + 2 :],
        )

    def pose(self) -> np.ndarray:
        """Axis-angle of root, neck, jaw, left and right eye, [5, 3]."""
        pose = np.zeros((5, 3))
        pose[ROOT] = rotation_vector(self.rotation)
        pose[JAW, :2] = self.jaw
        pose[EYE_LEFT, :2], pose[EYE_RIGHT, :2] = self.gaze[:2], self.gaze[2:]
        return pose


class LandmarkHead:
    """Landmarks of a head as functions of the parameters: MediaPipe's, the jaw line, the front of the two eyeballs.

    Attributes:
        indices: Which of MediaPipe's 478 points the landmarks are, [L]: first the 105 of the embedding, then the jaw
            line (`JAW_INDEX`) where the head has one, then the two iris centres.
        num_shape: Identity coefficients in use.
        num_expression: Expression coefficients.
        expression_names: A name for each of them.
    """

    def __init__(self, head, num_shape: int | None = None, offsets: np.ndarray | float | None = None):
        """Reduces a head.

        Args:
            head: A `realhead.head.model.Head` with landmarks "mediapipe".
            num_shape: Use only the first identity coefficients.
            offsets: How far from the embedding's places the landmarker sees the landmarks, metres at rest, [L, 3];
                as measured (`realhead.tracking.landmark_offsets`) when None.

        Raises:
            TrackingError: The head has no such landmarks.
        """
        if "mediapipe" not in head.landmarks:
            raise TrackingError(
                f"Head '{head.name}' has no MediaPipe landmarks: track with load_head('open') or add "
                "mediapipe_landmark_embedding.npz beside the FLAME file."
            )
        faces, barycentric, indices = (np.asarray(a) for a in head.landmarks["mediapipe"])
        if "68" in head.landmarks:
            jaw_faces, jaw_barycentric = (np.asarray(a)[:JAW_POINTS] for a in head.landmarks["68"][:2])
            faces, barycentric = np.concatenate([faces, jaw_faces]), np.concatenate([barycentric, jaw_barycentric])
            indices = np.append(indices, [JAW_INDEX] * JAW_POINTS)
        corners = head.faces.cpu().numpy()[faces]  # [L, 3]
        self.indices = np.append(indices, IRIS)
        self.num_shape = min(num_shape or head.num_shape, head.num_shape)
        self.num_expression, self.expression_names = head.num_expression, head.expression_names
        self._regressor = head.J_regressor.double().cpu().numpy()
        arrays = {
            n: getattr(head, n).double().cpu().numpy() for n in ("v_template", "shapedirs", "exprdirs", "posedirs")
        }
        arrays["shapedirs"] = arrays["shapedirs"][..., : self.num_shape]
        weights = head.weights.double().cpu().numpy()

        def at_landmarks(values: np.ndarray) -> np.ndarray:
            return np.einsum("lk,lk...->l...", barycentric, values[corners])

        joint = {n: np.einsum("jv,v...->j...", self._regressor, arrays[n]) for n in ("v_template", "shapedirs")}
        self._joints, self._joint_dirs = joint["v_template"], joint["shapedirs"]
        front, front_weights = _eye_fronts(head, arrays["v_template"], self._joints)
        # An eyeball moves with its joint alone; its front takes the joint's own identity directions.
        still = np.zeros((2, 3))
        offsets = landmark_offsets(head, self.indices) if offsets is None else offsets
        self._template = np.concatenate([at_landmarks(arrays["v_template"]), front]) + offsets
        self._shape = np.concatenate([at_landmarks(arrays["shapedirs"]), self._joint_dirs[[EYE_LEFT, EYE_RIGHT]]])
        self._expression = np.concatenate(
            [at_landmarks(arrays["exprdirs"]), np.broadcast_to(still[..., None], (2, 3, self.num_expression))]
        )
        self._pose = np.concatenate([at_landmarks(arrays["posedirs"]), np.zeros((2, 3, 36))])
        self._weights = np.concatenate([at_landmarks(weights), front_weights])

    def measure(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Picks the head's landmarks out of what the landmarker found.

        Args:
            points: MediaPipe's points in pixels, [478, 3].

        Returns:
            The landmarks [L, 3], and how far each can be trusted, in [0, 1], [L]: where the head is turned, the jaw
            line of the far side is an outline and no fixed place of the skin.
        """
        measured = points[np.maximum(self.indices, 0)].astype(np.float64)
        trust = np.ones(len(self.indices))
        jaw = self.indices == JAW_INDEX
        if jaw.any():
            measured[jaw] = _even_steps(points[list(OVAL)].astype(np.float64))
            trust[jaw] = _jaw_trust(points)
        return measured, trust

    def neutral(self, shape: np.ndarray | None = None) -> np.ndarray:
        """Landmarks at rest, metres, [L, 3]."""
        return self._template if shape is None else self._template + self._shape @ shape

    def points(self, shape: np.ndarray, state: State) -> np.ndarray:
        """Landmarks in world space, metres, [L, 3]."""
        return self._evaluate(shape, state)[0]

    def derivatives(
        self, shape: np.ndarray, state: State, by_shape: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Landmarks and how they move.

        Two small terms are left out, as Gauss-Newton only needs the direction: how a person's identity shifts the
        hinges of jaw and eyes, and the difference between adding to an axis-angle vector and turning further.

        Returns:
            Points [L, 3], derivative by identity [L, 3, S] if asked for, derivative by the state's step
            [L, 3, 6 + E + 2 + 4].
        """
        points, local, linear, pivots, turns = self._evaluate(shape, state)
        root = state.rotation
        identity = linear @ self._shape + ((np.eye(3) - root) @ self._joint_dirs[ROOT])[None] if by_shape else None
        around = points - (pivots[ROOT] + state.translation)
        by_rotation = -_skew(around)
        by_translation = np.broadcast_to(np.eye(3), (len(points), 3, 3))
        by_expression = linear @ self._expression
        blocks = [by_rotation, by_translation, by_expression]
        for joint in (JAW, EYE_LEFT, EYE_RIGHT):
            arm = local[:, joint] - pivots[joint]  # canonical, before the root's turn
            turned = np.stack([np.cross(axis, arm) for axis in np.eye(3)[:2]], -1)  # [L, 3, 2]
            corrected = self._pose[..., 9 * joint - 9 : 9 * joint] @ _turn_features(turns[joint])  # [L, 3, 2]
            blocks.append(root @ turned * self._weights[:, joint, None, None] + linear @ corrected)
        return points, identity, np.concatenate(blocks, -1)

    def _evaluate(self, shape: np.ndarray, state: State):
        pose = state.pose()
        turns = [np.eye(3), np.eye(3), *(rotation_matrix(v) for v in pose[2:])]
        feature = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[1:]])
        rest = self._template + self._shape @ shape + self._expression @ state.expression + self._pose @ feature
        pivots = self._joints + self._joint_dirs @ shape  # [5, 3]
        # Before the root turns: each joint turns the point about its pivot, and the weights blend the results.
        local = np.stack([(rest - pivots[j]) @ turns[j].T + pivots[j] for j in range(5)], 1)  # [L, 5, 3]
        blended = np.einsum("lj,ljc->lc", self._weights, local)
        linear = state.rotation @ np.einsum("lj,jab->lab", self._weights, np.stack(turns))
        root = pivots[ROOT]
        points = (blended - root) @ state.rotation.T + root + state.translation
        return points, local, linear, pivots, turns


def _eye_fronts(head, template: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The foremost point of each eyeball on its axis, [2, 3], and its skinning weights [2, 5]."""
    fronts, weights = [], np.zeros((2, 5))
    for i, (name, joint) in enumerate((("eye_left", EYE_LEFT), ("eye_right", EYE_RIGHT))):
        region = np.asarray(head.regions[name]) if name in head.regions else None
        radius = 0.012 if region is None else np.ptp(template[region], axis=0)[:2].mean() / 2
        fronts.append(joints[joint] + np.array([0.0, 0.0, radius]))
        weights[i, joint] = 1
    return np.stack(fronts), weights


def _even_steps(line: np.ndarray) -> np.ndarray:
    """Seventeen points at equal distances along a polyline [n, 3]."""
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    steps = np.linspace(0, along[-1], JAW_POINTS)
    return np.stack([np.interp(steps, along, column) for column in line.T], 1)


def _jaw_trust(points: np.ndarray) -> np.ndarray:
    """Falls to zero on the side that the head is turned away from; the chin stays, [17]."""
    right, left = (np.linalg.norm(points[4, :2] - points[i, :2]) for i in (OVAL[0], OVAL[-1]))
    share = right / (right + left + 1e-9)  # one half where the head looks into the camera
    sides = [np.clip((s - 0.3) / 0.15, 0, 1) for s in (share, 1 - share)]
    middle = np.clip(1 - np.abs(np.arange(JAW_POINTS) - 8) / 4, 0, 1)
    side = np.where(np.arange(JAW_POINTS) < 8, *sides)
    return middle + (1 - middle) * side


def _turn_features(turn: np.ndarray) -> np.ndarray:
    """Derivative of the row-major rotation matrix by pitch and yaw, [9, 2]."""
    return np.stack([(_skew(axis[None])[0] @ turn).reshape(9) for axis in np.eye(3)[:2]], -1)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation of an axis-angle vector (Rodrigues), [3, 3]."""
    angle = float(np.linalg.norm(vector))
    cross = _skew(np.asarray(vector, np.float64)[None])[0]
    if angle < 1e-8:
        return np.eye(3) + cross
    return np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Axis-angle vector of a rotation, angle in [0, pi]."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix).as_rotvec()


def _skew(v: np.ndarray) -> np.ndarray:
    """Matrices of the cross product: _skew(a) @ b = a x b, [n, 3, 3]."""
    zero = np.zeros(len(v))
    rows = [[zero, -v[:, 2], v[:, 1]], [v[:, 2], zero, -v[:, 0]], [-v[:, 1], v[:, 0], zero]]
    return np.stack([np.stack(row, -1) for row in rows], -2)
