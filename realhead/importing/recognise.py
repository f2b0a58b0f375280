"""Whose folder is this? Told by what lies in it, never by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from realhead.capture.files import read_json
from realhead.errors import CaptureError
from realhead.head import shared_head
from realhead.head.flame_editions import find_edition
from realhead.head.model import Head
from realhead.importing import insta, vhap
from realhead.importing.recording import Recording
from realhead.importing.tracker_files import frame_files

Kind = Literal["capture", "vhap", "insta", "nersemble"]


def recognise(folder: Path) -> Kind:
    """The format of a folder.

    Raises:
        CaptureError: It is none that is known; the sentence says what to point at instead.
    """
    if not folder.is_dir():
        raise CaptureError(f"{folder} is no folder: name the folder of a capture, an export or a recording.")
    if (folder / "realhead.json").is_file():
        return "capture"
    if (folder / "imgs").is_dir():
        return "insta"
    if (folder / "transforms.json").is_file():
        frames = read_json(folder / "transforms.json").get("frames")
        first = frames[0] if isinstance(frames, list) and frames and isinstance(frames[0], dict) else {}
        return "vhap" if "flame_param_path" in first or "camera_index" in first else "insta"
    if (folder / "metadata_sequences.csv").is_file() or any(folder.glob("*/calibration/camera_params.json")):
        return "nersemble"
    if frame_files(folder):
        raise CaptureError(
            f"{folder} holds metrical-tracker's .frame files without pictures: name the actor's folder of INSTA or "
            "FlashAvatar, and this one with --tracker."
        )
    return _no_export(folder)


def _no_export(folder: Path) -> Kind:
    vhap.exports(folder)  # raises with the reason, unless exports lie one folder down
    return "vhap"


def edition_for(kind: Kind) -> str | None:
    """The FLAME edition whose coefficients a format holds."""
    return {"vhap": vhap.EDITION, "nersemble": vhap.EDITION, "insta": insta.EDITION}.get(kind)


def head_for(kind: Kind, name: str | None) -> tuple[Head, Path | None]:
    """The head that a foreign folder needs, and its file.

    Args:
        kind: The format.
        name: "open", a path, or None for the user's file of the right edition in REALHEAD_ASSETS.

    Raises:
        CaptureError: None was named and none is found.
    """
    if name is None:
        edition = edition_for(kind)
        found = find_edition(edition) if edition else None
        if found is None:
            raise CaptureError(
                f"The coefficients of this format are FLAME {edition}'s, and REALHEAD_ASSETS holds no such file: "
                "download it from flame.is.tue.mpg.de and name it with --head, or put it there."
            )
        name = str(found)
    return shared_head(name), None if name == "open" else Path(name)


def require_edition(head: Head, kind: Kind, stated: str | None) -> None:
    """Refuses to mix editions: their meshes agree, their coefficients do not.

    Args:
        head: The head that would be used.
        kind: The format.
        stated: The edition that the user vouches for, when the head's file is not recognised.

    Raises:
        CaptureError: The head is of another edition, or of an unknown one.
    """
    wanted = edition_for(kind)
    if head.name == "open" or wanted is None or stated == (edition := head.edition) == wanted:
        return
    if edition is None and stated is None:
        raise CaptureError(
            f"'{head.name}' is no FLAME file that is known by its content: if you are sure that it is FLAME {wanted}, "
            f"say --edition {wanted}."
        )
    if (edition or stated) != wanted and stated != wanted:
        raise CaptureError(
            f"This folder's coefficients are FLAME {wanted}'s, but '{head.name}' is FLAME {edition or stated}: pass "
            f"FLAME {wanted} with --head (or say --edition {wanted} if the parameters were made with it)."
        )


def read_any(folder: Path, head: Head, kind: Kind, tracker: Path | None = None, last: int = 600) -> Recording:
    """Reads a folder of a known format.

    Args:
        folder: The folder.
        head: The head of its parameters.
        kind: Its format.
        tracker: INSTA only: folder of the .frame files.
        last: INSTA only: frames at the end that test.
    """
    if kind == "insta":
        return insta.read_insta(folder, head, tracker, last)
    return vhap.read_vhap(folder, head)
