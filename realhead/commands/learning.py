"""Commands that train the prior and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from realhead.commands.arguments import DataPath, Out, PriorName


def train(
    data: DataPath,
    out: Out,
    preset: Literal["tiny", "laptop", "paper"] = "laptop",
    init: Annotated[PriorName | None, arg(metavar="NAME|PATH")] = None,
    iterations: Annotated[int | None, arg(metavar="INT")] = None,
    people: Annotated[int | None, arg(metavar="INT")] = None,
    mouth: Literal["gradient", "rgb", "full_gradient", "full_rgb", "hog", "dino", "none"] = "gradient",
    seed: int = 0,
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = (),
    tensorboard: bool = False,
    dry_run: bool = False,
) -> None:
    """Trains a prior over heads; run the same command again to go on with a stopped run.

    Several GPUs: torchrun --nproc-per-node 4 -m realhead train ...

    Args:
        data: Root of a capture set, as `realhead data` writes it.
        out: Folder of the run: checkpoints, log, configuration.
        preset: tiny (a minute, to see it work), laptop, or paper (the paper's settings, for a GPU).
        init: Prior to start from: laptop, or a path.
        iterations: Optimiser steps instead of the preset's.
        people: Use only so many training people (Table VI).
        mouth: What the mouth map stores (Tables II and III).
        seed: Seed of initialisation, sampling and augmentation.
        set: Any other field of realhead/config.py, such as learning_rate=4e-3 or loss.adversarial=0.05.
        dry_run: Only measure what the training would cost in time and memory; nothing is written.
        tensorboard: Write curves and pictures for TensorBoard into the run's folder too.
    """
    from dataclasses import replace

    from realhead.config import PRIORS, train_config, with_fields
    from realhead.team import Team
    from realhead.training import train
    from realhead.view.tensorboard import tensorboard_monitor

    changes = {} if iterations is None else {"iterations": iterations}
    network = replace(PRIORS[preset], mouth=mouth)
    config = with_fields(train_config(preset, prior=network, people=people, seed=seed, **changes), set)
    if dry_run:
        from realhead.dry_run import dry_run as measure

        print(measure(data, config))
        return
    prior = train(data, out, config, init=init, monitor=tensorboard_monitor(out) if tensorboard else None)
    if Team.join().leads:
        print(prior)


def evaluate(
    prior: Annotated[Positional[str], arg(metavar="PRIOR")],
    data: DataPath,
    out: Out,
    protocol: Literal["studio", "wild", "ablation"] = "studio",
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = (),
    processes: int = 1,
) -> None:
    """Measures a prior on the held-out people of a capture set: PSNR, SSIM, LPIPS, ID, t-LPIPS.

    Args:
        prior: The prior: laptop, or a path.
        data: Root of a capture set whose split names test people.
        out: JSON file of the numbers; pictures go into a folder of the same name.
        protocol: studio (several cameras), wild (one camera) or ablation (studio, no fine-tuning).
        set: Fields of EvaluationConfig (realhead/evaluation), such as people=4 or ceiling_steps=200.
        processes: Processes that share the people, each on one thread.
    """
    from realhead.config import with_fields
    from realhead.evaluation import PROTOCOLS, evaluate

    evaluate(prior, data, protocol, out, with_fields(PROTOCOLS[protocol], set), processes=processes)
    print(out)


def ablate(
    data: DataPath,
    out: Out,
    tables: Annotated[tuple[str, ...], arg(metavar="II|III|IV|V|VI")] = ("II", "III", "V"),
    variants: Annotated[tuple[str, ...], arg(metavar="NAME")] = (),
    preset: Literal["tiny", "laptop", "paper"] = "tiny",
    iterations: Annotated[int | None, arg(metavar="INT")] = None,
    seeds: Annotated[tuple[int, ...], arg(metavar="INT")] = (0,),
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = (),
    test_people: Annotated[int | None, arg(metavar="INT")] = None,
) -> None:
    """Trains and measures one prior for each row of the paper's ablation tables.

    Args:
        data: Root of a capture set with training and test people.
        out: Folder of the runs, the evaluations and ablation.json.
        tables: Tables whose rows are trained.
        variants: Single rows instead of tables: ours, rgb, no_mouth, dino, hog, 3dmm_only, ...
        preset: Preset of every run.
        iterations: Optimiser steps of every run instead of the preset's.
        seeds: One training a seed, so that the spread is known.
        set: Any other field of realhead/config.py for every run, such as image_size=128.
        test_people: Measure on so many of the people who are held out.
    """
    from dataclasses import replace

    from realhead.ablation import AblationConfig, ablate

    config = AblationConfig(tables=tables, preset=preset, iterations=iterations, seeds=seeds, assignments=set)
    config = replace(config, evaluation=replace(config.evaluation, people=test_people))
    ablate(data, out, config, variants=variants or None)
    print(out / "ablation.json")


def report(
    results: Annotated[Positional[Path], arg(metavar="RESULTS")] = Path("results"),
    out: Out = Path("results/report"),
) -> None:
    """Makes tables and figures of results, the paper's numbers beside ours.

    Args:
        results: Folder of results; every evaluation, ablation and curve below it is taken.
        out: Folder of the report.
    """
    from realhead.report import report

    print(report(results, out).page)
