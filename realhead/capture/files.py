"""Reading files that may come from strangers: bounded, without pickle, never outside the capture's folder."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from realhead.errors import CaptureError, OutsideError

MAX_JSON_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 256 * 2**20
MAX_ARCHIVE_MEMBERS = 1000
MAX_PIXELS = 64_000_000
LONGEST_NAME = 1024
PICTURE_FORMATS = ("PNG", "JPEG")
"""Pillow knows dozens of formats, some of which start other programs; captures use these two."""


def inside(folder: Path, relative: str) -> Path:
    """`folder / relative`, refused if it leaves the folder that holds the capture (union exports name their sibling).

    Raises:
        OutsideError: The path is absolute, or leaves the folder by '..' or by a symbolic link.
    """
    text = str(relative)
    try:
        path = folder / text
        leaves = (
            len(text) > LONGEST_NAME
            or Path(text).is_absolute()
            or not path.resolve().is_relative_to(folder.resolve().parent)
        )
    except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
        leaves = True
    if leaves:
        raise OutsideError(f"{folder / 'transforms.json'} names a file outside of its folder: {text[:200]!r}.")
    return path


def require_file(path: Path) -> Path:
    """The path, if an ordinary file is there: a pipe or a device would be read for ever.

    Raises:
        CaptureError: There is no such file.
    """
    if not path.is_file():
        raise CaptureError(f"{path} is absent or is no ordinary file; copy or export it again.")
    return path


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
        CaptureError: The file is absent, too large, no JSON, or no object.
    """
    if not path.is_file():
        raise CaptureError(f"{path} cannot be read as JSON (there is no such file); export it again.")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CaptureError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB, which no export is; it is not read.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except CaptureError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, or endless digits
        raise CaptureError(f"{path} cannot be read as JSON ({error}); export it again.") from error
    if not isinstance(content, dict):
        raise CaptureError(f"{path} holds no JSON object; export it again.")
    return content


def read_npz(path: Path, only: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; pickled objects are refused.

    Args:
        path: The file.
        only: Names to read; default: all.

    Raises:
        CaptureError: The file is absent, damaged, too large when unpacked, or holds pickled objects.
    """
    wanted = None if only is None else set(only)
    try:
        with zipfile.ZipFile(require_file(path)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARCHIVE_MEMBERS or sum(m.file_size for m in members) > MAX_ARRAY_BYTES:
                raise CaptureError(f"{path} unpacks to more than {MAX_ARRAY_BYTES >> 20} MiB; it is not read.")
            names = {m.filename.removesuffix(".npy"): m for m in members}
            return {k: _read_member(archive, m, path) for k, m in names.items() if wanted is None or k in wanted}
    except CaptureError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise CaptureError(f"{path} cannot be read ({error}); export it again.") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One .npy inside a zip archive. NumPy would believe the size in the header; here it must match the file's."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
        name = member.filename.removesuffix(".npy")
        if dtype.hasobject:
            raise CaptureError(f"'{name}' in {path} holds pickled objects, which are never opened; export it again.")
        count = math.prod(shape) * dtype.itemsize
        if not 0 <= count <= member.file_size:
            raise CaptureError(f"'{name}' in {path} claims the size {shape}, but is not that long; export it again.")
        content = stream.read(count)
    if len(content) != count:
        raise CaptureError(f"'{name}' in {path} ends too early; export it again.")
    flat = np.frombuffer(content, dtype).copy()
    return flat.reshape(shape, order="F" if fortran else "C")


def read_png(path: Path, channels: int) -> np.ndarray:
    """An 8-bit picture (PNG or JPEG) as uint8 [H, W, channels] (1, 3 or 4).

    Raises:
        CaptureError: The file is absent, damaged, or absurdly large.
    """
    from PIL import Image

    try:
        with Image.open(require_file(path), formats=PICTURE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise CaptureError(f"{path} has {image.width}x{image.height} pixels, too many to be read.")
            pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    except CaptureError:
        raise
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path} cannot be read as a picture ({error}); restore or remove this frame.") from error
    return pixels[..., None] if channels == 1 else pixels


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, from its head alone, if its end is there too.

    A copy that was cut short keeps its head; the last bytes tell without the work of decoding.

    Raises:
        CaptureError: The file is absent, damaged, cut short, or absurdly large.
    """
    from PIL import Image

    try:
        with Image.open(require_file(path), formats=PICTURE_FORMATS) as image:
            size, kind = image.size, image.format
        with path.open("rb") as stream:
            stream.seek(-min(64, path.stat().st_size), 2)
            tail = stream.read()
    except CaptureError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path} cannot be read as a picture ({error}); restore or remove this frame.") from error
    if (b"IEND" if kind == "PNG" else b"\xff\xd9") not in tail:
        raise CaptureError(f"{path} ends too early; restore or remove this frame.")
    if size[0] * size[1] > MAX_PIXELS:
        raise CaptureError(f"{path} has {size[0]}x{size[1]} pixels, too many to be read.")
    return size
