"""The user's licensed files: FLAME models and the weights of SMIRK and DINO, read as the other commands would."""

from __future__ import annotations

from pathlib import Path

from realhead.doctor import Finding
from realhead.errors import RealheadError
from realhead.head import load_head
from realhead.head.flame import companions
from realhead.head.flame_companions import LANDMARKS, MASKS, MEDIAPIPE
from realhead.head.flame_editions import EDITIONS, FILES, SUFFIXES
from realhead.head.flame_texture import TEMPLATES
from realhead.model.backbones import DINO_FILES, load_dino
from realhead.model.smirk import FILE, load_smirk

NAMES = (*(name + suffix for name in FILES for suffix in SUFFIXES), FILE, *DINO_FILES)


def asset_files(folder: Path) -> list[Path]:
    """The files of known names in a folder."""
    return [folder / name for name in NAMES if (folder / name).is_file()]


def check_assets(paths: list[Path]) -> list[Finding]:
    """One line for each file, or more."""
    findings = [Finding("format", "ok", f"{len(paths)} licensed files")]
    for path in paths:
        try:
            findings += _look(path)
        except RealheadError as error:
            findings.append(Finding("file", "problem", str(error), "see the sentence"))
    return findings


def _look(path: Path) -> list[Finding]:
    if path.name == FILE:
        load_smirk(path)
        return [Finding("SMIRK", "ok", f"{path.name}: all weights of its three encoders are there")]
    if path.name in DINO_FILES:
        return [Finding("DINO", "ok", f"{path.name}: {load_dino(path).name}")]
    return _flame(path)


def _flame(path: Path) -> list[Finding]:
    head = load_head(path)
    found = companions(path)
    whose = {"texture": TEMPLATES, "masks": (MASKS,), "68 landmarks": (LANDMARKS,), "MediaPipe landmarks": (MEDIAPIPE,)}
    theirs = [what for what, names in whose.items() if any(found[name] for name in names)]
    ours = [what for what in whose if what not in theirs]
    parts = [f"{owner} {' and '.join(what)}" for owner, what in (("FLAME's", theirs), ("our own", ours)) if what]
    shown = (
        f"{path.name}: FLAME {head.edition or 'of unknown edition'}, {head.num_shape} identity coefficients and "
        f"{head.num_expression} expressions, {', '.join(parts)}, {'no' if head.eyelids is None else 'with'} eyelids"
    )
    licence = next((edition.licence for edition in EDITIONS if edition.name == head.edition), None)
    if licence is None:
        advice = "its content and name are no official release's: say which edition it is with --edition"
        return [Finding("FLAME", "absent", shown, advice)]
    return [Finding("FLAME", "ok", shown), Finding("licence", "ok", f"FLAME {head.edition}: {licence}")]
