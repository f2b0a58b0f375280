"""What keeps a recorded animation of splats small: rounding, holding still, and rigid motion.

A splat is 32 bytes (viser's layout): three float32 of centre in centimetres, one spare word, six float16 of covariance,
four bytes of colour and opacity. Rounded numbers have few mantissa bits, and a row that has not changed is found again
by the compressor, so both cost little.
"""

from __future__ import annotations

import numpy as np

STEP_CENTIMETRES = 2.0**-7  # 0.08 mm: a tenth of a pixel at 50 cm in a 700-pixel window; a power of two, see above
HALF_MANTISSA_KEPT = 5  # of float16's 10 bits: covariances to 1.6 %
CHANGED_SHARE = 0.06  # a covariance entry that changed by less, relative to the largest one, is not sent again


class SplatState:
    """The bytes a browser holds, and how far a new state may differ before it is sent."""

    def __init__(self, buffer: np.ndarray) -> None:
        self.buffer = buffer
        self._quantise(slice(None))

    def _quantise(self, rows) -> None:
        centers = np.ascontiguousarray(self.buffer[rows, :3]).view(np.float32)
        rounded = np.round(centers / STEP_CENTIMETRES) * STEP_CENTIMETRES + np.float32(0.0)  # no negative zero
        self.buffer[rows, :3] = rounded.astype(np.float32).view(np.uint32)
        self.buffer[rows, 4:7] = _rounded_halves(np.ascontiguousarray(self.buffer[rows, 4:7]))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The state as viser's `add_gaussian_splats` takes it: centers, covariances, rgbs and opacities (uint8)."""
        centers = np.ascontiguousarray(self.buffer[:, :3]).view(np.float32)
        halves = np.ascontiguousarray(self.buffer[:, 4:7]).view(np.float16).astype(np.float32)
        covariances = halves[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
        rgba = np.ascontiguousarray(self.buffer[:, 7]).view(np.uint8).reshape(-1, 4)
        return centers, covariances, rgba[:, :3], rgba[:, 3:]

    def advance(self, new: np.ndarray) -> np.ndarray:
        """Take over what differs visibly in `new` [N, 8]; returns the buffer to send."""
        old_centers, new_centers = (np.ascontiguousarray(b[:, :3]).view(np.float32) for b in (self.buffer, new))
        moved = np.abs(old_centers - new_centers).max(1) > STEP_CENTIMETRES
        old_half, new_half = (
            np.ascontiguousarray(b[:, 4:7]).view(np.float16).astype(np.float32) for b in (self.buffer, new)
        )
        reshaped = np.abs(old_half - new_half).max(1) > CHANGED_SHARE * np.abs(new_half).max(1)
        recoloured = _visibly_recoloured(self.buffer[:, 7], new[:, 7])
        for rows, columns in ((moved, slice(0, 3)), (reshaped, slice(4, 7)), (recoloured, slice(7, 8))):
            self.buffer[rows, columns] = new[rows, columns]
        self._quantise(np.flatnonzero(moved | reshaped))
        return self.buffer


def rigid_motion(before: np.ndarray, after: np.ndarray, rounds: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The rotation [3, 3] and shift [3] that most points follow: `after ~ before @ rotation.T + shift`.

    Least squares (Kabsch), repeated with the points that do not follow weighted down, so that a moving jaw or a still
    neck does not tilt the skull.
    """
    weights = np.ones(len(before))
    rotation, shift = np.eye(3), np.zeros(3)
    for _ in range(rounds):
        share = weights / weights.sum()
        a, b = share @ before, share @ after
        u, _, vt = np.linalg.svd(((before - a) * share[:, None]).T @ (after - b))
        sign = np.sign(np.linalg.det(u @ vt))
        rotation = (u * [1.0, 1.0, sign] @ vt).T
        shift = b - rotation @ a
        residual = np.linalg.norm(before @ rotation.T + shift - after, axis=1)
        weights = 1.0 / (1.0 + (residual / max(np.median(residual), 1e-5)) ** 2) ** 2
    return rotation, shift


def _rounded_halves(words: np.ndarray) -> np.ndarray:
    """float16 pairs [*, 3] uint32 rounded to HALF_MANTISSA_KEPT bits of mantissa."""
    bits = words.view(np.uint16).astype(np.uint32)
    drop = 10 - HALF_MANTISSA_KEPT
    rounded = np.where((bits & 0x7FFF) < 0x7B00, bits + (1 << (drop - 1)), bits) & ~np.uint32((1 << drop) - 1)
    return rounded.astype(np.uint16).view(np.uint32)


def _visibly_recoloured(old: np.ndarray, new: np.ndarray, step: int = 3) -> np.ndarray:
    """Rows whose red, green, blue or opacity moved by more than `step` of 255."""
    channels = [np.ascontiguousarray(word).view(np.uint8).reshape(-1, 4).astype(np.int16) for word in (old, new)]
    return np.abs(channels[0] - channels[1]).max(1) > step
