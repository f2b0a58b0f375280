"""Fitting the head to landmarks: focal length, identity, head pose, expression, jaw and gaze of one or many frames.

Gauss-Newton over all unknowns at once. A landmark's error is measured in inter-ocular distances and counted through a
Geman-McClure weight, so that a hidden point does not pull. Identity is pulled to the mean head; expression, jaw and
gaze are pulled to what the network's action scores say, within their legal range.

A frame of a known person is also pulled to the rotation that the points' depth gives (`realhead.tracking.depth`).

The camera stands at the origin and looks along -z, its y axis up; `realhead.tracking.track` moves the world afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from realhead.tracking.depth import aligned, mean_lean, start_by_depth
from realhead.tracking.landmark_head import LandmarkHead, State, rotation_matrix, rotation_vector
from realhead.tracking.observation import (
    MAX_GAZE,
    MAX_JAW,
    MIN_GAZE,
    MIN_JAW,
    WEIGHTS,
    Fit,
    FitOptions,
    Observation,
    group_of,
    project,
    projection_derivative,
)


class Fitter:
    """Fits one head model."""

    def __init__(self, head: LandmarkHead, options: FitOptions | None = None):
        """Prepares the weights of the landmarks.

        Args:
            head: The reduced head.
            options: How strongly each unknown is held.
        """
        self.head, self.options = head, options or FitOptions()
        self.group = np.array([group_of(i) for i in head.indices])
        self.weight = np.array([WEIGHTS[g] for g in self.group])
        expressions = head.num_expression
        self._low = np.concatenate([np.full(6, -np.inf), np.zeros(expressions), MIN_JAW, MIN_GAZE, MIN_GAZE])
        self._high = np.concatenate([np.full(6, np.inf), np.ones(expressions), MAX_JAW, MAX_GAZE, MAX_GAZE])
        o = self.options
        held = np.array([o.brows if name.startswith("brow") else o.expression for name in head.expression_names])
        spread = [np.full(6, np.inf), held, np.full(2, o.jaw), np.full(4, o.gaze)]
        self._precision = 1 / np.concatenate(spread) ** 2

    def fit(self, observations: list[Observation]) -> Fit:
        """Finds everything from scratch; identity is shared by all frames, the focal length by those of one camera.

        Args:
            observations: One or more frames of one person.

        Returns:
            The fit.
        """
        problem = _Problem.of(observations, self.options)
        unknowns = _Unknowns(
            np.zeros(self.head.num_shape),
            problem.wanted.copy(),
            [self.start(ob, float(np.exp(problem.wanted[c]))) for ob, c in zip(observations, problem.camera)],
        )
        damping, cost = 1e-3, self._total(problem, unknowns)
        for step in range(self.options.iterations):
            trial = self._step(problem, unknowns, damping, only_pose=step < 3)
            trial_cost = self._total(problem, trial)
            if trial_cost > cost and step >= 3:
                damping *= 8
                if damping > 1e4:
                    break
                continue
            done = step > 8 and cost - trial_cost < 1e-4 * cost
            unknowns, cost, damping = trial, trial_cost, max(damping / 4, 1e-6)
            if done:
                break
        focals = np.exp(unknowns.log_focal)[problem.camera]
        errors = [self.errors(o, s, unknowns.shape, f) for o, s, f in zip(observations, unknowns.states, focals)]
        lean = mean_lean(self.head, self.weight, observations, unknowns.states)
        return Fit(focals, unknowns.shape, tuple(unknowns.states), tuple(errors), lean)

    def _step(self, problem: _Problem, unknowns: _Unknowns, damping: float, only_pose: bool) -> _Unknowns:
        """One Gauss-Newton step; frames touch each other only through what they share, so they are eliminated first."""
        count = len(unknowns.shape)
        prior = np.concatenate([np.full(count, self._shape_precision(problem)), 1 / problem.spread**2])
        offset = np.concatenate([unknowns.shape, unknowns.log_focal - problem.wanted])
        hessian, gradient = np.diag(prior), prior * offset
        eliminated = []
        for ob, state, camera in zip(problem.observations, unknowns.states, problem.camera):
            h, g, coupling, shared_h, shared_g = self._frame_system(
                ob, state, unknowns.shape, float(np.exp(unknowns.log_focal[camera]))
            )
            if only_pose:
                h, g, coupling = h[:6, :6], g[:6], coupling[:6] * 0
            inverse = np.linalg.inv(h + damping * np.diag(np.diag(h)))
            rows = np.append(np.arange(count), count + camera)
            hessian[np.ix_(rows, rows)] += shared_h - coupling.T @ inverse @ coupling
            gradient[rows] += shared_g - coupling.T @ inverse @ g
            eliminated.append((inverse, g, coupling, rows))
        move = np.zeros(len(gradient))
        if not only_pose:
            move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient)
        states = []
        for state, (inverse, g, coupling, rows) in zip(unknowns.states, eliminated):
            step = -inverse @ (g + coupling @ move[rows])
            states.append(self.bounded(state, np.append(step, np.zeros(len(self._low) - len(step)))))
        return _Unknowns(unknowns.shape + move[:count], unknowns.log_focal + np.clip(move[count:], -0.3, 0.3), states)

    def refit(
        self,
        observation: Observation,
        shape: np.ndarray,
        focal: float,
        start: State | None = None,
        iterations: int = 6,
        lean: np.ndarray | None = None,
    ) -> tuple[State, np.ndarray]:
        """Finds one frame of a known person and camera.

        Args:
            observation: The frame.
            shape: Identity coefficients.
            focal: Focal length in pixels.
            start: State to start from, usually the previous frame's; from the scores when None.
            iterations: Gauss-Newton steps (more when there is no start).
            lean: `Fit.lean` of the person; without it the points' depth has no say.

        Returns:
            The state, and landmark errors in inter-ocular distances [L].
        """
        state = self.start(observation, focal) if start is None else start
        expected = None
        if lean is not None:
            expected = aligned(self.head, self.weight, observation)[0] @ rotation_matrix(-lean)
        for step in range(iterations if start is not None else iterations + 8):
            hessian, gradient = self._frame_system(observation, state, shape, focal, alone=True)[:2]
            if expected is not None:
                hessian[:3, :3] += np.eye(3) / self.options.depth**2
                gradient[:3] += rotation_vector(state.rotation @ expected.T) / self.options.depth**2
            only_pose = start is None and step < 3
            if only_pose:
                hessian, gradient = hessian[:6, :6], gradient[:6]
            move = np.zeros(len(self._low))
            damped = hessian + 1e-6 * np.diag(np.diag(hessian))
            move[: len(gradient)] = np.linalg.solve(damped, -gradient)
            state = self.bounded(state, move)
            if not only_pose and np.abs(move[6:]).max() < 2e-3 and np.abs(move[:6]).max() < 2e-4:
                break
        return state, self.errors(observation, state, shape, focal)

    def start(self, observation: Observation, focal: float) -> State:
        """A first guess: the network's own depth aligned with the mean head, scores for the rest."""
        return start_by_depth(self.head, self.weight, observation, focal)

    def errors(self, observation: Observation, state: State, shape: np.ndarray, focal: float) -> np.ndarray:
        """Distance of each landmark from its observation in inter-ocular distances, [L]."""
        pixels = project(self.head.points(shape, state), focal)
        return np.linalg.norm(pixels - observation.points, axis=1) / self.interocular(observation)

    def interocular(self, observation: Observation) -> float:
        """Distance of the outer eye corners in pixels, corrected for a turned head by the face's height."""
        index = {int(i): n for n, i in enumerate(self.head.indices)}
        p = observation.points
        width = np.linalg.norm(p[index[33]] - p[index[263]])
        eyes = (p[index[33]] + p[index[263]]) / 2
        # From the eyes to the upper lip it is about 0.78 of the distance of the outer eye corners.
        return float(max(width, np.linalg.norm(eyes - p[index[0]]) / 0.78, 1e-3))

    def bounded(self, state: State, step: np.ndarray) -> State:
        """The state after a step, inside the legal ranges."""
        moved = state.moved(np.concatenate([np.clip(step[:3], -0.5, 0.5), step[3:]]))
        end = 6 + self.head.num_expression
        low, high = self._low, self._high
        return replace(
            moved,
            translation=np.append(moved.translation[:2], min(moved.translation[2], -0.08)),
            expression=np.clip(moved.expression, low[6:end], high[6:end]),
            jaw=np.clip(moved.jaw, low[end : end + 2], high[end : end + 2]),
            gaze=np.clip(moved.gaze, low[end + 2 :], high[end + 2 :]),
        )

    def _residual(self, observation: Observation, points: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
        """Landmark residuals in standard deviations [L, 2] and their robust weights [L]."""
        unit = self.interocular(observation) * self.options.noise
        residual = (project(points, focal) - observation.points) / unit
        squared = (residual**2).sum(1) / self.options.robust**2
        return residual, self.weight * observation.trust / (1 + squared) ** 2

    def _frame_system(
        self, observation: Observation, state: State, shape: np.ndarray, focal: float, alone: bool = False
    ) -> tuple[np.ndarray, ...]:
        """Normal equations of one frame's state and, unless it stands alone, what couples it to identity and focal
        length."""
        points, by_shape, by_state = self.head.derivatives(shape, state, by_shape=not alone)
        residual, weight = self._residual(observation, points, focal)
        unit = self.interocular(observation) * self.options.noise
        camera = projection_derivative(points, focal) / unit  # [L, 2, 3]
        state_rows = (camera @ by_state).reshape(-1, by_state.shape[-1])
        weights = np.repeat(weight, 2)
        weighted = state_rows * weights[:, None]
        pull = self._pull(observation, state)
        hessian = _product(weighted, state_rows) + np.diag(self._precision)
        gradient = weighted.T @ residual.reshape(-1) + pull
        hessian, blocked = self._block(state, gradient, hessian)
        gradient[blocked] = 0
        if alone:
            return hessian, gradient
        shape_rows = (camera @ by_shape).reshape(-1, by_shape.shape[-1])
        focal_rows = (project(points, focal) / unit).reshape(-1, 1)  # by log focal
        shared = np.concatenate([shape_rows, focal_rows], 1)
        coupling = weighted.T @ shared
        coupling[blocked] = 0
        shared_hessian = (shared * weights[:, None]).T @ shared
        shared_gradient = (shared * weights[:, None]).T @ residual.reshape(-1)
        return hessian, gradient, coupling, shared_hessian, shared_gradient

    def _pull(self, observation: Observation, state: State) -> np.ndarray:
        """Gradient of the priors on the state."""
        offset = np.concatenate(
            [
                np.zeros(6),
                state.expression - observation.expression,
                state.jaw - observation.jaw,
                state.gaze - observation.gaze,
            ]
        )
        return self._precision * offset

    def _block(self, state: State, gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Holds unknowns that lie on their bound and are pushed outward."""
        values = np.concatenate([np.zeros(6), state.expression, state.jaw, state.gaze])
        blocked = ((values <= self._low) & (gradient > 0)) | ((values >= self._high) & (gradient < 0))
        blocked[:6] = False
        hessian[blocked] = 0
        hessian[:, blocked] = 0
        hessian[blocked, blocked] = 1
        return hessian, blocked

    def _shape_precision(self, problem: _Problem) -> float:
        """Of an identity coefficient. It grows with the frames, since the landmarker's errors repeat in all of them:
        more frames do not say more about the identity, and without this the face's depth follows their errors."""
        return len(problem.observations) / self.options.shape**2

    def _total(self, problem: _Problem, unknowns: _Unknowns) -> float:
        """The cost that the steps lower."""
        scale = self.options.robust**2
        total = (unknowns.shape**2).sum() * self._shape_precision(problem)
        total += (((unknowns.log_focal - problem.wanted) / problem.spread) ** 2).sum()
        precision = np.where(self._precision > 0, self._precision, 1)
        for ob, state, camera in zip(problem.observations, unknowns.states, problem.camera):
            points = self.head.points(unknowns.shape, state)
            residual, _ = self._residual(ob, points, float(np.exp(unknowns.log_focal[camera])))
            squared = (residual**2).sum(1) / scale
            total += scale * (self.weight * ob.trust * squared / (1 + squared)).sum()
            total += (self._pull(ob, state) ** 2 / precision).sum()
        return float(total)


@dataclass(frozen=True)
class _Unknowns:
    shape: np.ndarray
    log_focal: np.ndarray
    states: list[State]


@dataclass(frozen=True)
class _Problem:
    """Frames, the camera of each (numbered from 0), and what is expected of each camera's log focal length."""

    observations: list[Observation]
    camera: np.ndarray
    wanted: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, observations: list[Observation], options: FitOptions) -> _Problem:
        names = sorted({ob.camera for ob in observations})
        camera = np.array([names.index(ob.camera) for ob in observations])
        first = [observations[int(np.flatnonzero(camera == c)[0])] for c in range(len(names))]
        wanted = np.array([np.log(ob.focal or options.focal * ob.extent) for ob in first])
        spread = np.array([options.focal_known if ob.focal else options.focal_spread for ob in first])
        return cls(observations, camera, wanted, spread)


def _product(a: np.ndarray, b: np.ndarray, rows: int = 60) -> np.ndarray:
    """a.T @ b in pieces that BLAS computes without waking its threads, which would take longer than the product."""
    return sum(a[i : i + rows].T @ b[i : i + rows] for i in range(0, len(a), rows))
