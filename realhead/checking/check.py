"""`realhead check`: reads a folder of any known format and says what was found, what is wrong, and how to mend it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from realhead.capture.capture import Capture
from realhead.checking import faults, inventory, sheet
from realhead.checking.assets import asset_files, check_assets
from realhead.checking.evidence import choose, gather
from realhead.checking.nersemble import check_nersemble
from realhead.condition.expression import expression_source
from realhead.doctor import Finding
from realhead.errors import CaptureError, RealheadError
from realhead.head import shared_head
from realhead.head.flame_editions import find_edition, user_files
from realhead.head.model import Head
from realhead.importing import vhap
from realhead.importing.recognise import Kind, edition_for, head_for, read_any, recognise
from realhead.importing.recording import Recording

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        folder: What was checked.
        findings: One line each.
        tiles: Overlays, uint8 [TILE, width, 3] each.
        sizes: Width and height of the pictures.
    """

    folder: Path
    findings: tuple[Finding, ...]
    tiles: tuple[np.ndarray, ...] = ()
    sizes: frozenset[tuple[int, int]] = frozenset()

    @property
    def picture(self) -> np.ndarray | None:
        """Contact sheet of the overlays, uint8 [H, W, 3], or None where there are none."""
        return sheet.grid(self.tiles) if self.tiles else None

    @property
    def problems(self) -> list[Finding]:
        """What has to be mended before training."""
        return [finding for finding in self.findings if finding.state == "problem"]

    def faults(self) -> set[str]:
        """Names of the known faults that were found (`realhead.checking.faults.FAULTS`)."""
        return {finding.topic for finding in self.problems} & set(faults.FAULTS)

    def sentence(self) -> str:
        """The first problem and how many there are."""
        first, more = self.problems[0], len(self.problems) - 1
        rest = f" ({more} more in the table)" if more else ""
        return f"{self.folder}: {first.topic}: {first.found}; {first.advice}{rest}."


def check(folder: Path, head: str | None = None, tracker: Path | None = None) -> Report:
    """Checks a folder, or every capture and export in it.

    Args:
        folder: A capture, a VHAP export, an INSTA or FlashAvatar folder, a folder of such folders, NeRSemble's,
            or the folder of the licensed files.
        head: "open" or a FLAME file; default: the one that the capture names, else the user's of the right edition.
        tracker: Folder of metrical-tracker's .frame files.

    Raises:
        CaptureError: The folder is of no known format, or nothing in it can be used.
    """
    if parts := captures_in(folder):
        return _check_each(folder, parts, head, tracker)
    try:
        kind = recognise(folder)
    except CaptureError:
        if files := asset_files(folder):
            return Report(folder, tuple(check_assets(files)))
        raise
    if kind == "nersemble":
        return Report(folder, tuple(check_nersemble(folder)))
    model, stated, early = _head(folder, kind, head)
    try:
        recording = read_any(folder, model, kind, tracker)
    except CaptureError as error:
        findings = [*early, *inventory.broken([str(error)], 1)]
        if not any(f.state == "problem" for f in findings):
            raise
        return Report(folder, tuple(findings))
    return examine(recording, kind, stated, early)


def captures_in(folder: Path) -> list[Path]:
    """Captures, exports and actors up to two folders down (PERSON/SEQUENCE); none where the folder itself is one."""
    marks = ("transforms.json", "imgs")
    if any((folder / mark).exists() for mark in marks):
        return []
    found = {path.parent for depth in ("*", "*/*") for mark in marks for path in folder.glob(f"{depth}/{mark}")}
    return vhap.without_unions(sorted(found))


def _check_each(folder: Path, parts: list[Path], head: str | None, tracker: Path | None) -> Report:
    """One line for each good capture, and whatever the others have to be told."""
    from tqdm import tqdm

    findings, reports = [], []
    for part in tqdm(parts, unit="capture", desc="check", mininterval=1.0):
        name = str(part.relative_to(folder))
        try:
            report = check(part, head, tracker)
        except CaptureError as error:
            findings.append(Finding("unreadable", "problem", str(error), "mend it, or move it elsewhere"))
            continue
        reports.append(report)
        good = "; ".join(f.found for f in report.findings if f.topic in ("cameras", "frames", "overlay"))
        told = [f for f in report.findings if f.state == "problem" or f.topic == "left out"]
        findings += [replace(f, found=f"{name}: {f.found}") for f in told]
        if not report.problems:
            findings.append(Finding(name, "ok", good))
    if not reports:
        raise CaptureError(findings[0].found)
    sizes = frozenset().union(*(report.sizes for report in reports))
    findings.insert(0, Finding("format", "ok", f"a folder of {len(parts)} captures"))
    findings.insert(1, _one_size(sizes))
    tiles = [tile for report in reports for tile in report.tiles[:1]]
    return Report(folder, tuple(findings), tuple(tiles[:: -(-len(tiles) // sheet.MOST_TILES) or 1]), sizes)


def _one_size(sizes: frozenset[tuple[int, int]]) -> Finding:
    shown = f"pictures of {', '.join(f'{width}x{height}' for width, height in sorted(sizes))}"
    if len(sizes) <= 1:
        return Finding("sizes", "ok", shown)
    return Finding("sizes", "problem", shown, "training wants one size: export all captures at one scale")


def _head(folder: Path, kind: Kind, name: str | None) -> tuple[Head, str | None, list[Finding]]:
    """The head, the edition that the folder itself states, and findings on the way."""
    if kind != "capture":
        return head_for(kind, name)[0], None, []
    capture = Capture.open(folder)
    named = capture.info.get("head", {})
    model = shared_head(name) if name else _named_head(capture, named)
    if named.get("hash") not in (None, model.hash) and named.get("edition") in (None, model.edition):
        seen = f"the capture was made with head {named['hash']} ({named.get('name')}), not {model.hash}"
        return model, None, [Finding("wrong FLAME edition", "problem", seen, "pass that head with --head")]
    return model, named.get("edition"), []


def _named_head(capture: Capture, named: dict) -> Head:
    if "name" not in named:
        raise CaptureError(f"{capture.folder / 'realhead.json'} names no head: pass its file with --head.")
    source = named.get("source", named["name"])
    if source != "open" and not Path(source).is_file():
        found = find_edition(str(named.get("edition")))
        if found is None:
            raise CaptureError(f"The head of {capture.folder}, {source}, is not here: name its file with --head.")
        source = str(found)
    return shared_head(source)


def examine(recording: Recording, kind: Kind, stated: str | None = None, early: list[Finding] | None = None) -> Report:
    """Checks what a reader returned.

    Args:
        recording: The recording.
        kind: Its format.
        stated: The FLAME edition that the folder itself names.
        early: Findings that precede the others.
    """
    head, findings = recording.head, list(early or [])
    total = len(recording.frames) + len(recording.broken)
    if not recording.frames:
        findings += inventory.broken(recording.broken, total)
        findings.append(Finding("frames", "problem", "none can be used", "see what is left out, and why"))
        return Report(recording.folder, tuple(findings))
    damaged, bad = inventory.unreadable(recording)
    recording.shots = [shot for shot in recording.shots if (shot.timestep, shot.camera.name) not in bad]
    exhibits, undecoded = gather(recording, choose(recording))
    if recording.shots:
        findings += inventory.inventory(recording)
    findings += inventory.broken([*recording.broken, *damaged, *undecoded], max(total, len(recording.shots) + len(bad)))
    wrong_edition = faults.editions(head, edition_for(kind), stated)
    findings += wrong_edition
    if kind != "insta":
        capture = Capture.open(recording.folder, head)
        findings += faults.offset_rows(inventory.offset_rows(capture), head)
        findings.append(Finding("expressions", "ok", f"their maps are made of {expression_source([capture])}"))
    turned, unusable = faults.rotations(recording.frames)
    findings += turned
    findings += faults.masks(exhibits, recording.frames, head)
    if not unusable and not any(f.state == "problem" for f in wrong_edition):
        seen, _ = faults.overlay(exhibits, recording.frames, head, _other_heads(head))
        if not any(f.topic in faults.FAULTS for f in seen):
            steps = faults.steps(exhibits, recording.frames, head)
            if any(f.state == "problem" for f in steps):  # then that is why the overlay is poor
                seen = [f for f in seen if f.state != "problem"]
            seen += steps
        findings += seen
    sizes = frozenset((shot.camera.width, shot.camera.height) for shot in recording.shots)
    return Report(recording.folder, tuple(findings), sheet.overlays(exhibits, recording.frames, head), sizes)


def _other_heads(head: Head) -> list[Head]:
    """The user's FLAME files of other editions, to see whether one of them fits better."""
    if head.edition is None:
        return []
    others = {}
    for path in user_files():
        try:
            other = shared_head(str(path))
        except RealheadError as error:
            log.warning("%s", error)
            continue
        if other.edition not in (None, head.edition):
            others.setdefault(other.edition, other)
    return list(others.values())
