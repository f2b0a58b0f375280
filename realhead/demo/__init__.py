"""The whole method in one run: data, training, enrollment, driving, a real photograph, numbers, viewer, one page.

Every stage is resumable: a finished one is skipped as long as its inputs are the same. What does not work is said in
one sentence, in the terminal and on the page.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

from torch import Tensor

from realhead import __version__
from realhead.avatar import Avatar
from realhead.capture.capture import CaptureSet
from realhead.capture.files import read_json
from realhead.capture.writer import write_json
from realhead.config import EnrollConfig, TrainConfig, train_config
from realhead.demo import stages
from realhead.demo.numbers import comparison, demo_numbers, read_expected
from realhead.demo.pictures import save_rows
from realhead.demo.stages import Outcome
from realhead.errors import RealheadError
from realhead.evaluation import EvaluationConfig
from realhead.evaluation.anchors import prior_hash
from realhead.evaluation.views import PersonViews
from realhead.head import load_head
from realhead.model.checkpoint import load_prior
from realhead.model.prior import Prior
from realhead.page import Section, write_page

MADE = (
    *("stages", "data", "training", "avatars", "pictures", "clips", "photo", "evaluation", "report"),
    *("evaluation.json", "viewer.html", "index.html"),
)
"""Everything that a demo leaves in its folder."""


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does; the defaults take about ten minutes on two cores."""

    prior: str = "laptop"
    """The prior to enroll with."""
    seed: int = 77
    """Seed of the people; shipped priors were trained on another one."""
    training_people: int = 3
    """People for the minute of training (the generator holds one of them out, who then trains as well)."""
    timesteps: int = 3
    """Timesteps of each of a person's sequences."""
    clip_frames: int = 40
    """Frames of the driving clips."""
    clip_stride: int = 2
    """Every second frame of the 25 a second."""
    fps: int = 12
    """Frames a second of the clips."""
    processes: int = 2
    """Processes that generate data."""
    train: TrainConfig = field(default_factory=lambda: train_config("tiny"))
    """The minute of training."""
    enroll: EnrollConfig = field(default_factory=EnrollConfig)
    """How people are enrolled."""
    evaluation: EvaluationConfig = field(default_factory=lambda: EvaluationConfig(timesteps=4, cameras=4, vgg_views=2))
    """What is measured."""


@dataclass(frozen=True)
class Stage:
    """One part of the demo.

    Attributes:
        name: Short name, of its record too.
        title: What it does.
        run: The function.
        minutes: How long it takes on two cores, roughly.
        required: Whether the demo fails without it.
    """

    name: str
    title: str
    run: Callable[[Demo], Outcome]
    minutes: float
    required: bool = False


STAGES = (
    Stage("data", "Make people", stages.make_data, 1.5, required=True),
    Stage("training", "Train a tiny prior from scratch", stages.train_tiny, 1.0),
    Stage("enrollment", "Enroll two people from 0, 1 and 3 pictures", stages.enroll_people, 4.0, required=True),
    Stage("driving", "Drive them by a clip", stages.drive_people, 0.5),
    Stage("photo", "Turn a real photograph into an avatar", stages.photograph, 1.5),
    Stage("evaluation", "Measure", stages.measure_people, 1.5, required=True),
    Stage("editing", "Mix identities and edit expressions", stages.edit_people, 0.2),
    Stage("viewer", "Write the viewer", stages.make_viewer, 0.3),
)


class Demo:
    """A demo under way: its folder, and what several stages share."""

    def __init__(self, folder: Path, config: DemoConfig):
        """Nothing is made yet."""
        self.folder, self.config = folder, config
        self._avatars: dict[tuple[str, int], Avatar] = {}

    @cached_property
    def prior(self) -> Prior:
        """The prior that people are enrolled with."""
        return load_prior(self.config.prior)

    @property
    def captures(self) -> CaptureSet:
        """The people."""
        return CaptureSet.open(self.folder / "data")

    @cached_property
    def test_people(self) -> list[PersonViews]:
        """The held-out people and their pictures."""
        return [stages.person_of(c, self.config.evaluation) for c in self.captures.people("test").values()]

    @property
    def best_shots(self) -> int:
        """The largest number of enrolled pictures."""
        return max(self.config.evaluation.shots)

    def avatar(self, views: PersonViews, shots: int) -> Avatar:
        """A held-out person's avatar; enrolled once, then read."""
        key = (views.person, shots)
        if key not in self._avatars:
            self._avatars[key] = stages.kept_avatar(self, views, shots)
        return self._avatars[key]

    def picture(self, name: str, rows: Sequence[Sequence[Tensor]]) -> str:
        """Saves rows of pictures below pictures/; returns the path as the page links it."""
        return self.relative(save_rows(self.folder / "pictures" / name, rows))

    def relative(self, path: Path) -> str:
        """A path as the page links it."""
        return path.relative_to(self.folder).as_posix()


def run(
    out: str | Path = "results/demo",
    config: DemoConfig | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Runs the demo, or what is left of it.

    Args:
        out: Its folder.
        config: What it does.
        force: Do finished stages again.
        say: Takes the lines for the terminal; default: print.

    Returns:
        The page.

    Raises:
        RealheadError: A part did not work that the rest needs; the page says which, too.
    """
    config, say = config or DemoConfig(), say or partial(print, flush=True)
    demo = Demo(Path(out), config)
    say(_plan(demo))
    key = _key(demo)
    _make_room(demo.folder, key, force, say)
    started, records = time.perf_counter(), {}
    for number, stage in enumerate(STAGES, 1):
        left = sum(s.minutes for s in STAGES[number - 1 :])
        say(f"[{number}/{len(STAGES)}] {stage.title} (about {stage.minutes:g} min; {left:.0f} min left in all)")
        records[stage.name] = _stage(demo, stage, key, say)
    numbers = demo_numbers(demo.folder / "evaluation.json")
    page = _write(demo, records, numbers)
    say(_closing(demo, page, numbers, time.perf_counter() - started))
    broken = [s for s in STAGES if s.required and records[s.name]["failed"]]
    if broken:
        raise RealheadError(f"The demo could not {broken[0].title.lower()}: {records[broken[0].name]['failed']}")
    return page


def _plan(demo: Demo) -> str:
    lines = [
        f"The demo runs the whole method on this machine, in about {sum(s.minutes for s in STAGES):.0f} minutes on two "
        f"cores, and writes into {demo.folder}:"
    ]
    lines += [f"  {i}. {stage.title}" for i, stage in enumerate(STAGES, 1)]
    lines += [f"Then open {demo.folder / 'index.html'}. Ctrl-C stops; the same command goes on."]
    return "\n".join(lines)


def _make_room(folder: Path, key: str, force: bool, say: Callable[[str], None]) -> None:
    """Removes what an earlier demo with other inputs has left in the folder, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {read_json(path).get("key") for path in (folder / "stages").glob("*.json")}
    if not known or (known == {key} and not force):
        return
    say("Starting afresh" + (" (--force)." if force else ": the version, the prior or the settings have changed."))
    for name in MADE:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _stage(demo: Demo, stage: Stage, key: str, say: Callable[[str], None]) -> dict:
    """Runs a stage unless its record says that it is finished; a mendable failure becomes one sentence."""
    path = demo.folder / "stages" / f"{stage.name}.json"
    if path.is_file() and not (record := read_json(path))["failed"]:
        say("      done before")
        return record
    started = time.perf_counter()
    try:
        outcome, failed = stage.run(demo), ""
    except (RealheadError, OSError, ImportError) as error:
        outcome, failed = Outcome(""), str(error) or type(error).__name__
        say(f"      did not work: {failed}")
    record = {"key": key, "failed": failed, "seconds": time.perf_counter() - started, **asdict(outcome)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def _key(demo: Demo) -> str:
    """Names what all stages depend on: version, configuration, prior, head."""
    try:
        prior = prior_hash(demo.prior)
    except RealheadError:
        prior = "none"
    return hashlib.sha256(
        json.dumps([__version__, asdict(demo.config), prior, load_head("open").hash]).encode()
    ).hexdigest()[:16]


def _write(demo: Demo, records: dict[str, dict], numbers: dict[str, float]) -> Path:
    from realhead.report import report
    from realhead.report.figures import caption

    sections = [Section("What this is", INTRODUCTION)]
    for stage in STAGES:
        record = records[stage.name]
        fields = {k: tuple(map(tuple, record[k])) for k in ("pictures", "clips", "links")}
        sections.append(
            Section(stage.title, record["text"], failed=record["failed"], seconds=record["seconds"], **fields)
        )
    if numbers:
        made = report(demo.folder, demo.folder / "report", only=("evaluation.json",))
        pictures = tuple((demo.relative(path), caption(name)) for name, path in made.figures.items())
        shown = [t for name, t in made.tables.items() if name.startswith("evaluation_") or name == "table_I"]
        tables = (comparison(numbers, read_expected()), *shown)
        sections.insert(1, Section("Numbers", NUMBERS, pictures=pictures, tables=tables))
    return write_page(demo.folder / "index.html", "realhead: few-shot 3D Gaussian head avatars", sections)


def _closing(demo: Demo, page: Path, numbers: dict[str, float], seconds: float) -> str:
    lines = []
    if numbers:
        table = comparison(numbers, read_expected())
        lines += [table.frame.to_string(index=False), *table.notes]
    lines += [f"Finished in {seconds / 60:.1f} minutes.", f"Everything is on {page}"]
    return "\n".join(lines)


NUMBERS = """Unseen views are other expressions from other cameras. Look at the pictures beside the numbers: the white \
background flatters those of the whole picture, and the mean head is the floor."""

INTRODUCTION = """The method of 3DRealHead, run from end to end on this machine: a prior over heads turns one to three \
pictures of a person into 3D Gaussians that a video drives.
All people below are synthetic, but for one photograph. Numbers are reported as they came out; the paper's stand \
beside ours, and are not comparable: they were taken on other data, with a network trained for five days."""
