"""Evaluation: a protocol, people whom the prior never saw, and one JSON file with everything that was measured.

For each person the file holds none, 1-shot and 3-shot (and two anchors), on enrolled and on unseen views, over the
whole picture, inside the mask and on the mouth crop. `realhead.report` makes tables and figures of such files; nothing
is typed by hand.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from realhead.avatar import Avatar
from realhead.capture.capture import CaptureSet
from realhead.capture.openheads.generate import refuse_workers_of_workers
from realhead.capture.writer import write_json
from realhead.condition.store import driving_view
from realhead.config import EnrollConfig
from realhead.driving import to_uint8
from realhead.errors import RealheadError
from realhead.evaluation.anchors import ceiling_avatar, enrolled_avatar, floor_avatar
from realhead.evaluation.measures import measure, temporal
from realhead.evaluation.record import header, read_result
from realhead.evaluation.summary import closed_share, summarise
from realhead.evaluation.targets import Targets
from realhead.evaluation.views import PersonViews, Protocol, ScoredView, people_of, person_views
from realhead.model.checkpoint import load_prior
from realhead.model.prior import Prior
from realhead.rendering import render

STEP_COST, VIEW_COST, CEILING_COST = 3, 1, 6
"""Rough units of time of a fitted picture, a scored picture and a step of the ceiling; for the progress bar only."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated. The defaults suit a CPU; the paper's counts are named."""

    shots: tuple[int, ...] = (0, 1, 3)
    """Enrolled pictures; 0 is the prior without fine-tuning."""
    people: int | None = None
    """At most so many people. Paper: 20, 15 and 8."""
    sequences: int | None = None
    """At most so many sequences a person. Paper: 5 in the ablations."""
    timesteps: int = 5
    """Unseen timesteps a person, evenly spread over the sequences."""
    cameras: int = 4
    """Cameras a timestep: frontal, left, right, then others in turn."""
    clip_frames: int = 10
    """Consecutive frames for the temporal metrics; fewer than two leave them out."""
    wild_frames: int = 600
    """Last frames of a clip from which the wild protocol takes its test frames. Paper: 600."""
    vgg_views: int = 3
    """Unseen pictures a person and method on which LPIPS with VGG16 is measured too."""
    floor: bool = True
    """Whether the mean head is measured as well."""
    ceiling_steps: int = 0
    """Steps of the fit to a person's whole capture; 0 leaves the ceiling out."""
    pictures: int = 3
    """Pictures a person that are kept for figures: enrolled, widest open mouth, the same from the side."""
    pictured_people: int = 4
    """For how many people pictures are kept."""
    seed: int = 0
    """Seed of anything random."""
    enroll: EnrollConfig = field(default_factory=EnrollConfig)
    """How people are enrolled."""


PROTOCOLS: dict[Protocol, EvaluationConfig] = {
    "studio": EvaluationConfig(),
    "wild": EvaluationConfig(shots=(0, 1, 3), timesteps=20, cameras=1),
    "ablation": EvaluationConfig(shots=(0,), sequences=5, floor=False),
}


def evaluate(
    prior: Prior | str | Path,
    data: CaptureSet | str | Path,
    protocol: Protocol = "studio",
    out: str | Path | None = None,
    config: EvaluationConfig | None = None,
    *,
    avatars: str | Path | None = None,
    processes: int = 1,
    progress: bool = True,
) -> dict:
    """Measures a prior on held-out people and writes one JSON file.

    A finished file of the same checkpoint, data and configuration is returned as it is; an interrupted evaluation goes
    on with the next person.

    Args:
        prior: A prior, or what `load_prior` takes.
        data: Root of a capture set whose split.json names test people.
        protocol: "studio" (several cameras), "wild" (one camera, last frames) or "ablation" (studio, no fine-tuning).
        out: The JSON file; pictures go into the folder of the same name beside it. None keeps nothing.
        config: What is evaluated; the protocol's defaults when None.
        avatars: A folder that keeps enrolled avatars for others to use.
        processes: Processes that share the people, each on one thread.
        progress: Whether a bar with the time left is shown on stderr.

    Returns:
        The content of the file.

    Raises:
        RealheadError: Nobody is held out, cameras do not fit the protocol, or an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise RealheadError(f"There is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    config = config or PROTOCOLS[protocol]
    refuse_workers_of_workers(processes)
    prior = prior if isinstance(prior, Prior) else load_prior(prior)
    captures = data if isinstance(data, CaptureSet) else CaptureSet.open(data)
    chosen = _choose(captures, protocol, config)
    result = header(prior, captures, chosen, protocol, config)
    out = Path(out) if out else None
    if out and (finished := read_result(out, result["key"])):
        return finished
    inputs = prior, captures, protocol, config, out, result["key"], Path(avatars) if avatars else None
    run = _Run(*inputs)
    started, work = time.perf_counter(), sum(map(run.work_of, chosen))
    with tqdm(total=work, desc="evaluation", disable=not progress, file=sys.stderr, unit="") as run.bar:
        if processes > 1:
            parts = _share(run, inputs, chosen, processes)
        else:
            parts = [run.person(views, number) for number, views in enumerate(chosen)]
    for name in ("rows", "temporal", "pictures"):
        result[name] = [row for part in parts for row in part[name]]
    result["summary"] = summarise(result["rows"])
    result["temporal_summary"] = summarise(result["temporal"])
    result["clip_gap"] = max((row["gap"] for row in result["temporal"]), default=None)
    result["closed"] = closed_share(result["summary"])
    result["floor"] = parts[0]["floor"]
    result["left_out"] = {k: v for part in parts for k, v in part["left_out"].items()}
    result["seconds"] = round(time.perf_counter() - started, 1)
    if out:
        write_json(out, result)
        shutil.rmtree(run.parts, ignore_errors=True)
    return result


def _choose(captures: CaptureSet, protocol: Protocol, config: EvaluationConfig) -> list[PersonViews]:
    people = people_of(captures, protocol, config.people)
    return [person_views(name, own, protocol, config) for name, own in people.items()]


def _share(run: _Run, inputs: tuple, chosen: list[PersonViews], processes: int) -> list[dict]:
    """All people's parts, measured by processes of one thread each."""
    parts: dict[int, dict] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, inputs) as pool:
        futures = {pool.submit(_measure_in_worker, number): number for number in range(len(chosen))}
        try:
            for future in as_completed(futures):
                number = futures[future]
                parts[number] = future.result()
                run.bar.update(run.work_of(chosen[number]))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # people who are under way are finished, and kept
            raise
    return [parts[number] for number in range(len(chosen))]


_in_worker: dict[str, object] = {}
"""What a worker process measures with."""


def _start_worker(*inputs) -> None:
    torch.set_num_threads(1)
    run = _Run(*inputs)
    run.bar = tqdm(disable=True)
    _in_worker.update(run=run, chosen=_choose(run.captures, run.protocol, run.config))


def _measure_in_worker(number: int) -> dict:
    return _in_worker["run"].person(_in_worker["chosen"][number], number)


class _Run:
    """One evaluation under way."""

    def __init__(self, prior, captures, protocol, config, out, key, avatars):
        self.prior, self.captures, self.protocol, self.config, self.avatars = prior, captures, protocol, config, avatars
        self.out = out
        self.parts = out.with_name(f".{out.stem}_{key}") if out else None
        self.folder = out.with_suffix("") if out else None
        self.bar = None

    def work_of(self, views: PersonViews) -> int:
        """Units of the progress bar that a person takes."""
        steps = self.config.enroll.stage1_steps + self.config.enroll.stage2_steps
        anchors = int(self.config.floor) + int(self.config.ceiling_steps > 0)
        methods = len(self.config.shots) + anchors
        scored = len(views.unseen) + len(views.clip) + len(views.shared)
        fitting = STEP_COST * steps * sum(self.config.shots) + CEILING_COST * self.config.ceiling_steps
        return fitting + VIEW_COST * methods * scored

    def person(self, views: PersonViews, number: int) -> dict:
        """All methods on one person, or what an interrupted evaluation has left of them."""
        path = self.parts / f"{number:03d}.json" if self.parts else None
        if path and (done := read_result(path)):
            self.bar.update(self.work_of(views))
            return done
        before = self.bar.n
        part = {"rows": [], "temporal": [], "pictures": [], "floor": None, "left_out": {}}
        enrolled = [ScoredView(views.home, view) for view in views.shared]
        scored = {"enrolled": enrolled, "unseen": views.unseen, "clip": views.clip, "shown": []}
        if self.folder and number < self.config.pictured_people and self.config.pictures:
            scored["shown"] = _shown(views, self.config.pictures)
            self._keep(views.person, "truth", [s.view.image() for s in scored["shown"]], part)
        targets = {name: Targets([s.view for s in items], self.prior.head) for name, items in scored.items()}
        for method, avatar in self._avatars(views):
            made: dict = {}  # Gaussians of this method by timestep
            drawn = {n: render_views(avatar, items, method != "floor", made) for n, items in scored.items() if items}
            self._measure({"person": views.person, "method": method}, drawn, targets, part, views.clip_gap)
            if method == "floor":
                part["floor"] = avatar.info
            if "shown" in drawn:
                self._keep(views.person, method, drawn["shown"], part)
        self.bar.update(before + self.work_of(views) - self.bar.n)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, part)
        return part

    def _avatars(self, views: PersonViews):
        config = self.config
        if config.floor:
            first = next(iter(views.enrolled.values()))[0]
            yield "floor", floor_avatar(self.prior, self.captures, first)
        for shots in config.shots:
            self.bar.set_postfix(person=views.person, shots=shots)
            keep = {"seed": config.seed, "folder": self.avatars}
            cost = STEP_COST * shots
            yield f"{shots}-shot", enrolled_avatar(
                self.prior, views.home, views.enrolled[shots], shots, config.enroll,
                on_step=lambda cost=cost: self.bar.update(cost), **keep,
            )  # fmt: skip
        if config.ceiling_steps:
            update = lambda *_: self.bar.update(CEILING_COST)  # noqa: E731
            yield (
                "ceiling",
                ceiling_avatar(self.prior, views.captures, views.home, config.ceiling_steps, config.seed, update),
            )

    def _measure(self, who: dict, drawn: dict[str, Tensor], targets: dict[str, Targets], part: dict, gap: int) -> None:
        for group in ("enrolled", "unseen"):
            vgg = self.config.vgg_views if group == "unseen" else 0
            for region, numbers in measure(drawn[group], targets[group], part["left_out"], vgg).items():
                part["rows"].append({**who, "views": group, "region": region, **numbers})
            self.bar.update(VIEW_COST * len(drawn[group]))
        if len(drawn.get("clip", ())) > 1:
            part["temporal"].append({**who, "gap": gap, **temporal(drawn["clip"], targets["clip"], part["left_out"])})
            self.bar.update(VIEW_COST * len(drawn["clip"]))

    def _keep(self, person: str, method: str, pictures: Iterable[Tensor], part: dict) -> None:
        from PIL import Image

        self.folder.mkdir(parents=True, exist_ok=True)
        names = []
        for number, picture in enumerate(pictures):
            name = f"{person}_{number}_{method}.png"
            Image.fromarray(to_uint8(picture)).save(self.folder / name, optimize=True)
            names.append(f"{self.folder.name}/{name}")
        part["pictures"].append({"person": person, "method": method, "files": names})


def render_views(
    avatar: Avatar, scored: list[ScoredView], mouth: bool = True, made: dict | None = None
) -> Float[Tensor, "b h w 3"]:
    """Drives an avatar to the timesteps of some views and renders it there.

    Args:
        avatar: Who is driven.
        scored: Where to; the mouth map is that of each timestep's frontal picture, never of the view that is rendered.
        mouth: Whether the mouth map is used.
        made: Keeps the Gaussians of each timestep between calls.
    """
    made = {} if made is None else made
    pictures = []
    for item in scored:
        key = (item.capture.folder, item.view.frame.timestep)
        if key not in made:
            view = driving_view(item.capture, item.view.frame.timestep)
            made[key] = avatar.gaussians(item.view.frame, avatar.mouth_map(view) if mouth else None)
        with torch.no_grad():
            pictures.append(render(made[key], item.view.camera)[0].clamp(0, 1))
    return torch.stack(pictures)


def _shown(views: PersonViews, count: int) -> list[ScoredView]:
    """Pictures for figures: the enrolled one, the widest open mouth from the front, then from the side, then others."""
    first = ScoredView(views.home, next(iter(views.enrolled.values()))[0])
    by_opening = sorted(views.unseen, key=lambda s: (-float(s.view.frame.pose[2, 0]), abs(s.azimuth)))
    widest = [s for s in by_opening if s.view.frame is by_opening[0].view.frame]
    others = [s for s in views.unseen if s.view.frame is not by_opening[0].view.frame]
    return [first, widest[0], *reversed(widest[1:]), *others][:count]
