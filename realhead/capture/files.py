"""Reading files that may come from strangers: bounded, without pickle, never outside the capture's folder."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from realhead.errors import CaptureError

MAX_JSON_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 256 * 2**20
MAX_PIXELS = 64_000_000


def inside(folder: Path, relative: str) -> Path:
    """`folder / relative`, refused if it leaves the folder that holds the capture (union exports name their sibling).

    Raises:
        CaptureError: The path is absolute, or leaves the folder by '..' or by a symbolic link.
    """
    path = folder / str(relative)
    if Path(str(relative)).is_absolute() or not path.resolve().is_relative_to(folder.resolve().parent):
        raise CaptureError(f"{folder / 'transforms.json'} names a file outside of its folder: {str(relative)[:200]!r}.")
    return path


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
        CaptureError: The file is absent, too large, no JSON, or no object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CaptureError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB, which no export is; it is not read.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CaptureError(f"{path} cannot be read as JSON ({error}); export it again.") from error
    if not isinstance(content, dict):
        raise CaptureError(f"{path} holds no JSON object; export it again.")
    return content


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; pickled objects are refused.

    Raises:
        CaptureError: The file is absent, damaged, too large when unpacked, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_ARRAY_BYTES:
                raise CaptureError(f"{path} unpacks to more than {MAX_ARRAY_BYTES >> 20} MiB; it is not read.")
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except CaptureError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise CaptureError(f"{path} cannot be read ({error}); export it again.") from error


def read_png(path: Path, channels: int) -> np.ndarray:
    """An 8-bit picture as uint8 [H, W, channels] (1 or 3).

    Raises:
        CaptureError: The file is absent, damaged, or absurdly large.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise CaptureError(f"{path} has {image.width}x{image.height} pixels, too many to be read.")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except CaptureError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path} cannot be read as a picture ({error}); restore or remove this frame.") from error
    return pixels[..., None] if channels == 1 else pixels
