"""Commands that look after the machine and the notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from realhead.commands.arguments import OptionalPath, Out, PriorName


def doctor(
    out: OptionalPath = None,
    json_: Annotated[bool, arg(name="json")] = False,
    fetch: bool = False,
    compile_: Annotated[bool, arg(name="compile")] = False,
) -> None:
    """Looks at this machine: versions, device, head models, weight files and what degrades without each.

    Args:
        out: Also write the findings to this JSON file.
        json_: Print JSON instead of a table.
        fetch: First fetch the weight files that are missing (about 170 MB, through pip).
        compile_: First compile the CPU kernels, and gsplat's for a GPU, so that the first picture does not wait for it.
    """
    from realhead import doctor as examiner

    if fetch:
        examiner.fetch()
    if compile_:
        examiner.compile_ahead()
    findings = examiner.examine()
    text = json.dumps(examiner.as_json(findings), indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
    print(text if json_ else examiner.as_text(findings))


def demo(
    out: Out = Path("results/demo"),
    prior: PriorName = "laptop",
    force: bool = False,
) -> None:
    """Runs the whole method on two strangers and a photograph, and writes a page that shows it.

    Args:
        out: Folder of the page and everything on it; finished parts in it are kept.
        prior: Prior to enroll with: laptop, or a path.
        force: Do finished parts again.
    """
    from realhead.demo import DemoConfig, run

    run(out, DemoConfig(prior=prior), force=force)


def notebooks(
    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME")] = (),
    execute: bool = False,
    check: bool = False,
    fast: bool = False,
    anew: bool = False,
    parameters: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = (),
    out: OptionalPath = None,
) -> None:
    """Stores the notebooks from their text twins (notebooks/*.py), runs them, or checks what is stored.

    Without a flag, each .ipynb takes the sources of its twin and keeps the outputs of cells that did not change.

    Args:
        names: Notebooks, as 04 or 04_prior_training; all when none is named.
        execute: Run them from top to bottom and store normalised outputs.
        check: Change nothing; fail if a twin and its .ipynb differ or an output should not be committed.
        fast: Run in the tests' fast mode (REALHEAD_FAST=1); needs --out, since its pictures are toys.
        anew: Record cells tagged `timing` again, whose stored seconds stay otherwise.
        parameters: Values for the cell tagged `parameters`, as steps=10.
        out: Write the .ipynb files into this folder instead of beside their twins.
    """
    from realhead import notebooks as desk

    chosen = desk.find(names)
    if check:
        desk.check(chosen)
    elif execute:
        desk.execute_all(chosen, out, fast, desk.parse_parameters(parameters), anew=anew)
    else:
        desk.sync(chosen, out)
