"""Which NeRSemble participants and sequences make the training set: a file that users may change."""

from __future__ import annotations

import csv
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from realhead.capture.files import MAX_JSON_BYTES, read_json, require_file
from realhead.errors import CaptureError

log = logging.getLogger(__name__)

DEFAULT = Path(__file__).resolve().parents[2] / "data" / "nersemble_split.json"
PARTICIPANT = re.compile(r"\d{3}")


@dataclass(frozen=True)
class NersembleSplit:
    """A resolved choice.

    Attributes:
        train: Participants to train on.
        test: Participants held out.
        sequences: Sequences of each.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    sequences: tuple[str, ...]


def read_split_file(path: Path | None) -> dict:
    """The split file's content, checked.

    Raises:
        CaptureError: A key is absent or of another kind.
    """
    path = path or DEFAULT
    content = read_json(path)
    for key in ("sequences", "test"):
        values = content.get(key)
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise CaptureError(f"{path} needs a list of names under '{key}': see data/nersemble_split.json.")
    train = content.get("train")
    first = train.get("first") if isinstance(train, dict) else None
    listed = isinstance(train, list) and all(isinstance(v, str) for v in train)
    if not listed and not (isinstance(first, int) and first > 0):
        raise CaptureError(f"{path} needs a list of participants, or {{'first': N}}, under 'train'.")
    bad = [v for v in [*content["test"], *(train if listed else [])] if not PARTICIPANT.fullmatch(v)]
    if bad or not all(re.fullmatch(r"[\w+-]+", name) for name in content["sequences"]):
        raise CaptureError(f"{path} names {bad[:1] or 'a sequence'} in a form that NeRSemble does not have, as '074'.")
    return content


def resolve(source: Path, path: Path | None = None) -> NersembleSplit:
    """The participants and sequences that a split file means, for a download.

    Args:
        source: NeRSemble's folder, with metadata_sequences.csv or at least participants' folders.
        path: The split file; data/nersemble_split.json when None.
    """
    content = read_split_file(path)
    complete = participants(source, tuple(content["sequences"]))
    test = tuple(p for p in content["test"] if p in complete)
    if absent := sorted(set(content["test"]) - set(test)):
        log.warning("held-out participants that lack a sequence or were not downloaded: %s", ", ".join(absent))
    train = content["train"]
    if isinstance(train, dict):
        chosen = [p for p in complete if p not in content["test"]][: train["first"]]
        if len(chosen) < train["first"]:
            log.warning("%d of %d participants to train on are there", len(chosen), train["first"])
    else:
        chosen = [p for p in train if p in complete and p not in content["test"]]
        if absent := sorted(set(train) - set(chosen)):
            log.warning("left out of training (not there, incomplete, or held out): %s", ", ".join(absent))
    return NersembleSplit(tuple(chosen), test, tuple(content["sequences"]))


def participants(source: Path, sequences: tuple[str, ...]) -> list[str]:
    """Downloaded participants who have all of the sequences, in order."""
    here = sorted(p.name for p in source.iterdir() if p.is_dir() and PARTICIPANT.fullmatch(p.name))
    table = source / "metadata_sequences.csv"
    if table.is_file():
        marks = _marks(table)
        here = [p for p in here if all(marks.get(p, {}).get(s, "x") == "x" for s in sequences)]
    return [p for p in here if all((source / p / "sequences" / s).is_dir() for s in sequences)]


def _marks(table: Path) -> dict[str, dict[str, str]]:
    """Rows of metadata_sequences.csv by participant."""
    if require_file(table).stat().st_size > MAX_JSON_BYTES:
        raise CaptureError(f"{table} is larger than any list of participants; it is not read.")
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            return {row["ID"].zfill(3): row for row in csv.DictReader(stream) if row.get("ID")}
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaptureError(f"{table} is no table ({error}): download it again with nersemble-data.") from None
