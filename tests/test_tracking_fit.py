"""The fit on landmarks whose truth is known, its derivatives, and its smoothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from realhead.head import load_head
from realhead.tracking.clip import fit_clip
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import JAW_INDEX, LandmarkHead, State, rotation_matrix, rotation_vector
from realhead.tracking.observation import FitOptions, Observation, project, projection_derivative, report
from realhead.tracking.resting import MOST, resting_scores, without_rest
from realhead.tracking.smoothing import smooth
from realhead.tracking.stream import damped


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture(scope="module")
def reduced(head):
    return LandmarkHead(head)


def _state(reduced, seed=0, turn=0.3):
    rng = np.random.default_rng(seed)
    expression = np.zeros(reduced.num_expression)
    expression[rng.choice(reduced.num_expression, 4, replace=False)] = rng.uniform(0.2, 0.7, 4)
    return State(
        rotation_matrix(rng.normal(size=3) * turn), np.array([0.02, -0.01, -0.8]), expression,
        np.array([0.12, 0.02]), rng.normal(size=4) * 0.1,
    )  # fmt: skip


def _observation(reduced, shape, state, focal=900.0, noise=0.0, rng=None, **extra):
    """Exact landmarks of a state, and scores that are only roughly right."""
    points = reduced.points(shape, state)
    pixels = project(points, focal)
    if noise:
        pixels = pixels + rng.normal(size=pixels.shape) * noise
    return Observation(
        points=pixels, depth=-points[:, 2] * focal / 0.8, trust=np.ones(len(pixels)),
        expression=state.expression * 0.9, jaw=state.jaw * 0.8, gaze=state.gaze * 0.5, extent=600.0, **extra,
    )  # fmt: skip


def test_landmarks_are_those_of_the_whole_head(head):
    rng, reduced = np.random.default_rng(1), LandmarkHead(head, offsets=0.0)
    shape, state = rng.normal(size=reduced.num_shape) * 0.5, _state(reduced)
    tensors = (torch.from_numpy(a).float()[None] for a in (shape, state.expression, state.pose(), state.translation))
    expected = head.landmark_positions(head(*tensors), "mediapipe")[0].numpy()
    np.testing.assert_allclose(reduced.points(shape, state)[: len(expected)], expected, atol=1e-4)


def test_derivatives_agree_with_differences(reduced):
    shape, state = np.random.default_rng(2).normal(size=reduced.num_shape) * 0.3, _state(reduced)
    _, by_shape, by_state = reduced.derivatives(shape, state)
    rng, step = np.random.default_rng(3), 1e-6
    for derivative, move in ((by_shape, lambda d: (shape + d, state)), (by_state, lambda d: (shape, state.moved(d)))):
        direction = rng.normal(size=derivative.shape[-1])
        plus, minus = (reduced.points(*move(sign * step * direction)) for sign in (1, -1))
        numeric = (plus - minus) / (2 * step)
        assert np.linalg.norm(derivative @ direction - numeric) < 0.08 * np.linalg.norm(numeric)


def test_projection_derivative_agrees_with_differences():
    points = np.array([[0.1, -0.05, -0.7], [0.0, 0.2, -1.1]])
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-6
        numeric = (project(points + step, 800.0) - project(points - step, 800.0)) / 2e-6
        np.testing.assert_allclose(projection_derivative(points, 800.0)[..., axis], numeric, rtol=1e-5, atol=1e-4)


def test_known_person_and_camera_are_refitted_exactly(reduced):
    shape, truth = np.random.default_rng(4).normal(size=reduced.num_shape) * 0.5, _state(reduced, 5)
    state, errors = Fitter(reduced).refit(_observation(reduced, shape, truth), shape, 900.0)
    assert np.linalg.norm(rotation_vector(state.rotation @ truth.rotation.T)) < np.radians(1)
    assert np.linalg.norm(state.translation - truth.translation) < 0.006
    assert np.median(errors) < 0.004 and abs(state.jaw[0] - truth.jaw[0]) < 0.02


def test_depth_says_nothing_about_the_frames_that_its_constant_was_taken_from(reduced):
    shape, states = np.zeros(reduced.num_shape), [_state(reduced, seed, turn=0.1) for seed in range(20, 26)]
    exact = [_observation(reduced, shape, s) for s in states]
    seen = [replace(o, depth=o.depth + 0.4 * o.points[:, 1]) for o in exact]  # everybody seems to lean
    fit = Fitter(reduced).fit(seen)
    assert np.degrees(np.linalg.norm(fit.lean)) > 5
    turns = [_turn(Fitter(reduced).refit(o, shape, 900.0, lean=fit.lean)[0], s) for o, s in zip(seen, states)]
    assert max(turns) < 1


def test_depth_follows_a_nod_that_the_points_understate(reduced):
    shape = np.zeros(reduced.num_shape)

    def nodding(angle):
        return replace(_state(reduced, 3), rotation=rotation_matrix(np.array([angle, 0.0, 0.0])))

    lean = Fitter(reduced).fit([_observation(reduced, shape, nodding(a)) for a in (-0.1, 0.0, 0.1)]).lean
    truth = nodding(0.3)
    deep = _observation(reduced, shape, truth).depth
    seen = replace(_observation(reduced, shape, nodding(0.2)), depth=deep)
    without, weak, strong = (
        _turn(Fitter(reduced, FitOptions(depth=np.radians(d))).refit(seen, shape, 900.0, lean=lean)[0], truth)
        for d in (1000, 1.5, 0.3)
    )
    assert without > 4 and strong < weak < without - 0.5
    assert _turn(Fitter(reduced).refit(seen, shape, 900.0)[0], truth) == pytest.approx(without, abs=0.01)


def test_clips_are_turned_as_depth_says(reduced):
    shape = np.zeros(reduced.num_shape)
    states = {i: replace(_state(reduced, 3), rotation=rotation_matrix(np.array([0.1, 0.02 * i, 0]))) for i in range(20)}
    seen = {i: _observation(reduced, shape, state, focal=900.0) for i, state in states.items()}
    nodding = replace(states[7], rotation=rotation_matrix(np.array([0.3, 0.14, 0])))
    seen[7] = replace(seen[7], depth=_observation(reduced, shape, nodding).depth)
    flat, deep = (fit_clip(seen, Fitter(reduced, FitOptions(depth=d))).states for d in (np.inf, np.radians(1.5)))
    assert _turn(deep[7], nodding) < _turn(flat[7], nodding) - 0.5
    assert max(_turn(deep[i], flat[i]) for i in seen if i != 7) < 1


def _turn(state, truth):
    return np.degrees(np.linalg.norm(rotation_vector(state.rotation @ truth.rotation.T)))


def test_several_frames_share_one_person(reduced):
    shape = np.random.default_rng(6).normal(size=reduced.num_shape) * 0.6
    states = [_state(reduced, seed) for seed in range(7, 12)]
    rng = np.random.default_rng(0)
    fitter = Fitter(reduced)
    fit = fitter.fit([_observation(reduced, shape, s, noise=0.3, rng=rng) for s in states])
    turns = [rotation_vector(a.rotation @ b.rotation.T) for a, b in zip(fit.states, states, strict=True)]
    assert np.degrees(np.linalg.norm(turns, axis=1)).max() < 4
    assert report(fitter, fit.errors)["all"] < 1.0 and len(set(fit.focals)) == 1


def test_known_focal_length_is_kept_and_cameras_are_separate(reduced):
    shape = np.zeros(reduced.num_shape)
    first = _observation(reduced, shape, _state(reduced, 1), camera=0, focal=900.0)
    second = _observation(reduced, shape, _state(reduced, 2), focal=600.0)
    fit = Fitter(reduced).fit([first, replace(second, camera=1, focal=None)])
    assert fit.focals[0] == pytest.approx(900, rel=0.06) and fit.focals[1] != fit.focals[0]


def test_outliers_do_not_pull(reduced):
    shape, truth = np.zeros(reduced.num_shape), _state(reduced, 8, turn=0.1)
    clean = _observation(reduced, shape, truth)
    clean.points[5:15] += 200  # a hand over a brow
    state, _ = Fitter(reduced).refit(clean, shape, 900.0)
    assert np.linalg.norm(rotation_vector(state.rotation @ truth.rotation.T)) < np.radians(2)


def test_states_stay_in_their_range(reduced):
    fitter = Fitter(reduced, FitOptions())
    wild = fitter.bounded(_state(reduced), np.full(6 + reduced.num_expression + 6, 9.0))
    assert wild.expression.max() <= 1 and wild.jaw.max() < 0.5 and np.abs(wild.gaze).max() < 0.6
    assert wild.translation[2] < 0


def test_measure_resamples_the_jaw_line_and_trusts_a_turned_side_less(reduced):
    points = np.random.default_rng(0).normal(size=(478, 3)) + 100
    points[127], points[356], points[4] = (0, 0, 0), (100, 0, 0), (30, 0, 0)  # the nose near the right side
    measured, trust = reduced.measure(points)
    jaw = reduced.indices == JAW_INDEX
    np.testing.assert_allclose(measured[jaw][[0, -1]], points[[127, 356]])
    assert trust[jaw][0] == 0 and trust[jaw][-1] == 1 and trust[jaw][8] == 1 and trust[~jaw].min() == 1


def test_smoothing_removes_jitter_and_keeps_a_blink(reduced):
    rng, rest = np.random.default_rng(0), _state(reduced, 3)
    states = {}
    for i in range(40):
        expression = rest.expression.copy()
        expression[0] = 0.9 if i == 20 else 0.0
        noisy = np.clip(expression + rng.normal(size=len(expression)) * 0.01, 0, 1)
        jitter = rest.translation + rng.normal(size=3) * 5e-4
        states[i] = replace(rest, expression=noisy, translation=jitter)
    smoothed = smooth(states)
    assert smoothed[20].expression[0] > 0.85 and smoothed[19].expression[0] < 0.05
    before = np.std([s.translation for s in states.values()], axis=0)
    after = np.std([s.translation for i, s in smoothed.items() if 5 < i < 35], axis=0)
    assert (after < 0.6 * before).all() and smooth({7: rest})[7].expression is not None


def test_damping_lets_large_changes_through_at_once(reduced):
    rest = _state(reduced, 3)
    blink = replace(rest, expression=np.ones_like(rest.expression))
    assert damped(rest, blink).expression.min() > 0.99
    tiny = replace(rest, translation=rest.translation + 1e-4)
    assert np.abs(damped(rest, tiny).translation - rest.translation).max() < 3e-5


def test_rest_is_taken_from_brows_fully_and_from_the_mouth_a_little():
    from realhead.head.actions import ARKIT_NAMES

    scores = np.full((10, 52), 0.5, np.float32)
    scores[0] = 1
    rest = resting_scores(scores)
    brow, smile = ARKIT_NAMES.index("browInnerUp"), ARKIT_NAMES.index("mouthSmileLeft")
    assert rest[brow] == pytest.approx(0.5) and rest[smile] == pytest.approx(0.2) and (rest <= MOST).all()
    calm = without_rest(scores, rest)
    assert calm[1, brow] == 0 and calm[0, brow] == pytest.approx(1) and 0.3 < calm[1, smile] < 0.5


def test_neck_turns_the_face_as_the_root_would(head):
    from realhead.tracking.assemble import frame_of, rest_joints

    reduced = LandmarkHead(head, offsets=0.0)
    shape, state = np.zeros(reduced.num_shape), _state(reduced, 2)
    joints = rest_joints(head, shape)
    frame = frame_of(0, shape, state, joints, np.zeros(3))
    face = head.landmark_positions(head(**frame.parameters()), "mediapipe")[0].numpy()
    np.testing.assert_allclose(face, reduced.points(shape, state)[: len(face)], atol=1.5e-3)
    assert frame.pose[0].abs().max() == 0 and frame.pose[1].norm() > 0.1
