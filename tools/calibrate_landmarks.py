"""Measures where the landmarker sees the landmarks of the free head, and writes data/landmark_offsets.json.

    python tools/calibrate_landmarks.py [--people 40] [--frames 25]

Synthetic people are filmed as `realhead data --size wild` does. Their heads are fitted to what the landmarker sees,
then turned, shaped and magnified as they truly are; what still lies between the fitted landmarks and the seen ones, in
the mean over people and poses, is the offset. Expressions stay as fitted, so that what the scores get wrong in
everybody is absorbed too. The offsets change the fit, hence three sweeps. About six minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm import tqdm

from realhead.capture.openheads.background import room
from realhead.capture.openheads.camera_noise import photograph
from realhead.capture.openheads.lighting import wild_lighting
from realhead.capture.openheads.motion import perform
from realhead.capture.openheads.people import make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.render import render
from realhead.capture.openheads.rig import wild_camera
from realhead.capture.writer import write_json
from realhead.head import load_head
from realhead.tracking.clip import fit_clip
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import LandmarkHead, State
from realhead.tracking.landmark_offsets import FILE
from realhead.tracking.landmarker import Landmarker
from realhead.tracking.observation import Observation, project, projection_derivative
from realhead.tracking.observe import observation_of
from realhead.tracking.resting import resting_scores, without_rest

FIRST, SIZE, LENGTH, SWEEPS = 6000, 256, 150, 3
"""First person's number (benchmarks use others), pixels, frames of a performance, sweeps."""
FRONT = np.diag([1.0, -1.0, -1.0])
"""The fit's axes (y up, z backward) from the camera's (y down, z forward)."""
NOISE, SPREAD, ROBUST = 0.02, 0.003, 0.1
"""Of a person's landmarks in inter-ocular distances; expected offsets in metres; errors beyond this lose weight."""


@dataclass(frozen=True)
class Person:
    """What the landmarker saw of one person, and the truth."""

    observations: dict[int, Observation]
    rotations: dict[int, np.ndarray]
    shape: np.ndarray
    focal: float


def film(head, landmarker: Landmarker, reduced: LandmarkHead, seed: int, frames: int) -> Person:
    """Shows one person's performance to the landmarker, frame by frame."""
    person = make_person(head, seed)
    clip = perform("FREE", person.traits.habits, seed, LENGTH)
    stage = Performance(person, clip, wild_lighting(np.random.default_rng([seed, 9])))
    camera, behind = wild_camera(SIZE, SIZE, seed), room(SIZE, SIZE, seed)
    K, world = camera.K.double().numpy(), camera.cam_from_world.double().numpy()
    measured, scores, rotations = {}, {}, {}
    for t in np.linspace(0, LENGTH - 1, frames).round().astype(int):
        picture = render(stage.scene(t), camera.K.numpy(), camera.cam_from_world.numpy(), SIZE, SIZE)
        faces = landmarker.detect(photograph(*picture, behind, seed, t)[0])
        if faces:
            measured[t], scores[t] = reduced.measure(faces[0].points), faces[0].scores
            rotations[t] = FRONT @ world[:3, :3] @ stage.vertices(t)[1][1, :3, :3]
    rest = resting_scores(np.stack(list(scores.values())))
    seen = {t: observation_of(head, without_rest(scores[t], rest), measured[t], (SIZE, SIZE)) for t in measured}
    return Person(seen, rotations, np.asarray(person.shape, np.float64), float(K[0, 0]))


def sweep(head, people: list[Person], offsets: np.ndarray) -> np.ndarray:
    """Better offsets, metres in the head's frontal plane [L, 2]: least squares over all people, each counted once."""
    fitter = Fitter(LandmarkHead(head, offsets=np.pad(offsets, ((0, 0), (0, 1)))))
    hessian = np.zeros((len(offsets), 2, 2)) + np.eye(2) / SPREAD**2
    gradient = offsets / SPREAD**2
    for person in tqdm(people, desc="sweep"):
        fit = fit_clip(person.observations, fitter)
        for t, state in fit.states.items():
            seen, true = person.observations[t], replace(state, rotation=person.rotations[t])
            true = replace(true, translation=state.translation * np.array([1, 1, person.focal / fit.focal]))
            rows, residual, weight = placed(fitter, seen, true, person)
            rows = rows @ true.rotation[:, :2]
            share = weight / len(fit.states) / NOISE**2
            hessian += np.einsum("l,lij,lik->ljk", share, rows, rows)
            gradient += np.einsum("l,lij,li->lj", share, rows, residual)
    return offsets - np.linalg.solve(hessian, gradient[..., None])[..., 0]


def placed(fitter: Fitter, seen: Observation, state: State, person: Person, steps: int = 6):
    """Moves the true head to where the landmarks are seen best.

    Returns:
        Derivative of the residual by the landmarks [L, 2, 3], residual in inter-ocular distances [L, 2], weights [L].
    """
    unit = fitter.interocular(seen)
    for _ in range(steps):
        points = fitter.head.points(person.shape, state)
        rows = projection_derivative(points, person.focal) / unit
        residual = (project(points, person.focal) - seen.points) / unit
        weight = seen.trust / (1 + (residual**2).sum(1) / ROBUST**2) ** 2
        pull = fitter.weight * weight
        move = np.linalg.solve(
            np.einsum("l,lij,lik->jk", pull, rows, rows), np.einsum("l,lij,li->j", pull, rows, residual)
        )
        state = replace(state, translation=state.translation - move)
    return rows, residual, weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--frames", type=int, default=25, help="frames of each of them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head, landmarker = load_head("open"), Landmarker()
    reduced = LandmarkHead(head, offsets=0.0)
    seeds = range(FIRST, FIRST + options.people)
    people = [film(head, landmarker, reduced, seed, options.frames) for seed in tqdm(seeds, desc="people")]
    offsets = np.zeros((len(reduced.indices), 2))
    for _ in range(SWEEPS):
        offsets = sweep(head, people, offsets)
    content = {
        "head": head.name,
        "head_hash": head.hash,
        "command": f"python tools/calibrate_landmarks.py --people {options.people} --frames {options.frames}",
        "first_person": FIRST,
        "indices": reduced.indices.tolist(),
        "offsets_mm": [[round(1000 * float(v), 2) for v in row] for row in offsets],
    }
    write_json(FILE, content)
    print(f"{FILE}: rms {1000 * np.sqrt((offsets**2).mean(0))} mm to the side and up")


if __name__ == "__main__":
    main()
