"""OpenHeads seen by others' eyes: does MediaPipe find and read the faces, does dlib tell people apart?

    python tests/benchmarks/bench_openheads_quality.py mediapipe [people] [every]
    python tests/benchmarks/bench_openheads_quality.py identity [people]

Prints JSON and writes it to results/openheads/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from realhead.capture.openheads.expressions import SCRIPTS
from realhead.capture.openheads.motion import perform
from realhead.capture.openheads.people import make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.render import render
from realhead.capture.openheads.rig import studio_cameras
from realhead.head import load_head
from realhead.head.actions import ARKIT_NAMES

RESULTS = Path("results/openheads")
READ = {"jawOpen": ("jawOpen",), "mouthSmile": ("mouthSmileLeft", "mouthSmileRight"),
        "eyeBlink": ("eyeBlinkLeft", "eyeBlinkRight"), "mouthPucker": ("mouthPucker",)}  # fmt: skip


def picture(stage: Performance, timestep: int, camera, scene=None) -> np.ndarray:
    """One picture of a performance, uint8."""
    scene = scene or stage.scene(timestep)
    return render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), camera.width, camera.height)[0]


def yaw(stage: Performance, timestep: int, camera) -> float:
    """Angle in degrees by which the face looks past the camera to a side."""
    skull = stage.vertices(timestep)[1][1, :3, :3]
    x, _, z = skull.T @ (camera.centre.numpy() - skull @ [0, 0, 0.03])
    return float(np.degrees(np.arctan2(x, z)))


def mediapipe(num_people: int = 4, every: int = 6) -> dict:
    """Detection rate and correlation of scores with the true actions; three cameras in turn, yaw below 45 degrees."""
    from realhead.tracking.landmarker import Landmarker

    head, finder = load_head("open"), Landmarker()
    cameras = [studio_cameras(256, 256)[i] for i in (8, 10, 5)]
    truth, found, faces, missed = [], [], [], []
    for seed in range(5000, 5000 + num_people):
        person = make_person(head, seed)
        for sequence in SCRIPTS:
            stage = Performance(person, perform(sequence, person.traits.habits, seed), person.light)
            for k, t in enumerate(range(0, len(stage.clip), every)):
                if abs(yaw(stage, t, cameras[k % len(cameras)])) > 45:
                    continue
                image = picture(stage, t, cameras[k % len(cameras)])
                seen = finder.detect(image)
                faces.append(len(seen))
                if len(seen) == 1:
                    truth.append(stage.clip.scores[t])
                    found.append(seen[0].scores)
                else:
                    missed.append((seed, sequence, t, k % len(cameras), len(seen)))
    truth, found = np.array(truth), np.array(found)
    correlation = {}
    for name, actions in READ.items():
        columns = [ARKIT_NAMES.index(a) for a in actions]
        correlation[name] = round(float(np.corrcoef(truth[:, columns].mean(1), found[:, columns].mean(1))[0, 1]), 3)
    every_name = {
        n: round(float(np.corrcoef(truth[:, i], found[:, i])[0, 1]), 2)
        for i, n in enumerate(ARKIT_NAMES) if truth[:, i].std() > 0.02 and found[:, i].std() > 1e-4
    }  # fmt: skip
    rate = float(np.mean(np.array(faces) == 1))
    return {"people": num_people, "frames": len(faces), "exactly_one_face": round(rate, 4),
            "correlation": correlation, "all": every_name, "missed": missed[:40]}  # fmt: skip


def identity(num_people: int = 40) -> dict:
    """Distances of dlib's face descriptors within and between people, six pictures each (views and expressions)."""
    from realhead.face_network import FIVE_POINTS, face_chip, face_network
    from realhead.tracking.landmarker import Landmarker

    head, network, finder = load_head("open"), face_network(), Landmarker()
    cameras = [studio_cameras(256, 256)[i] for i in (8, 10, 6)]
    vectors, names = [], []
    for seed in range(6000, 6000 + num_people):
        person = make_person(head, seed)
        for sequence, steps in (("EMO-4-disgust+happy", 3), ("SEN-01-cramp_small_danger", 3)):
            stage = Performance(person, perform(sequence, person.traits.habits, seed), person.light)
            for k, t in enumerate(stage.clip.expressive_timesteps(steps)):
                image = picture(stage, t, cameras[k])
                faces = finder.detect(image)
                if len(faces) != 1:
                    continue
                points = torch.from_numpy(faces[0].points[list(FIVE_POINTS), :2]).float()[None]
                pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
                with torch.no_grad():
                    vectors.append(network(face_chip(pixels, points))[0].numpy())
                names.append(seed)
    vectors, names = np.stack(vectors), np.array(names)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    pair = np.triu(np.ones_like(distance, bool), 1)
    same = distance[pair & (names[:, None] == names[None])]
    different = distance[pair & (names[:, None] != names[None])]
    order = np.concatenate([same, different]).argsort().argsort()
    auc = 1 - (order[: len(same)].mean() - (len(same) - 1) / 2) / len(different)
    return {"people": num_people, "auc": round(float(auc), 4), "same_below_0.6": round(float((same < 0.6).mean()), 4),
            "different_below_0.6": round(float((different < 0.6).mean()), 4),
            "same_mean": round(float(same.mean()), 3), "different_mean": round(float(different.mean()), 3),
            "histogram_edges": np.arange(0, 1.25, 0.05).round(2).tolist(),
            "same": np.histogram(same, np.arange(0, 1.25, 0.05))[0].tolist(),
            "different": np.histogram(different, np.arange(0, 1.25, 0.05))[0].tolist()}  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *numbers = sys.argv[1:]
    result = {"mediapipe": mediapipe, "identity": identity}[what](*map(int, numbers))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"quality_{what}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
