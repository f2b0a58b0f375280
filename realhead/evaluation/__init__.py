"""Evaluation: a protocol, people whom the prior never saw, and one JSON file with everything that was measured.

For each person the file holds none, 1-shot and 3-shot (and two anchors), on enrolled and on unseen views, over the
whole picture, inside the mask and on the mouth crop. `realhead.report` makes tables and figures of such files; nothing
is typed by hand.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from tqdm import tqdm

from realhead.capture.capture import CaptureSet
from realhead.capture.openheads.generate import refuse_workers_of_workers
from realhead.capture.writer import write_json
from realhead.errors import RealheadError
from realhead.evaluation.config import PROTOCOLS, EvaluationConfig
from realhead.evaluation.record import header, read_result
from realhead.evaluation.run import Run, choose_people, render_views, share_out
from realhead.evaluation.summary import closed_share, summarise
from realhead.evaluation.views import Protocol
from realhead.model.checkpoint import load_prior
from realhead.model.prior import Prior

__all__ = ["PROTOCOLS", "EvaluationConfig", "evaluate", "render_views"]


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
    chosen = choose_people(captures, protocol, config)
    result = header(prior, captures, chosen, protocol, config)
    out = Path(out) if out else None
    if out and (finished := read_result(out, result["key"])):
        return finished
    inputs = prior, captures, protocol, config, out, result["key"], Path(avatars) if avatars else None
    run = Run(*inputs)
    started, work = time.perf_counter(), sum(map(run.work_of, chosen))
    with tqdm(total=work, desc="evaluation", disable=not progress, file=sys.stderr, unit="") as run.bar:
        if processes > 1:
            parts = share_out(run, inputs, chosen, processes)
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
