"""Tables of results: our own, and the paper's with ours beside. Text in, Markdown and LaTeX out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from realhead.evaluation.summary import LOWER_IS_BETTER, line_of

if TYPE_CHECKING:
    import pandas as pd

ANCHORS = ("floor", "ceiling")
REGION_NAMES = {"picture": "whole picture", "mask": "inside the mask", "mouth": "mouth crop"}
METHOD_NAMES = {"floor": "floor: mean head", "0-shot": "no fine-tuning", "ceiling": "ceiling: fitted to everything"}
COLUMNS = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 3),
    "lpips_alex": ("LPIPS (AlexNet)", 3),
    "lpips_vgg": ("LPIPS (VGG16)", 3),
    "id": ("ID (dlib)", 3),
}
TEMPORAL = {
    "tlp_x100": ("tLP x 100", 3),
    "tlp": ("tLP", 5),
    "lpips_consecutive": ("consecutive", 3),
    "lpips_tdiff": ("differences", 3),
}
PAPER = {
    "lpips": ("LPIPS", 3, "lpips_alex"),
    "ssim": ("SSIM", 3, "ssim"),
    "psnr": ("PSNR", 2, "psnr"),
    "id": ("ID", 3, "id"),
    "t_lpips": ("t-LPIPS", 3, "tlp_x100"),
}
REASON = "not reproduced because"
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table of text; cells in `bold` hold the best number of their column and group.

    Attributes:
        title: One line.
        rows: Cells by column.
        bold: (row, column) of the best numbers.
        notes: Definitions and reasons, below the table.
    """

    title: str
    rows: list[dict[str, str]]
    bold: set[tuple[int, str]] = field(default_factory=set)
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The cells without markup."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def markdown(self) -> str:
        """A Markdown table, the best numbers bold."""
        return self._marked("**{}**", str).to_markdown(index=False, disable_numparse=True)

    def latex(self) -> str:
        """A LaTeX table (booktabs), the best numbers bold; title and notes as comments."""
        body = self._marked(r"\textbf{{{}}}", _escaped)
        body.columns = [_escaped(name) for name in body.columns]
        comments = [f"% {line}" for line in (self.title, *self.notes)]
        text = body.to_latex(index=False, escape=False, column_format="l" * len(body.columns))
        return "\n".join(comments) + "\n" + text

    def _marked(self, pattern: str, escape) -> pd.DataFrame:
        import pandas as pd

        cells = [
            {name: pattern.format(escape(v)) if (i, name) in self.bold else escape(v) for name, v in row.items()}
            for i, row in enumerate(self.rows)
        ]
        return pd.DataFrame(cells)


def evaluation_tables(stem: str, result: dict) -> dict[str, Table]:
    """Our own tables of an evaluation: pictures, time, and the share of the way between the anchors."""
    tables = {f"{stem}_pictures": _picture_table(stem, result)}
    if result["temporal_summary"]:
        tables[f"{stem}_time"] = _time_table(stem, result)
    if result.get("closed"):
        tables[f"{stem}_anchors"] = _closed_table(stem, result)
    return tables


def number(value: dict | None, digits: int) -> str:
    """Mean and, where there is more than one person, standard deviation over people."""
    if value is None:
        return NOTHING
    spread = f" ± {value['std']:.{digits}f}" if value.get("std") is not None else ""
    return f"{value['mean']:.{digits}f}{spread}"


def _picture_table(stem: str, result: dict) -> Table:
    regions = list(REGION_NAMES)
    lines = sorted(result["summary"], key=lambda s: (s["views"], regions.index(s["region"])))  # stable: methods stay
    shown = {k: v for k, v in COLUMNS.items() if any(k in line for line in lines)}
    rows, groups = [], []
    for line in lines:
        row = {"views": line["views"], "where": REGION_NAMES[line["region"]], "method": _method(line["method"])}
        rows.append(row | {title: number(line.get(key), digits) for key, (title, digits) in shown.items()})
        groups.append((line["views"], line["region"]))
    names = [*COLUMNS, *REGION_NAMES, "enrolled", "unseen"]
    return Table(f"{stem}: {_setting(result)}", rows, _best(lines, groups, shown), _definitions(result, names))


def _time_table(stem: str, result: dict) -> Table:
    lines = result["temporal_summary"]
    rows = [
        {"method": _method(line["method"])} | {t: number(line.get(k), d) for k, (t, d) in TEMPORAL.items()}
        for line in lines
    ]
    gap = result.get("clip_gap")
    apart = (f"The frames of the clip are up to {gap} timesteps apart.",) if gap and gap > 1 else ()
    bold = _best(lines, [0] * len(lines), TEMPORAL)
    return Table(f"{stem}: four readings of t-LPIPS", rows, bold, (*_definitions(result, TEMPORAL), *apart))


def _closed_table(stem: str, result: dict) -> Table:
    rows = [
        {"method": _method(line["method"]), "where": REGION_NAMES[line["region"]]}
        | {COLUMNS[k][0]: f"{line[k]:.0%}" if k in line else NOTHING for k in ("psnr", "ssim", "lpips_alex")}
        for line in result["closed"]
    ]
    note = (
        "Share of the way from the floor (mean head in the person's tone) to the ceiling (the same network fitted to "
        "the person's whole capture), unseen views."
    )
    return Table(f"{stem}: share of the way between the anchors", rows, set(), (note,))


def paper_table(name: str, paper: dict, evaluations: dict[Path, dict], ablations: dict[Path, dict]) -> Table:
    """One table of the paper, each row with ours beside it or the reason why there is none."""
    printed = paper["tables"][name]
    rows, theirs, ours = [], [], []
    for entry in printed["rows"]:
        line, result = _match(entry, evaluations, ablations)
        row = {"group": entry["group"]} if "group" in entry else {}
        row["method"] = entry["method"]
        theirs.append({key: {"mean": entry[key][0], "std": entry[key][1]} for key in PAPER})
        ours.append({key: line[source] for key, (_, _, source) in PAPER.items() if line and source in line})
        for side, numbers in (("paper", theirs[-1]), ("ours", ours[-1])):
            row |= {f"{t} ({side})": number(numbers.get(k), d) for k, (t, d, _) in PAPER.items()}
        rows.append(row | {REASON: _reason(entry, result, paper, printed)})
    bold = set()
    groups = [row.get("group") for row in rows]
    for side, lines in (("paper", theirs), ("ours", ours)):
        columns = {key: (f"{title} ({side})", digits) for key, (title, digits, _) in PAPER.items()}
        bold |= _best(lines, groups, columns)
    notes = (
        f"Paper: {printed['data']}; {paper['network']}; {paper['unknown']}.",
        "Ours: unseen views, whole picture on white; LPIPS with AlexNet, ID with dlib's network, t-LPIPS as tLP x 100.",
    )
    return Table(f"Table {name}: {printed['title']} (paper, {printed['section']})", rows, bold, notes)


def _match(entry: dict, evaluations: dict[Path, dict], ablations: dict[Path, dict]) -> tuple[dict, dict | None]:
    """Our line for a row of the paper, and the result (or the failed ablation row) that it comes from."""
    wanted = entry.get("match", {})
    if "protocol" in wanted:
        for result in evaluations.values():
            line = line_of(result, wanted["method"], "unseen", "picture")
            if result["protocol"] == wanted["protocol"] and line:
                return line, result
    for record in ablations.values():
        row = record["variants"].get(wanted.get("variant"))
        if row and row["results"]:
            return _over_seeds(row["results"]), {**record, "row": row}
        if row:
            return {}, {"failed": row["failed"]}
    return {}, None


def _over_seeds(results: Sequence[dict]) -> dict:
    """The line of one seed, or the mean over seeds with its own deviation."""
    import statistics

    lines = [line_of(r, r["summary"][0]["method"], "unseen", "picture") for r in results]
    if len(lines) == 1:
        return lines[0]
    joined = {}
    for key in lines[0]:
        values = [line[key]["mean"] for line in lines if isinstance(line.get(key), dict)]
        if values:
            joined[key] = {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
            }
    return joined


def _reason(entry: dict, result: dict | None, paper: dict, printed: dict) -> str:
    if "absent" in entry:
        return entry["absent"]
    if result is None:
        return "no run of this row among the results"
    if result.get("failed"):
        return result["failed"]
    if result["kind"] == "ablation":
        first = result["row"]["results"][0]
        train = first["train"]
        return (
            f"other data ({train['people']} people of ours for training), {train['iterations']} iterations with the "
            f"{train['preset']} preset, {len(result['row']['results'])} seed(s)"
        )
    width, height = result["data"]["picture"]
    return (
        f"other data ({len(result['data']['people'])} people of ours, {width} x {height}) and the prior "
        f"'{result['checkpoint']['source']}' ({result['network']['resolution']} texels)"
    )


def _method(name: str) -> str:
    return METHOD_NAMES.get(name, name)


def _setting(result: dict) -> str:
    data = result["data"]
    width, height = data["picture"]
    return (
        f"{result['protocol']} protocol, {len(data['people'])} people, {width} x {height}, checkpoint "
        f"{result['checkpoint']['hash']}"
    )


def _definitions(result: dict, names: Sequence[str]) -> tuple[str, ...]:
    known = result["definitions"]
    stand_ins = "; ".join(f"{what}: {which}" for what, which in result["stand_ins"].items())
    left_out = [f"{name} is left out: {why}" for name, why in result.get("left_out", {}).items()]
    defined = "; ".join(f"{name}: {known[name]}" for name in names if name in known)
    return (f"Definitions: {defined}.", f"Networks: {stand_ins}.", *left_out)


def _best(lines: Sequence[dict], groups: Sequence, columns: dict[str, tuple[str, int]]) -> set[tuple[int, str]]:
    """The best number of each column within each group, as printed (equal after rounding is equally good)."""
    bold = set()
    for key, (title, digits) in columns.items():
        for group in dict.fromkeys(groups):
            values = {
                i: round(line[key]["mean"], digits)
                for i, line in enumerate(lines)
                if groups[i] == group and line.get(key) and line.get("method") not in ANCHORS
            }
            if len(values) > 1:
                lower = key in LOWER_IS_BETTER or key in ("lpips", "t_lpips")
                best = (min if lower else max)(values.values())
                bold |= {(i, title) for i, value in values.items() if value == best}
    return bold


def _escaped(text: str) -> str:
    for plain, latex in (
        ("\\", r"\textbackslash "),
        ("&", r"\&"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("#", r"\#"),
        ("±", r"$\pm$"),
    ):
        text = text.replace(plain, latex)
    return text
