"""Ablations: one prior a switch, trained and measured alike (Tables II to VI of the paper).

Every switch is a field of the configuration, so an ablation is data. Each variant is a run folder that can be stopped
and resumed, and an evaluation that is cached by its checkpoint.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from realhead.capture.capture import CaptureSet
from realhead.capture.writer import write_json
from realhead.config import Preset, TrainConfig, config_hash, train_config, with_fields
from realhead.errors import RealheadError
from realhead.evaluation import PROTOCOLS, EvaluationConfig, evaluate
from realhead.evaluation.record import versions
from realhead.training import train

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """One row of the paper's tables.

    Attributes:
        label: Its name in the paper.
        tables: Where it stands.
        prior: Fields of PriorConfig that differ from ours.
        loss: Fields of LossConfig that differ from ours.
        people_share: Share of the training people.
    """

    label: str
    tables: tuple[str, ...]
    prior: dict[str, object] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=dict)
    people_share: float = 1.0


VARIANTS: dict[str, Variant] = {
    "ours": Variant("Ours", ("II", "III", "IV", "V", "VI")),
    "rgb": Variant("Ours-RGB", ("II",), {"mouth": "rgb"}),
    "no_adversarial": Variant("w/o adversarial loss", ("II",), loss={"adversarial": 0.0}),
    "no_mouth": Variant("w/o mouth conditioning", ("II",), {"mouth": "none"}),
    "full_gradient": Variant("Ours-Full", ("II",), {"mouth": "full_gradient"}),
    "full_rgb": Variant("RGB-Full", ("II",), {"mouth": "full_rgb"}),
    "dino": Variant("DINO", ("III",), {"mouth": "dino"}),
    "hog": Variant("HOG", ("III",), {"mouth": "hog"}),
    "fewer_mouth": Variant("New UV (70 % fewer)", ("IV",), {"uv_layout": "fewer_mouth"}),
    # Table V drops the expression map in both rows (D-H); blendshapes and skinning alone move the face.
    "3dmm_only": Variant("3DMM-only", ("V",), {"expression_input": False, "mouth": "none"}),
    "3dmm_gradient": Variant("3DMM-Grad.", ("V",), {"expression_input": False}),
    "people_50": Variant("50 %", ("VI",), people_share=0.5),
    "people_25": Variant("25 %", ("VI",), people_share=0.25),
    "people_5": Variant("5 %", ("VI",), people_share=0.05),
}


@dataclass(frozen=True)
class AblationConfig:
    """What is trained and how long."""

    tables: tuple[str, ...] = ("II", "III", "V")
    """Tables of the paper whose rows are trained."""
    preset: Preset = "tiny"
    """Preset of every run."""
    iterations: int | None = None
    """Steps of every run; the preset's when None. Paper: 1,000,000."""
    adversarial: float = 0.02
    """Weight of the critic in all rows but 'w/o adversarial loss'; ours. Zero leaves that row out."""
    seeds: tuple[int, ...] = (0,)
    """One training a seed; the spread over seeds says which differences mean something."""
    assignments: tuple[str, ...] = ()
    """Fields of TrainConfig in which every run differs from the preset, as 'image_size=128'."""
    evaluation: EvaluationConfig = field(default_factory=lambda: PROTOCOLS["ablation"])
    """How every prior is measured; the paper does not say how many pictures it enrolls here, ours none."""


def ablate(
    data: str | Path,
    out: str | Path,
    config: AblationConfig | None = None,
    *,
    variants: Iterable[str] | None = None,
    progress: bool = True,
) -> dict:
    """Trains and measures one prior for each row of the chosen tables.

    Run it again to go on with what was stopped. A row that cannot run (absent weights) is written down with the reason.

    Args:
        data: Root of a capture set with training and test people.
        out: Folder: `runs/`, one evaluation a row, and `ablation.json`, which is written last.
        config: What is trained.
        variants: Names from `VARIANTS` instead of whole tables.
        progress: Whether bars are shown on stderr.

    Returns:
        The content of `ablation.json`.

    Raises:
        RealheadError: An unknown table or variant.
    """
    config, out = config or AblationConfig(), Path(out)
    names = chosen_variants(config, variants)
    people = len(CaptureSet.open(data).people("train"))
    jobs = [(name, seed) for seed in config.seeds for name in names]
    rows: dict[str, dict] = {}
    bar = tqdm(jobs, desc="ablation", disable=not progress, file=sys.stderr)
    for name, seed in bar:
        bar.set_postfix(row=name, seed=seed)
        variant = VARIANTS[name]
        row = rows.setdefault(name, {"label": variant.label, "tables": variant.tables, "results": [], "failed": None})
        try:
            row["results"].append(_run(name, seed, data, out, config, people, progress))
        except RealheadError as error:
            _log.warning("'%s' is left out: %s", variant.label, error)
            row["failed"] = str(error)
    record = {
        "kind": "ablation",
        "config": asdict(config),
        "config_hash": config_hash(config),
        "training_people": people,
        "versions": versions(),
        "variants": rows,
    }
    write_json(out / "ablation.json", record)
    return record


def chosen_variants(config: AblationConfig, names: Iterable[str] | None = None) -> list[str]:
    """Rows of the chosen tables, each once; 'w/o adversarial loss' only where there is a critic to leave out."""
    known = sorted({table for variant in VARIANTS.values() for table in variant.tables})
    if names is not None:
        unknown = set(names := list(names)) - set(VARIANTS)
        if unknown:
            raise RealheadError(f"There is no variant {sorted(unknown)[0]!r}: choose from {', '.join(VARIANTS)}.")
        return names
    for table in config.tables:
        if table not in known:
            raise RealheadError(f"Table {table!r} has no rows to train: choose from {', '.join(known)}.")
    chosen = [name for name, variant in VARIANTS.items() if set(variant.tables) & set(config.tables)]
    return [name for name in chosen if name != "no_adversarial" or config.adversarial > 0]


def variant_config(name: str, seed: int, config: AblationConfig, people: int) -> TrainConfig:
    """The training configuration of a row."""
    variant = VARIANTS[name]
    base = with_fields(train_config(config.preset, seed=seed), config.assignments)
    loss = replace(base.loss, **({"adversarial": config.adversarial} | variant.loss))
    share = None if variant.people_share == 1 else max(1, math.ceil(variant.people_share * people))
    iterations = config.iterations or base.iterations
    return replace(
        base,
        iterations=iterations,
        save_every=min(base.save_every, iterations),
        people=share,
        prior=replace(base.prior, **variant.prior),
        loss=loss,
    )


def _run(
    name: str, seed: int, data: str | Path, out: Path, config: AblationConfig, people: int, progress: bool
) -> dict[str, object]:
    training = variant_config(name, seed, config, people)
    checkpoint = train(data, out / "runs" / f"{name}_seed{seed}", training, progress=progress)
    file = out / f"{name}_seed{seed}.json"
    measured = evaluate(checkpoint, data, "ablation", file, config.evaluation, progress=progress)
    return {
        "seed": seed,
        "file": file.name,
        "checkpoint": measured["checkpoint"]["hash"],
        "train": {"iterations": training.iterations, "people": training.people or people, "preset": training.preset},
        "train_config_hash": config_hash(training),
        "summary": measured["summary"],
        "temporal_summary": measured["temporal_summary"],
        "stand_ins": measured["stand_ins"],
    }
