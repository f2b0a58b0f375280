"""What `realhead import` does, one function a format."""

from __future__ import annotations

import logging
from pathlib import Path

from realhead.capture.capture import Capture
from realhead.capture.writer import write_json
from realhead.errors import CaptureError, RealheadError
from realhead.importing import nersemble, vhap
from realhead.importing.nersemble_split import read_split_file, resolve
from realhead.importing.recognise import head_for, read_any, require_edition
from realhead.importing.recording import write

log = logging.getLogger(__name__)


def import_captures(
    kind: str, source: Path, out: Path, head: str | None = None, edition: str | None = None,
    tracker: Path | None = None, last: int = 600, split: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Imports VHAP exports, or one INSTA actor; a broken one is named and passed over as long as one is good.

    Args:
        kind: "vhap" or "insta".
        source: An export, a folder of exports, or the actor's folder.
        out: Folder of the capture set.
        head: "open" or a FLAME file; default: the user's of the right edition.
        edition: The edition that the user vouches for.
        tracker: INSTA: folder of the .frame files.
        last: INSTA: frames at the end that test.
        split: Who is held out, for `split.json`.

    Returns:
        Folders of the captures.

    Raises:
        CaptureError: Nothing could be imported.
    """
    if not source.is_dir():
        raise CaptureError(f"{source} is no folder: name the folder of an export.")
    folders = vhap.exports(source) if kind == "vhap" else [source]
    model, file = head_for(kind, head)
    require_edition(model, kind, edition)
    done, failed = [], []
    for folder in folders:
        try:
            recording = read_any(folder, model, kind, tracker, last)
            done.append(write(recording, out, file, "studio" if kind == "vhap" else "wild"))
        except CaptureError as error:
            failed.append(str(error))
            log.warning("left out: %s", error)
    if not done:
        raise CaptureError(failed[0])
    _hold_out(out, split)
    return done


def _hold_out(out: Path, split: Path | None) -> None:
    """Writes split.json: the people there that the split file holds out (a single person is not held out)."""
    people = sorted({path.parent.parent.name for path in out.glob("*/*/realhead.json")})
    held = [person for person in people if person in read_split_file(split)["test"]]
    if len(held) < len(people):
        write_json(out / "split.json", {"test": held})


def import_nersemble(source: Path, out: Path, split: Path | None, fps: float, scale: int, matting: str) -> Path:
    """Makes VHAP's input of NeRSemble.

    Raises:
        RealheadError: A number is not possible, or the folder is not NeRSemble's.
    """
    if not 0 < fps <= nersemble.NATIVE_FPS or not 1 <= scale <= 16:
        raise RealheadError(f"--fps {fps} and --scale {scale} cannot be: up to 73 pictures a second, divisors 1 to 16.")
    if not source.is_dir():
        raise CaptureError(f"{source} is no folder: name NeRSemble's, with the participants' folders in it.")
    if out.exists() and out.samefile(source):
        raise RealheadError(f"--out {out} is the download itself, whose calibration must stay: name another folder.")
    how = nersemble.Preparation(fps, scale, matting=nersemble.matting_by_name(matting))
    return nersemble.prepare(source, out, resolve(source, split), how)


def import_smirk(source: Path, out: Path, weights: Path | None) -> Path:
    """Adds SMIRK's expressions to a capture.

    Raises:
        RealheadError: The weights are absent, or --out is not the capture.
    """
    from realhead.importing.smirk import add_smirk
    from realhead.model.smirk import FILE, find_smirk, load_smirk
    from realhead.tracking.landmarker import Landmarker

    if out.resolve() not in (source.resolve(), (source / "smirk").resolve()):
        raise RealheadError(f"SMIRK's expressions are kept beside the capture: give --out {source}.")
    network = load_smirk(weights or find_smirk() or Path(FILE))
    folder, _ = add_smirk(Capture.open(source), network, Landmarker())
    return folder


def import_flame(source: Path, out: Path) -> Path:
    """Converts a FLAME pickle into an .npz of plain arrays.

    Raises:
        RealheadError: The file is no FLAME model, or --out does not end in .npz.
    """
    from realhead.head.flame import HOW_TO_GET, convert

    if not source.is_file():
        raise RealheadError(HOW_TO_GET.format(path=source))
    if out.suffix != ".npz":
        raise RealheadError(f"--out {out} must end in .npz.")
    out.parent.mkdir(parents=True, exist_ok=True)
    return convert(source, out)
