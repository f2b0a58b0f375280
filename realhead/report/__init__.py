"""From results/*.json to tables and figures. Nothing is typed by hand: the same files give the same bytes.

Our numbers stand beside the paper's, with the definition of each metric and the reason why they are not comparable.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realhead.capture.files import read_json
from realhead.errors import RealheadError
from realhead.report.figures import all_figures, caption
from realhead.report.tables import Table, evaluation_tables, paper_table

KINDS = ("evaluation", "ablation", "curves")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What a report wrote.

    Attributes:
        tables: By name; `.frame` is the data frame.
        figures: Pictures by name.
        page: The Markdown page that shows them all.
    """

    tables: dict[str, Table]
    figures: dict[str, Path]
    page: Path


def report(
    results: str | Path = "results", out: str | Path = "results/report", *, only: Sequence[str] = ("*.json",)
) -> Report:
    """Makes all tables (Markdown and LaTeX) and figures of a folder of results.

    Args:
        results: A folder; every evaluation, ablation and curve below it is taken.
        out: Where the report goes; pages and tables of an earlier one are replaced.
        only: Patterns of file names.

    Raises:
        RealheadError: There is no result in the folder.
    """
    results, out = Path(results), Path(out)
    found = read_results(results, only)
    if not found:
        raise RealheadError(f"{results} holds no results: make some with `realhead evaluate` or `realhead ablate`.")
    out.mkdir(parents=True, exist_ok=True)
    tables = all_tables(found)
    figures = all_figures(found, out)
    for name, table in tables.items():
        _write(out / f"{name}.tex", table.latex())
    page = out / "report.md"
    _write(page, _page(tables, figures))
    return Report(tables, figures, page)


def read_results(folder: Path, only: Sequence[str] = ("*.json",)) -> dict[Path, dict]:
    """All results below a folder, by path, in order; a damaged file is named in the log and left out."""
    found = {}
    for path in sorted({path for pattern in only for path in folder.rglob(pattern)}):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or (path.parent / "transforms.json").exists():  # captures hold large JSON files, and no results
            continue
        try:
            content = read_json(path)
        except RealheadError as error:
            _log.warning("%s is left out: %s", path, error)
            continue
        if isinstance(content, dict) and content.get("kind") in KINDS:
            found[path] = content
    return found


def all_tables(found: dict[Path, dict]) -> dict[str, Table]:
    """Tables by name: our own of every evaluation, then the paper's I to VIII with ours beside."""
    paper = paper_tables()
    tables = {}
    for path, result in found.items():
        if result["kind"] == "evaluation" and result["protocol"] != "ablation":
            tables |= evaluation_tables(path.stem, result)
    evaluations = {p: r for p, r in found.items() if r["kind"] == "evaluation"}
    ablations = {p: r for p, r in found.items() if r["kind"] == "ablation"}
    for number in paper["tables"]:
        tables[f"table_{number}"] = paper_table(number, paper, evaluations, ablations)
    return tables


def paper_tables() -> dict:
    """The paper's tables as printed (data/paper_tables.json)."""
    path = Path(__file__).resolve().parents[2] / "data" / "paper_tables.json"
    if not path.is_file():
        raise RealheadError(
            f"{path} is missing: run from a clone of the repository, where data/ lies beside realhead/."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _page(tables: dict[str, Table], figures: dict[str, Path]) -> str:
    lines = ["# Results", "", "Made by `realhead report` from the JSON files of the runs; not edited by hand.", ""]
    for table in tables.values():
        lines += [f"## {table.title}", "", table.markdown(), ""]
        lines += [f"{note}\n" for note in table.notes]
    if figures:
        lines += ["## Figures", ""]
    for name, path in figures.items():
        lines += [f"![{caption(name)}]({path.name})", "", caption(name), ""]
    return "\n".join(lines).rstrip() + "\n"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
