"""Commands that bring other people's data in, and check any data before training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from realhead.commands.arguments import OptionalPath, Out

Source = Annotated[Positional[Path], arg(metavar="FOLDER")]
HeadName = Annotated[str | None, arg(metavar="open|PATH")]


def import_(
    format: Annotated[Positional[Literal["vhap", "nersemble", "insta", "smirk", "flame"]], arg(metavar="FORMAT")],
    source: Annotated[Positional[Path], arg(metavar="SRC")],
    out: Out,
    head: HeadName = None,
    edition: Annotated[Literal["2020", "2023", "2023 Open"] | None, arg(metavar="2020|2023|2023 Open")] = None,
    tracker: OptionalPath = None,
    last: int = 600,
    split: OptionalPath = None,
    fps: float = 25.0,
    scale: int = 4,
    matting: Annotated[str, arg(metavar="none|difference|MODULE:FUNCTION")] = "none",
    weights: OptionalPath = None,
) -> None:
    """Reads other people's data: vhap (exports), insta (with .frame files), nersemble (makes VHAP's input), smirk
    (expressions for a capture), flame (a .pkl as a safe .npz).

    Args:
        format: vhap, insta, nersemble, smirk or flame.
        source: Folder to read; smirk: a capture; flame: the .pkl.
        out: Folder of the capture set; nersemble: VHAP's root folder; smirk: the same capture; flame: the .npz.
        head: FLAME file of the parameters; the one in REALHEAD_ASSETS when not given.
        edition: FLAME edition, where the file is not known by its content.
        tracker: insta: folder of metrical-tracker's .frame files.
        last: insta: so many frames at the end test; 350, 500 or 600 in the literature.
        split: nersemble, vhap: who trains and who tests; data/nersemble_split.json when not given.
        fps: nersemble: pictures a second.
        scale: nersemble: divisor of the pictures' size.
        matting: nersemble: who makes the masks that VHAP wants; you, by other tools, when none.
        weights: smirk: SMIRK_em1.pt; the one in REALHEAD_ASSETS when not given.
    """
    from realhead.importing import run

    if format == "nersemble":
        print(run.import_nersemble(source, out, split, fps, scale, matting))
    elif format == "smirk":
        print(run.import_smirk(source, out, weights))
    elif format == "flame":
        print(run.import_flame(source, out))
    else:
        print("\n".join(str(p) for p in run.import_captures(format, source, out, head, edition, tracker, last, split)))


def check(folder: Source, head: HeadName = None, tracker: OptionalPath = None, out: OptionalPath = None) -> None:
    """Checks captures, VHAP exports, INSTA or FlashAvatar folders, NeRSemble or licensed files before any training.

    Prints a table of what was found, names known mistakes and how to mend them, and draws the mesh over pictures.

    Args:
        folder: What to check.
        head: open, or the FLAME file of the parameters; the one that the folder names when not given.
        tracker: Folder of metrical-tracker's .frame files.
        out: Sheet of overlays, .html or .png; check.html in the folder when not given.
    """
    from realhead.checking.check import check as run
    from realhead.checking.sheet import write_sheet
    from realhead.doctor import as_text
    from realhead.errors import RealheadError

    report = run(folder, head, tracker)
    print(as_text(list(report.findings)))
    path = out or folder / "check.html"
    try:
        print(write_sheet(path, f"Check of {folder}", report.findings, report.picture))
    except PermissionError:
        print(f"{path} cannot be written: name another place with --out.", file=sys.stderr)
    if report.problems:
        raise RealheadError(report.sentence())
