"""What limits the pictures of enrolled people? Where on the head the error lies, and what the network could show.

    python tests/benchmarks/bench_limits.py DATA [--people 4] [--fitted 2] [--steps 600] [--moments 20]
        [--out results/studio/limits.json]

Pixels of the head are sorted by what the tracked mesh shows there; those beside the mesh are hair's outline, mostly.
The fit to a person's whole capture tells capacity from generalisation: it has seen all pictures that are scored. The
moments (limits_moment.py) tell what twelve pictures of one moment say about four others, whatever the method. About a
minute a person, and three for each fit, and one for each moment, on two cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from limits_moment import fit_moment
from torch import Tensor
from tqdm import tqdm

from realhead import load_prior
from realhead.avatar import Avatar
from realhead.capture import CaptureSet
from realhead.capture.capture import View
from realhead.config import EnrollConfig
from realhead.evaluation import EvaluationConfig, render_views
from realhead.evaluation.anchors import ceiling_avatar, enrolled_avatar, prior_hash
from realhead.evaluation.measures import quantised
from realhead.evaluation.views import PersonViews, people_of, person_views
from realhead.head.raster import rasterize_triangles
from realhead.model.prior import Prior

PLACES = {
    "mouth": ("lips", "mouth", "teeth_upper", "teeth_lower", "tongue"),
    "face": ("face",),
    "scalp and ears": ("scalp", "ears"),
    "neck": ("neck",),
}
"""Regions of the head; later ones do not overwrite earlier ones, and what is in none counts as eyes."""
BESIDE = "beside the mesh"
NAMES = (*PLACES, "eyes", BESIDE)


def place_of_pixels(head, view: View) -> np.ndarray:
    """Number in `NAMES` of every pixel, [H, W]."""
    of_vertex = np.full(head.num_vertices, NAMES.index("eyes"))
    for number, regions in reversed(list(enumerate(PLACES.values()))):
        for region in regions:
            of_vertex[head.region(region).numpy()] = number
    with torch.no_grad():
        xy, depth = view.camera.project(head(**view.frame.parameters())[0])
    screen, faces = torch.cat([xy, depth[:, None]], 1).numpy(), head.faces.numpy()
    triangle = rasterize_triangles(screen, faces, view.camera.width, view.camera.height, perspective=True)[0]
    return np.where(triangle < 0, NAMES.index(BESIDE), of_vertex[faces[triangle, 0]])


@dataclass
class Errors:
    """Of a method's pictures of unseen views.

    Attributes:
        places: Pixels of the head, and the sum of their squared errors (mean over channels), by place, [places, 2].
        pictures: PSNR of whole pictures.
    """

    places: np.ndarray
    pictures: list[float]

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.places + other.places, self.pictures + other.pictures)


def errors(avatar: Avatar, views: PersonViews) -> Errors:
    """Of one avatar."""
    found, pictures = np.zeros((len(NAMES), 2)), []
    for picture, scored in zip(render_views(avatar, views.unseen), views.unseen, strict=True):
        view, mask = scored.view, scored.view.mask().numpy()
        squared = _squared(picture, view.image())
        pictures.append(float(-10 * np.log10(squared.mean())))
        place = place_of_pixels(scored.capture.head, view)
        for values, column in ((mask, 0), (squared * mask, 1)):
            found[:, column] += np.bincount(place.reshape(-1), values.reshape(-1), len(NAMES))
    return Errors(found, pictures)


def _squared(picture: Tensor, truth: Tensor) -> np.ndarray:
    return (quantised(picture) - truth).square().mean(-1).numpy()


def table(of_people: list[Errors]) -> dict[str, dict[str, float]]:
    """Share of pixels and of the squared error, and PSNR, by place, over the head, and of the whole picture."""
    found = reduce(add, of_people)
    rows = {name: found.places[i] for i, name in enumerate(NAMES)} | {"all": found.places.sum(0)}
    total = found.places.sum(0)
    whole = {"picture": {"psnr": round(float(np.mean(found.pictures)), 2)}}
    return whole | {
        name: {
            "pixels": round(row[0] / total[0], 4),
            "squared_error": round(row[1] / total[1], 4),
            "psnr": round(float(-10 * np.log10(row[1] / row[0])), 2),
        }
        for name, row in rows.items()
        if row[0]
    }


def moments(prior: Prior, captures: CaptureSet, count: int, steps: int) -> dict:
    """Free fits to twelve pictures of a moment, scored on four others, by person and in the mean."""
    rows = {}
    for name, own in tqdm(people_of(captures, "studio", count).items(), desc="moments"):
        views = person_views(name, own, "studio", EvaluationConfig(timesteps=3))
        avatar = enrolled_avatar(prior, views.home, views.enrolled[3], 3, EnrollConfig())
        rows[name] = fit_moment(avatar, views.home, steps).row()
    columns = next(iter(rows.values()))
    mean = {column: round(float(np.mean([row[column] for row in rows.values()])), 2) for column in columns}
    return {"steps": steps, "mean": mean, "people": rows}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--fitted", type=int, default=2, help="people who are fitted whole as well")
    parser.add_argument("--steps", type=int, default=600, help="of that fit")
    parser.add_argument("--moments", type=int, default=20, help="people of whom one moment is fitted freely")
    parser.add_argument("--moment-steps", type=int, default=400, help="of that fit")
    parser.add_argument("--out", type=Path, default=Path("results/studio/limits.json"))
    options = parser.parse_args()
    prior, captures = load_prior("laptop"), CaptureSet.open(options.data)
    people = people_of(captures, "studio", options.people)
    whole = f"fitted to all pictures, {options.steps} steps"
    found: dict[str, list[Errors]] = {}
    for number, (name, own) in enumerate(tqdm(people.items(), desc="people")):
        views = person_views(name, own, "studio", EvaluationConfig(timesteps=3))
        for shots in (0, 1, 3):
            avatar = enrolled_avatar(prior, views.home, views.enrolled[shots], shots, EnrollConfig())
            found.setdefault(f"{shots}-shot", []).append(errors(avatar, views))
        if number < options.fitted:
            avatar = ceiling_avatar(prior, own, views.home, options.steps)
            found.setdefault(whole, []).append(errors(avatar, views))
    result = {
        "prior": prior_hash(prior),
        "people": list(people),
        "fitted": list(people)[: options.fitted],
        "methods": {name: table(of_people) for name, of_people in found.items()},
        "3-shot, those fitted": table(found["3-shot"][: options.fitted]),
        "one moment": moments(prior, captures, options.moments, options.moment_steps),
    }
    text = json.dumps(result, indent=1)
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
