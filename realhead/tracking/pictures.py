"""Photographs as they come: turned by EXIF, grey, 16 bits, CMYK, with alpha, damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realhead.errors import TrackingError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"})
LARGEST_SIDE = 4096
"""Larger photographs are reduced to it: no crop of a head needs more."""
_FOCAL_35MM = 41989
_EXIF_SUBFOLDER = 0x8769


@dataclass(frozen=True)
class Picture:
    """A decoded photograph.

    Attributes:
        image: sRGB as stored, upright, uint8 [H, W, 3].
        alpha: Straight alpha uint8 [H, W] if the file brings one that is not opaque everywhere, else None.
        name: File name, for messages.
        focal: Focal length in pixels if the camera noted it, else None.
    """

    image: np.ndarray
    alpha: np.ndarray | None
    name: str
    focal: float | None = None


def read_picture(path: str | Path) -> Picture:
    """Reads a photograph.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or AVIF; HEIC where the package pillow-heif is installed.

    Raises:
        TrackingError: The file is absent, damaged, too large or of an unknown kind.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise TrackingError(f"{path} does not exist: give the path of a photograph.")
    if path.suffix.lower() in (".heic", ".heif"):
        _allow_heic(path)
    try:
        with Image.open(path) as opened:
            focal_35mm = opened.getexif().get_ifd(_EXIF_SUBFOLDER).get(_FOCAL_35MM)
            upright = ImageOps.exif_transpose(opened)
            if max(upright.size) > LARGEST_SIDE:
                upright.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
            image, alpha = _decode(upright)
    except UnidentifiedImageError as error:
        raise TrackingError(f"{path} is not a picture that can be read: save it as JPEG or PNG.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrackingError(f"{path} is damaged or too large ({error}): save it again as JPEG or PNG.") from error
    focal = None
    if isinstance(focal_35mm, int) and 8 <= focal_35mm <= 600:
        # A 35 mm frame is 36 x 24 mm; the "equivalent" compares diagonals.
        focal = focal_35mm / np.hypot(36, 24) * float(np.hypot(*image.shape[:2]))
    return Picture(image, alpha, path.name, focal)


def _decode(picture) -> tuple[np.ndarray, np.ndarray | None]:
    """Any mode of Pillow to 8-bit RGB and alpha."""
    from PIL import Image

    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        # Pillow clips 16 bits when it converts them; they are scaled here.
        values = np.asarray(picture).astype(np.float64)
        top = 65535.0 if picture.mode != "F" or values.max() > 255 else (255.0 if values.max() > 1 else 1.0)
        picture = Image.fromarray(np.clip(values / top * 255, 0, 255).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        rgba = np.asarray(picture.convert("RGBA"))
        alpha = rgba[..., 3]
        return np.ascontiguousarray(rgba[..., :3]), None if (alpha == 255).all() else np.ascontiguousarray(alpha)
    return np.array(picture.convert("RGB")), None


def _allow_heic(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise TrackingError(
            f"{path} is a HEIC picture and no reader for it is installed: run `pip install pillow-heif` or save it "
            "as JPEG."
        ) from error
    pillow_heif.register_heif_opener()
