"""OpenHeads seen by others' eyes: does MediaPipe find and read the faces, does dlib tell people apart?

    python tests/benchmarks/bench_openheads_quality.py mediapipe [people] [every]
    python tests/benchmarks/bench_openheads_quality.py identity [people] [folder of photographs]
    python tests/benchmarks/bench_openheads_quality.py gap [people]
    python tests/benchmarks/bench_openheads_quality.py sheets

Prints JSON and writes it to results/openheads/. `identity` compares with real photographs if it is given a folder with
one folder a person (the archive of the package face_recognition brings some); `gap` says how many millimetres of lip
motion no tracked parameter holds; `sheets` draws people and open mouths to look at.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from realhead.capture.openheads.expressions import SCRIPTS
from realhead.capture.openheads.generate import VERSION
from realhead.capture.openheads.motion import perform
from realhead.capture.openheads.people import make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.render import render
from realhead.capture.openheads.rig import studio_cameras
from realhead.head import load_head
from realhead.head.actions import ARKIT_NAMES

RESULTS = Path("results/openheads")
EDGES = np.arange(0, 1.25, 0.05)
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


class Describer:
    """dlib's face descriptor of the one face in a picture."""

    def __init__(self):
        from realhead.face_network import face_network
        from realhead.tracking.landmarker import Landmarker

        self.network, self.finder = face_network(), Landmarker()

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Descriptor [128], None without exactly one face."""
        from realhead.face_network import FIVE_POINTS, face_chip

        faces = self.finder.detect(image)
        if len(faces) != 1:
            return None
        points = torch.from_numpy(faces[0].points[list(FIVE_POINTS), :2]).float()[None]
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            return self.network(face_chip(pixels, points))[0].numpy()


def distances(vectors: list[np.ndarray], names: list) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all pairs of the same and of different people."""
    vectors, names = np.stack(vectors), np.array(names)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    pair = np.triu(np.ones_like(distance, bool), 1)
    alike = names[:, None] == names[None]
    return distance[pair & alike], distance[pair & ~alike]


def spread(same: np.ndarray, different: np.ndarray) -> dict:
    """Area under the ROC curve, shares below dlib's threshold, histograms."""
    order = np.concatenate([same, different]).argsort().argsort()
    auc = 1 - (order[: len(same)].mean() - (len(same) - 1) / 2) / len(different)
    return {"auc": round(float(auc), 4), "same_below_0.6": round(float((same < 0.6).mean()), 4),
            "different_below_0.6": round(float((different < 0.6).mean()), 4),
            "same_mean": round(float(same.mean()), 3), "different_mean": round(float(different.mean()), 3),
            "same": np.histogram(same, EDGES)[0].tolist(),
            "different": np.histogram(different, EDGES)[0].tolist()}  # fmt: skip


def photographs(folder: str, describe: Describer) -> dict:
    """The same numbers of real photographs: every folder below `folder` that holds pictures is a person."""
    from PIL import Image

    vectors, names = [], []
    for path in sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        vector = describe(np.array(Image.open(path).convert("RGB")))
        if vector is not None:
            vectors.append(vector)
            names.append(path.parent.name)
    return {"people": len(set(names)), "pictures": len(names), **spread(*distances(vectors, names))}


def identity(num_people: int = 40, folder: str | None = None) -> dict:
    """Distances of dlib's face descriptors within and between people, six pictures each (views and expressions)."""
    head, describe = load_head("open"), Describer()
    cameras = [studio_cameras(256, 256)[i] for i in (8, 10, 6)]
    vectors, names = [], []
    for seed in range(6000, 6000 + num_people):
        person = make_person(head, seed)
        for first, sequence in enumerate(("EMO-4-disgust+happy", "SEN-01-cramp_small_danger")):
            stage = Performance(person, perform(sequence, person.traits.habits, seed), person.light)
            for k, t in enumerate(stage.clip.expressive_timesteps(3)):
                image = picture(stage, t, cameras[(first + k) % 3])  # both begin at rest: not the same picture twice
                vector = describe(image)
                if vector is not None:
                    vectors.append(vector)
                    names.append(seed)
    result = {"people": num_people, "histogram_edges": EDGES.round(2).tolist()} | spread(*distances(vectors, names))
    if folder:
        result["photographs"] = photographs(folder, describe)
    draw_histograms(result)
    return result


def draw_histograms(result: dict) -> None:
    """Distances within and between people as a figure, synthetic above real."""
    import matplotlib.pyplot as plt

    rows = {"OpenHeads": result} | ({"photographs": result["photographs"]} if "photographs" in result else {})
    figure, axes = plt.subplots(len(rows), 1, figsize=(6, 2.2 * len(rows)), sharex=True, squeeze=False)
    for axis, (title, row) in zip(axes[:, 0], rows.items(), strict=True):
        for name, color in (("same", "#0072b2"), ("different", "#d55e00")):
            counts = np.array(row[name]) / sum(row[name])
            axis.stairs(counts, EDGES, fill=True, alpha=0.6, color=color, label=f"{name}, {sum(row[name])} pairs")
        axis.axvline(0.6, color="0.3", linestyle=":")
        axis.set_ylabel("share of pairs")
        axis.set_title(f"{title}: {row['people']} people, AUC {row['auc']:.3f}", fontsize=9)
        axis.legend(fontsize=8)
    axes[-1, 0].set_xlabel("distance of dlib's face descriptors (dotted: dlib's threshold)")
    figure.savefig(RESULTS / "identity.png", dpi=90, bbox_inches="tight")


def gap(num_people: int = 10) -> dict:
    """Millimetres of lip error that the best fit of all expression coefficients leaves."""
    from realhead.capture.openheads.gap import lip_gap

    mean, high = lip_gap(load_head("open"), range(5000, 5000 + num_people))
    return {"people": num_people, "lip_error_mm_mean": round(mean, 3), "lip_error_mm_95th_percentile": round(high, 3)}


def sheets() -> dict:
    """40 people in four views, and twelve open mouths."""
    from PIL import Image

    from realhead.capture.openheads.portrait import contact_sheet, mouth_sheet

    head = load_head("open")
    Image.fromarray(contact_sheet(head, range(3000, 3040))).save(RESULTS / "people.jpg", quality=85)
    Image.fromarray(mouth_sheet(head, range(3000, 3012))).save(RESULTS / "mouths.jpg", quality=88)
    return {"people": 40, "mouths": 12}


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *numbers = sys.argv[1:]
    RESULTS.mkdir(parents=True, exist_ok=True)
    measures = {"mediapipe": mediapipe, "identity": identity, "gap": gap, "sheets": sheets}
    result = measures[what](*(int(n) if n.isdigit() else n for n in numbers))
    result = {"generator": VERSION} | result
    if what != "sheets":
        (RESULTS / f"quality_{what}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
