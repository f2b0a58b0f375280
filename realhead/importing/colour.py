"""NeRSemble's colour calibration: a polynomial of linear RGB per camera (Cheung, Westland, Connah, Ripamonti, 2004).

Pictures are decoded from sRGB to linear light, every pixel's terms are multiplied by the camera's matrix, and the
result is encoded again. A matrix of three columns is a plain linear one.
"""

from __future__ import annotations

import numpy as np

from realhead.errors import CaptureError

# Exponents of (R, G, B) of each term, in the order of Cheung et al.'s polynomials by number of terms.
_R, _G, _B, _1 = (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)
_RG, _RB, _GB, _RGB = (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)
_R2, _G2, _B2 = (2, 0, 0), (0, 2, 0), (0, 0, 2)
_R3, _G3, _B3 = (3, 0, 0), (0, 3, 0), (0, 0, 3)
_LINEAR, _MIXED, _SQUARES, _CUBES = (_R, _G, _B), (_RG, _RB, _GB), (_R2, _G2, _B2), (_R3, _G3, _B3)
_R2G, _G2B, _B2R, _R2B, _G2R, _B2G = (2, 1, 0), (0, 2, 1), (1, 0, 2), (2, 0, 1), (1, 2, 0), (0, 1, 2)
_SECOND = (*_LINEAR, *_MIXED, *_SQUARES)
_CYCLE, _OTHER_CYCLE = (_R2G, _G2B, _B2R), (_R2B, _G2R, _B2G)
TERMS: dict[int, tuple[tuple[int, int, int], ...]] = {
    3: _LINEAR,
    4: (*_LINEAR, _1),
    5: (*_LINEAR, _RGB, _1),
    7: (*_LINEAR, *_MIXED, _1),
    8: (*_LINEAR, *_MIXED, _RGB, _1),
    10: (*_SECOND, _1),
    11: (*_SECOND, _RGB, _1),
    14: (*_SECOND, _RGB, *_CUBES, _1),
    16: (*_SECOND, _RGB, *_CYCLE, *_CUBES),
    17: (*_SECOND, _RGB, *_CYCLE, *_CUBES, _1),
    19: (*_SECOND, _RGB, *_CYCLE, *_OTHER_CYCLE, *_CUBES),
    20: (*_SECOND, _RGB, *_CYCLE, *_OTHER_CYCLE, *_CUBES, _1),
    22: (*_SECOND, _RGB, *_CYCLE, *_OTHER_CYCLE, *_CUBES, (2, 1, 1), (1, 2, 1), (1, 1, 2)),
}


def correct(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A camera's picture with the colours of the reference chart.

    Args:
        image: uint8 [H, W, 3], sRGB.
        matrix: [3, number of terms].

    Raises:
        CaptureError: The matrix has a number of columns that no polynomial has, or is not finite.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or len(matrix) != 3 or matrix.shape[1] not in TERMS or not np.isfinite(matrix).all():
        raise CaptureError(
            f"A colour calibration of shape {list(matrix.shape)} is unknown: NeRSemble's are finite, with 3 rows and "
            f"{', '.join(map(str, TERMS))} columns."
        )
    linear = _LINEAR_OF_BYTE[image].reshape(-1, 3)
    terms = np.stack([_term(linear, exponents) for exponents in TERMS[matrix.shape[1]]])
    corrected = (matrix.astype(np.float32) @ terms).T.reshape(image.shape)
    return (encoded(np.clip(corrected, 0, 1)) * 255 + 0.5).astype(np.uint8)


def _term(linear: np.ndarray, exponents: tuple[int, int, int]) -> np.ndarray:
    value = np.ones(len(linear), np.float32)
    for channel, exponent in enumerate(exponents):
        for _ in range(exponent):
            value = value * linear[:, channel]
    return value


def decoded(encoded_values: np.ndarray) -> np.ndarray:
    """sRGB to linear light, both in [0, 1] (IEC 61966-2-1)."""
    values = np.asarray(encoded_values)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB, both in [0, 1]."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)


_LINEAR_OF_BYTE = decoded(np.arange(256) / 255).astype(np.float32)
