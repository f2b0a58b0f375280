"""FLAME's editions: which one a file is, what its licence says, and where the user's files are.

All editions share their mesh, so that a mix-up looks plausible and ruins everything: coefficients of one mean nothing
to another. A file is recognised by its content; where that is unknown (a conversion, a new release), by the name that
the official download has, and the edition then counts as claimed.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Edition:
    """One official release.

    Attributes:
        name: As `Head.edition` has it.
        sha256: Of the official file (checksums that several public projects pin).
        stems: Names of the official files, without suffix, in lower case.
        licence: In a few words; the page of the download has the last word.
        used_by: Who stores coefficients of it.
    """

    name: str
    sha256: tuple[str, ...]
    stems: tuple[str, ...]
    licence: str
    used_by: str


EDITIONS = (
    Edition(
        "2023 Open",
        ("e75a0990728ba038c7da2a420ae4396f7ddd7781366c13026066c5b24f127623",),
        ("flame2023_open",),
        "CC-BY-4.0, commercial use included; UV template, masks and landmark files are not covered",
        "nobody's public coefficients yet; use it for your own tracking",
    ),
    Edition(
        "2023",
        ("8fb1af0db1abb51053ead8fd1f2624a63d01c9602f4a4fb4ea23bd2c82017fa0",),
        ("flame2023", "flame2023_no_jaw"),
        "non-commercial (Max Planck model licence)",
        "VHAP, GaussianAvatars, LAM, the NeRSemble benchmark",
    ),
    Edition(
        "2020",
        ("efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b",),
        ("generic_model", "flame2020"),
        "its page says research only, a public README of its authors says CC-BY-4.0: read the page",
        "metrical-tracker (INSTA), SMIRK, MICA, DECA, EMOCA",
    ),
)
NAMES = tuple(edition.name for edition in EDITIONS)
OPEN_2023 = (-5.570e-05, 7.513e-05, 1.0533e-04, 0.0488687, 0.0464305, 0.0498778)
"""Mean and standard deviation of 2023 Open's template (CC-BY-4.0), metres."""
FILES = ("flame2023_Open", "flame2023", "flame2023_no_jaw", "generic_model")
SUFFIXES = (".npz", ".pkl")


def edition_of(v_template: np.ndarray, path: Path) -> tuple[str | None, bool]:
    """Tells the edition of a file.

    Args:
        v_template: Template, [5023, 3].
        path: Where it came from.

    Returns:
        The edition or None, and whether the content proves it (otherwise the file's name claims it).
    """
    marks = np.concatenate([v_template.mean(0), v_template.std(0)])
    if np.abs(marks - OPEN_2023).max() < 2e-6:
        return "2023 Open", True
    digest = _sha256(path)
    for edition in EDITIONS:
        if digest in edition.sha256:
            return edition.name, True
    stem = path.stem.lower()
    return next((edition.name for edition in EDITIONS if stem in edition.stems), None), False


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def assets_folder() -> Path | None:
    """The folder that REALHEAD_ASSETS names, if it is there."""
    folder = os.environ.get("REALHEAD_ASSETS")
    return Path(folder).expanduser() if folder and Path(folder).expanduser().is_dir() else None


def user_files() -> list[Path]:
    """FLAME files under REALHEAD_ASSETS, or nothing where it is unset."""
    root = assets_folder()
    if root is None:
        return []
    names = [name + suffix for name in FILES for suffix in SUFFIXES]
    return sorted(path for name in names for path in root.rglob(name))


def find_edition(edition: str) -> Path | None:
    """The user's file of an edition in REALHEAD_ASSETS, by name (opening it proves it), or None."""
    stems = next((e.stems for e in EDITIONS if e.name == edition), ())
    found = [path for path in user_files() if path.stem.lower() in stems]
    return next((path for path in found if path.suffix == ".npz"), found[0] if found else None)
