"""One evaluation under way: person by person, alone or shared by several processes; what is finished is kept."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from realhead.avatar import Avatar
from realhead.capture.capture import CaptureSet
from realhead.capture.writer import write_json
from realhead.condition.store import driving_view
from realhead.device import on_best_device
from realhead.driving import to_uint8
from realhead.evaluation.anchors import ceiling_avatar, enrolled_avatar, floor_avatar
from realhead.evaluation.config import EvaluationConfig
from realhead.evaluation.measures import measure, temporal
from realhead.evaluation.record import read_result
from realhead.evaluation.targets import Targets
from realhead.evaluation.views import PersonViews, Protocol, ScoredView, people_of, person_views
from realhead.rendering import render

STEP_COST, VIEW_COST, CEILING_COST = 3, 1, 6
"""Rough units of time of a fitted picture, a scored picture and a step of the ceiling; for the progress bar only."""


class Run:
    """One evaluation under way; it computes where `realhead.device` says."""

    def __init__(self, prior, captures, protocol, config, out, key, avatars):
        self.prior, self.avatars = on_best_device(prior), avatars
        self.captures, self.protocol, self.config = captures, protocol, config
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
        targets = {name: Targets([s.view for s in items], views.home.head) for name, items in scored.items()}
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
            pictures.append(render(made[key], item.view.camera)[0].clamp(0, 1).cpu())
    return torch.stack(pictures)


def choose_people(captures: CaptureSet, protocol: Protocol, config: EvaluationConfig) -> list[PersonViews]:
    """Who is measured, and on which of their pictures."""
    people = people_of(captures, protocol, config.people)
    return [person_views(name, own, protocol, config) for name, own in people.items()]


def share_out(run: Run, inputs: tuple, chosen: list[PersonViews], processes: int) -> list[dict]:
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
    run = Run(*inputs)
    run.bar = tqdm(disable=True)
    _in_worker.update(run=run, chosen=choose_people(run.captures, run.protocol, run.config))


def _measure_in_worker(number: int) -> dict:
    return _in_worker["run"].person(_in_worker["chosen"][number], number)


def _shown(views: PersonViews, count: int) -> list[ScoredView]:
    """Pictures for figures: the enrolled one, the widest open mouth from the front, then from the side, then others."""
    first = ScoredView(views.home, next(iter(views.enrolled.values()))[0])
    by_opening = sorted(views.unseen, key=lambda s: (-float(s.view.frame.pose[2, 0]), abs(s.azimuth)))
    widest = [s for s in by_opening if s.view.frame is by_opening[0].view.frame]
    others = [s for s in views.unseen if s.view.frame is not by_opening[0].view.frame]
    return [first, widest[0], *reversed(widest[1:]), *others][:count]
