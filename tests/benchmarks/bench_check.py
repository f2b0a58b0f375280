"""Plants every known fault in good data and writes which `realhead check` names: results/check/faults.{json,md}.

    python tests/benchmarks/bench_check.py [--out results/check]

Rows are planted faults (and none), columns are formats: exports of a rig and of a clip in VHAP's layout, the same clip
as INSTA's and as FlashAvatar's folder with metrical-tracker's files, and NeRSemble's download. "named" means that
exactly the planted fault was named.
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

from format_examples import clip_person, flame_file, flash_folder, insta_folder, nersemble_folder, vhap_export
from planted_faults import PLANTED, PLANTED_INSTA, RememberingLandmarker, crop_and_flip, nersemble_axes

from realhead import __version__
from realhead.capture.writer import write_json
from realhead.checking import evidence
from realhead.checking.check import check

FORMATS = ("VHAP, 8 cameras", "VHAP, 1 camera", "INSTA", "FlashAvatar", "NeRSemble")
EDITION = "wrong FLAME edition"
FILES = dict.fromkeys(FORMATS[:2], "generic_model.pkl") | dict.fromkeys(FORMATS[2:4], "flame2023.pkl")
"""FLAME files of the edition that a format does not have."""
NO_UNIT = "metrical-tracker stores rotations as 6D rows, which have no unit"
NO_OFFSETS = "metrical-tracker stores no offsets of vertices"
NO_MESH = "NeRSemble has cameras, but no head, parameters or masks: told of VHAP's export of it"


def cannot_exist(fault: str, name: str) -> str | None:
    """Why a fault cannot be in a format, or None."""
    if name == "NeRSemble":
        return None if fault in ("none", "OpenCV/OpenGL mix-up") else NO_MESH
    by_tracker = {"degrees for radians": NO_UNIT, "rows of offsets": NO_OFFSETS}
    return by_tracker.get(fault) if name in ("INSTA", "FlashAvatar") else None


def prepare(place: Path, name: str) -> tuple[Path, Path | None]:
    """A good folder of a format, and the tracker's."""
    if name == "VHAP, 8 cameras":
        return vhap_export(place), None
    if name == "VHAP, 1 camera":
        folder = shutil.copytree(clip_person(), place / "anna_whiteBg")
        (folder / "realhead.json").unlink()
        return folder, None
    if name == "NeRSemble":
        return nersemble_folder(place, seconds=0.03), None
    return (insta_folder if name == "INSTA" else flash_folder)(place)


def plant(fault: str, name: str, folder: Path, tracker: Path | None) -> None:
    if fault in ("none", EDITION):
        return
    if name == "NeRSemble":
        nersemble_axes(folder)
    elif tracker is not None:
        PLANTED_INSTA[fault](folder, tracker)
    elif (fault, name) == ("flipped principal point", "VHAP, 1 camera"):
        crop_and_flip(folder)
    else:
        PLANTED[fault](folder)


def outcome(fault: str, name: str) -> dict:
    """What was named, and the evidence."""
    with tempfile.TemporaryDirectory() as place:
        folder, tracker = prepare(Path(place), name)
        plant(fault, name, folder, tracker)
        head = str(flame_file(Path(place), FILES[name])) if fault == EDITION else "open"
        start = time.perf_counter()
        report = check(folder, head, tracker)
        seconds = round(time.perf_counter() - start, 1)
        evidence = [f"{f.topic}: {f.found}".replace(place, "...")[:300] for f in report.problems]
    named, planted = sorted(report.faults()), [] if fault == "none" else [fault]
    good = named == planted and bool(report.problems) == bool(planted)
    return {"named": named, "good": good, "evidence": evidence, "seconds": seconds}


def run() -> dict:
    table: dict[str, dict] = {}
    for fault in ("none", *PLANTED):
        row = {}
        for name in FORMATS:
            reason = cannot_exist(fault, name)
            row[name] = {"cannot_exist": reason} if reason else outcome(fault, name)
        table[fault] = row
        print(f"{fault}: {[cell.get('good', '-') for cell in row.values()]}", flush=True)
    return table


def cell_text(fault: str, cell: dict, reasons: list[str]) -> str:
    if "cannot_exist" in cell:
        if cell["cannot_exist"] not in reasons:
            reasons.append(cell["cannot_exist"])
        return f"- ({reasons.index(cell['cannot_exist']) + 1})"
    if cell["good"]:
        return "nothing named" if fault == "none" else "named"
    return ", ".join(cell["named"]) or "**missed**"


def as_markdown(table: dict) -> str:
    lines = [
        "# Planted faults and what `realhead check` names", "",
        "Made by `python tests/benchmarks/bench_check.py`; synthetic people with exact parameters. \"named\": exactly",
        "the planted fault was named, nothing else. A dash: it cannot exist there, for the reason below the table.", "",
        "| planted | " + " | ".join(FORMATS) + " |", "|---" * (len(FORMATS) + 1) + "|",
    ]  # fmt: skip
    reasons: list[str] = []
    for fault, row in table.items():
        lines.append(f"| {fault} | " + " | ".join(cell_text(fault, row[name], reasons) for name in FORMATS) + " |")
    lines += ["", *(f"{k}. {reason}." for k, reason in enumerate(reasons, 1))]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/check"))
    out = parser.parse_args().out
    logging.disable(logging.WARNING)
    landmarker = RememberingLandmarker()
    evidence._landmarker = lambda: landmarker
    table = run()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "faults.json", {"realhead": __version__, "faults": table})
    (out / "faults.md").write_text(as_markdown(table), encoding="utf-8")
    print(
        json.dumps(
            {fault: all(cell.get("good", True) for cell in row.values()) for fault, row in table.items()}, indent=1
        )
    )


if __name__ == "__main__":
    main()
