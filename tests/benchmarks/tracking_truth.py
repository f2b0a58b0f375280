"""Tracking of OpenHeads' wild clips, where the truth is known: what each step of the fit does to the errors."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from realhead.capture.openheads.background import room
from realhead.capture.openheads.camera_noise import photograph
from realhead.capture.openheads.lighting import wild_lighting
from realhead.capture.openheads.motion import FPS, perform
from realhead.capture.openheads.people import make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.render import render
from realhead.capture.openheads.rig import wild_camera
from realhead.head.actions import ARKIT_NAMES, parameters_to_scores
from realhead.tracking.clip import ClipFit, fit_clip, watch
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import LandmarkHead, State, rotation_vector
from realhead.tracking.observation import FitOptions, Observation, report
from realhead.tracking.run import TrackOptions
from realhead.tracking.smoothing import smooth

NAMED = {
    "jawOpen": ("jawOpen",),
    "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "mouthSmile": ("mouthSmileLeft", "mouthSmileRight"),
    "mouthPucker": ("mouthPucker",),
    "browInnerUp": ("browInnerUp",),
}
"""The actions that a reader of faces must get right; a pair is the mean of its sides."""
MOST_USED = 12
FRONT = np.diag([1.0, -1.0, -1.0])
"""The fit's axes (y up, z backward) from the camera's (y down, z forward)."""
RIGID = (33, 133, 362, 263, 168, 6, 197)
"""Eye corners and bridge of the nose: they hardly move on the skull."""
CORNERS = (61, 291)
EYES = (33, 263)
"""Outer corners."""
RESULT, BOUND = "smoothed (the result)", "with the true landmarks, for comparison"
TRUSTED = "with the true landmarks, held to 1 %"
RIDGE = 0.1
"""Weight of the read-out's penalty, per frame."""


@dataclass(frozen=True)
class Truth:
    """What is known of one frame, in the camera's axes.

    Attributes:
        scores: Actions in [0, 1], [52].
        rotation: Of the skull, [3, 3].
        points: The head's MediaPipe landmarks on the true surface, metres, [105, 3].
    """

    scores: np.ndarray
    rotation: np.ndarray
    points: np.ndarray


def make_clip(head, seed: int, frames: int, size: int, folder: Path) -> tuple[Path, dict[int, Truth], np.ndarray]:
    """Films a person in a room as `realhead data --size wild` does, without loss.

    Returns:
        The clip, the truth by frame number, and the camera's intrinsics.
    """
    import av

    person = make_person(head, seed)
    clip = perform("FREE", person.traits.habits, seed, frames)
    stage = Performance(person, clip, wild_lighting(np.random.default_rng([seed, 9])))
    camera = wild_camera(size, size, seed)
    world = camera.cam_from_world.double().numpy()
    behind = room(size, size, seed)
    truths, path = {}, folder / f"p{seed}.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width = stream.height = size
        stream.pix_fmt = "bgr0"
        for t in range(frames):
            vertices, transforms = stage.vertices(t)
            points = head.landmark_positions(torch.from_numpy(vertices[: head.num_vertices])[None], "mediapipe")[0]
            truths[t] = Truth(
                clip.scores[t], world[:3, :3] @ transforms[1, :3, :3], points.numpy() @ world[:3, :3].T + world[:3, 3]
            )
            picture = render(stage.scene(t), camera.K.numpy(), camera.cam_from_world.numpy(), size, size)
            frame = av.VideoFrame.from_ndarray(photograph(*picture, behind, seed, t)[0], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path, truths, camera.K.double().numpy()


def track_steps(head, reduced: LandmarkHead, path: Path) -> tuple[dict[str, ClipFit], dict[str, float], np.ndarray]:
    """Tracks a clip: the fit after every step, the landmark errors of the last in per cent, and what the engine saw."""
    fitter = Fitter(reduced)
    seen = watch(path, reduced, TrackOptions(progress=False))
    focal = FitOptions().focal * max(seen.size)
    mean = np.zeros(reduced.num_shape)

    def started(observations: dict[int, Observation]) -> ClipFit:
        return ClipFit(focal, mean, {i: fitter.start(ob, focal) for i, ob in observations.items()})

    raw, rested = seen.observations(head), seen.observations(head, seen.rest())
    flat, fit = fit_clip(rested, Fitter(reduced, FitOptions(depth=np.inf))), fit_clip(rested, fitter)
    smoothed = ClipFit(fit.focal, fit.shape, smooth(fit.states))
    errors = [fitter.errors(rested[i], s, fit.shape, fit.focal) for i, s in smoothed.states.items()]
    steps = {
        "scores of the network": started(raw),
        "without the resting face": started(rested),
        "landmarks, mean head": ClipFit(focal, mean, {i: fitter.refit(o, mean, focal)[0] for i, o in rested.items()}),
        "identity and focal length": flat,
        "how the points' depth turns": fit,
        RESULT: smoothed,
    }
    return steps, report(fitter, errors), np.stack([seen_features(reduced, rested[i], seen.scores[i]) for i in rested])


def seen_features(reduced: LandmarkHead, observation: Observation, scores: np.ndarray) -> np.ndarray:
    """What the engine says of a frame: its points, as the bridge of the nose and the eyes' line lie, and its scores."""
    index = {int(i): n for n, i in enumerate(reduced.indices)}
    points, eyes = observation.points, [index[i] for i in EYES]
    across = points[eyes[1]] - points[eyes[0]]
    axes = np.stack([across, [-across[1], across[0]]]) / (across @ across)  # right and down, in inter-ocular distances
    aligned = (points - points[[index[i] for i in RIGID]].mean(0)) @ axes.T
    return np.concatenate([aligned.reshape(-1), scores])


def readout(seen: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    """Correlation with the truth of a linear read-out of what the engine says, learned on the other people.

    It knows the truth of others, which no tracker does: what it cannot read is not in the points and scores.
    """
    moved = [features - np.median(features, 0) for features in seen]
    spread = np.concatenate(moved).std(0) + 1e-6
    found = []
    for left_out in range(len(seen)):
        others = [i for i in range(len(seen)) if i != left_out]
        x = np.concatenate([moved[i] / spread for i in others])
        y = np.concatenate([truth[i] - truth[i].mean(0) for i in others])
        weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
        found.append(moved[left_out] / spread @ weights)
    return correlations(truth, found, tuple(NAMED))


def fit_true_landmarks(
    head, seen_by: LandmarkHead, path: Path, truths: dict[int, Truth], K: np.ndarray, options: FitOptions
) -> ClipFit:
    """The same fit, with the face's landmarks where they truly are: what the landmarker's errors cost."""
    seen = watch(path, seen_by, TrackOptions(progress=False))
    observations = {}
    for i, observation in seen.observations(head, seen.rest()).items():
        true, points = truths[i].points, observation.points.copy()
        points[: len(true)] = true[:, :2] / true[:, 2:] * [K[0, 0], K[1, 1]]
        observations[i] = replace(observation, points=points)
    fit = fit_clip(observations, Fitter(LandmarkHead(head, offsets=0.0), options))
    return replace(fit, states=smooth(fit.states))


def measure(
    head, reduced: LandmarkHead, fit: ClipFit, truths: dict[int, Truth], K: np.ndarray
) -> dict[str, np.ndarray]:
    """Errors of a fit, one row per tracked frame.

    Returns:
        scores [n, 52]; turn: from the true head rotation, axis-angle in degrees [n, 3]; corners: distance of the mouth
        corners from the truth in the picture, in millimetres at the head's depth [n, 2]; corners_3d: the same in space
        after the similarity that brings eye corners and nose bridge together, millimetres [n, 2].
    """
    index = {int(i): n for n, i in enumerate(reduced.indices)}
    rigid, mouth = [index[i] for i in RIGID], [index[i] for i in CORNERS]
    eyes = [index[33], index[263]]
    rows: dict[str, list] = {"scores": [], "turn": [], "corners": [], "corners_3d": []}
    for i, state in fit.states.items():
        truth = truths[i]
        rows["scores"].append(scores_of(head, state))
        rows["turn"].append(np.degrees(rotation_vector(state.rotation @ (FRONT @ truth.rotation).T)))
        points = reduced.points(fit.shape, state) @ FRONT  # camera axes
        depth = truth.points[eyes, 2].mean()
        seen = truth.points[mouth, :2] / truth.points[mouth, 2:] * depth
        found = points[mouth, :2] / points[mouth, 2:] * fit.focal / K[0, 0] * depth
        rows["corners"].append(1000 * np.linalg.norm(found - seen, axis=1))
        moved = similar(points[rigid], truth.points[rigid], points[mouth])
        rows["corners_3d"].append(1000 * np.linalg.norm(moved - truth.points[mouth], axis=1))
    return {name: np.stack(values) for name, values in rows.items()}


def scores_of(head, state: State) -> np.ndarray:
    """Action scores that a state stands for, [52]."""
    expression, pose = torch.from_numpy(state.expression)[None], torch.from_numpy(state.pose())[None]
    return parameters_to_scores(head, expression, pose)[0].numpy()


def similar(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Moves points by the similarity that brings `source` nearest to `target` (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * sign).sum() / (a**2).sum()
    return (points - source.mean(0)) @ ((u * sign) @ vt).T * scale + target.mean(0)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, or 0 where one does not move."""
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-4 else 0.0


def columns(name: str) -> list[int]:
    """Columns of an action, or of both sides of a pair."""
    return [ARKIT_NAMES.index(n) for n in NAMED.get(name, (name,))]


def correlations(truth: list[np.ndarray], found: list[np.ndarray], names: tuple[str, ...]) -> dict[str, float]:
    """Correlation over time within a clip, mean over the clips in which an action moves."""
    table = {}
    for name in names:
        pairs = [(t[:, columns(name)].mean(1), f[:, columns(name)].mean(1)) for t, f in zip(truth, found, strict=True)]
        values = [correlation(t, f) for t, f in pairs if t.std() > 0.02]
        table[name] = float(np.mean(values)) if values else float("nan")
    return table


def pooled_correlations(truth: list[np.ndarray], found: list[np.ndarray], names: tuple[str, ...]) -> dict[str, float]:
    """Correlation over the frames of all clips, each clip about its own mean: clips count as much as they move."""

    def centred(clips: list[np.ndarray], name: str) -> np.ndarray:
        values = [clip[:, columns(name)].mean(1) for clip in clips]
        return np.concatenate([v - v.mean() for v in values])

    return {name: correlation(centred(truth, name), centred(found, name)) for name in names}


def synthetic(people: int = 6, frames: int = 500, size: int = 256, first: int = 4000) -> dict:
    """Tracks wild clips of people whom nothing was tuned on, and compares every step with the truth."""
    from realhead.head import load_head

    head = load_head("open")
    reduced = LandmarkHead(head)
    truth, seen, reports, lost = [], [], [], 0
    measured: dict[str, list[dict]] = {}
    for seed in tqdm(range(first, first + people), desc="people"):
        with tempfile.TemporaryDirectory() as folder:
            path, truths, K = make_clip(head, seed, frames, size, Path(folder))
            steps, errors, features = track_steps(head, reduced, path)
            for name, options in ((BOUND, FitOptions(depth=np.inf)), (TRUSTED, FitOptions(noise=0.01, depth=np.inf))):
                steps[name] = fit_true_landmarks(head, reduced, path, truths, K, options)
        for name, fit in steps.items():
            measured.setdefault(name, []).append(measure(head, reduced, fit, truths, K))
        kept = list(next(iter(steps.values())).states)
        lost += frames - len(kept)
        truth.append(np.stack([truths[i].scores for i in kept]))
        reports.append(errors)
        seen.append(features)
    use = np.concatenate(truth).mean(0)
    most_used = tuple(ARKIT_NAMES[i] for i in np.argsort(-use)[:MOST_USED])
    return {
        "people": people,
        "first_seed": first,
        "frames": frames * people,
        "pixels": size,
        "frames_without_a_face": lost,
        "most_used": {n: round(float(use[ARKIT_NAMES.index(n)]), 3) for n in most_used},
        "steps": {name: summary(truth, rows, most_used) for name, rows in measured.items()},
        "readout": _rounded(readout(seen, truth)),
        "landmark_error_percent": {k: round(float(np.mean([r[k] for r in reports])), 2) for k in reports[0]},
        "each_person": [summary([t], [r], most_used) for t, r in zip(truth, measured[RESULT])],
    }


def summary(truth: list[np.ndarray], rows: list[dict], most_used: tuple[str, ...]) -> dict:
    """One row of the table."""
    found = [r["scores"] for r in rows]
    used = correlations(truth, found, most_used)
    angle = np.concatenate([np.linalg.norm(r["turn"], axis=1) for r in rows])
    moving = np.concatenate([np.linalg.norm(r["turn"] - r["turn"].mean(0), axis=1) for r in rows])
    corners, in_space = (np.concatenate([r[n].reshape(-1) for r in rows]) for n in ("corners", "corners_3d"))

    return {
        "correlation": _rounded(correlations(truth, found, tuple(NAMED))),
        "correlation_pooled": _rounded(pooled_correlations(truth, found, tuple(NAMED))),
        "correlation_most_used": _rounded(used),
        "median_most_used": round(float(np.nanmedian(list(used.values()))), 3),
        "rotation_degrees": round(float(angle.mean()), 2),
        "rotation_degrees_90": round(float(np.quantile(angle, 0.9)), 2),
        "rotation_moving_degrees": round(float(moving.mean()), 2),
        "mouth_corner_mm": round(float(corners.mean()), 2),
        "mouth_corner_mm_90": round(float(np.quantile(corners, 0.9)), 2),
        "mouth_corner_3d_mm": round(float(in_space.mean()), 2),
    }


def _rounded(table: dict[str, float]) -> dict[str, float | None]:
    """None for actions that do not move, since JSON knows no NaN."""
    return {name: None if np.isnan(value) else round(value, 3) for name, value in table.items()}
