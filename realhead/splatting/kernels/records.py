"""The record of a projected Gaussian: 16 words of 4 bytes, one cache line, all that compositing reads.

The exponent is in powers of two, alpha = opacity 2^(QA dx^2 + QB dx dy + QC dy^2); boxes are inclusive pixel intervals,
low + 65536 high; a Gaussian that is not drawn has the empty interval 1..0.
"""

from __future__ import annotations

from numba import njit

MX, MY = 0, 1  # projected mean, pixels
QA, QB, QC = 2, 3, 4
OPACITY = 5
RATIO = 6  # 2^(2 QC)
BOX_X, BOX_Y = 7, 8  # int32
SLOT = 9  # int32: first gradient slot of this Gaussian, counted from its chunk's
COLOR = 10  # three words
DEPTH = 13
COMPENSATION = 14  # factor of the opacity in antialiased mode
SIZE = 16
CHUNK = 1024  # Gaussians that are projected as one piece of work, whatever the number of threads
EMPTY = 1  # packed interval 1..0


@njit(inline="always")
def tile_span(packed, size):
    """First and last tile that a packed interval touches; last < first where it is empty."""
    low, high = packed & 65535, packed >> 16
    if high < low:
        return 1, 0
    return low // size, high // size


@njit(inline="always")
def slot_of(words, bases, k, box_x, box_y, tile_x, tile_y, tile_w, tile_h):
    """The gradient slot of (Gaussian, tile): a Gaussian's slots are consecutive, row by row of its tiles."""
    first_x, last_x = tile_span(box_x, tile_w)
    first_y, _ = tile_span(box_y, tile_h)
    inside = (tile_y - first_y) * (last_x - first_x + 1) + tile_x - first_x
    return bases[k // (SIZE * CHUNK)] + words[k + SLOT] + inside
