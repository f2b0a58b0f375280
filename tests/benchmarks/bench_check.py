"""Plants every known fault in good data and writes which `realhead check` names: results/check/faults.{json,md}.

    python tests/benchmarks/bench_check.py [--out results/check]

Rows are planted faults (and none), columns are formats: a rig in VHAP's layout, a clip in VHAP's layout, and the same
clip as INSTA's folder with metrical-tracker's files. "named" means that exactly the planted fault was named.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from format_examples import clip_person, insta_folder, rig_person
from planted_faults import PLANTED, PLANTED_INSTA

from realhead import __version__
from realhead.capture.writer import write_json
from realhead.checking.check import check

FORMATS = ("VHAP, 8 cameras", "VHAP, 1 camera", "INSTA")
NO_EFFECT = {("flipped principal point", "VHAP, 1 camera")}
"""Monocular exports have their principal point in the middle: flipped, it is the same."""


def outcome(folder: Path, fault: str | None, tracker: Path | None = None) -> dict:
    """What was named, and the evidence."""
    start = time.perf_counter()
    report = check(folder, "open" if tracker else None, tracker)
    named = sorted(report.faults())
    evidence = [f"{f.topic}: {f.found}" for f in report.problems]
    good = named == ([fault] if fault else []) and bool(report.problems) == bool(fault)
    seconds = round(time.perf_counter() - start, 1)
    return {"named": named, "good": good, "evidence": [text[:300] for text in evidence], "seconds": seconds}


def run() -> dict:
    table: dict[str, dict] = {}
    for fault in (None, *PLANTED):
        row = table[fault or "none"] = {}
        for name, make in zip(FORMATS[:2], (rig_person, clip_person), strict=True):
            if (fault, name) in NO_EFFECT:
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = shutil.copytree(make(), Path(place) / "data")
                if fault:
                    PLANTED[fault](folder)
                row[name] = outcome(folder, fault)
        if fault is None or fault in PLANTED_INSTA:
            with tempfile.TemporaryDirectory() as place:
                folder, checkpoints = insta_folder(Path(place))
                if fault:
                    PLANTED_INSTA[fault](folder, checkpoints)
                row["INSTA"] = outcome(folder, fault, checkpoints)
        shown = {name: "named" if cell["good"] else cell["named"] for name, cell in row.items()}
        print(f"{fault or 'none'}: {shown}", flush=True)
    return table


def as_markdown(table: dict) -> str:
    lines = [
        "# Planted faults and what `realhead check` names", "",
        "Made by `python tests/benchmarks/bench_check.py`; synthetic people with exact parameters. \"named\": exactly",
        "the planted fault was named, nothing else. A dash: not planted in this format.", "",
        "| planted | " + " | ".join(FORMATS) + " |", "|---" * (len(FORMATS) + 1) + "|",
    ]  # fmt: skip
    for fault, row in table.items():
        cells = []
        for name in FORMATS:
            cell = row.get(name)
            good = "nothing named" if fault == "none" else "named"
            cells.append("-" if cell is None else good if cell["good"] else ", ".join(cell["named"]) or "**missed**")
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/check"))
    out = parser.parse_args().out
    logging.disable(logging.WARNING)
    table = run()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "faults.json", {"realhead": __version__, "faults": table})
    (out / "faults.md").write_text(as_markdown(table), encoding="utf-8")
    print(json.dumps({fault: all(cell["good"] for cell in row.values()) for fault, row in table.items()}, indent=1))


if __name__ == "__main__":
    main()
