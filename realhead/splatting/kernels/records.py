"""The record of a projected Gaussian: 16 words of 4 bytes, one cache line, all that compositing reads.

The exponent is in powers of two, alpha = opacity 2^(QA dx^2 + QB dx dy + QC dy^2); boxes are inclusive pixel intervals,
low + 65536 high; a Gaussian that is not drawn has the empty interval 1..0.

Gradients come in rows of the same 16 words, with three differences: QA, QB and QC stand for the exponent in nats (which
saves a factor), OPACITY for its logarithm, and the words after the colours are not used. A Gaussian's first tile writes
the row of the Gaussian itself; what further tiles add goes to extra rows behind those, which `gather` adds up.
"""

from __future__ import annotations

from realhead.splatting.kernels.jit import inlined

MX, MY = 0, 1  # projected mean, pixels
QA, QB, QC = 2, 3, 4
OPACITY = 5
COLOR = 6  # up to three features, then the depth if it is drawn
RATIO = 10  # 2^(2 QC)
BOX_X, BOX_Y = 11, 12  # int32
EXTRA = 13  # int32: its first extra gradient row, counted from those of its chunk
COMPENSATION = 14  # factor of the opacity in antialiased mode
DEPTH = 15
SIZE = 16
CHUNK = 1024  # Gaussians that are projected as one piece of work, whatever the number of threads
TILE_W_BITS, TILE_H_BITS = 6, 5
TILE_W, TILE_H = 1 << TILE_W_BITS, 1 << TILE_H_BITS  # pixels: the planes of a tile fit the cache next to a core


@inlined
def tile_box(box_x, box_y):
    """First and last tile that a Gaussian touches in x and in y; last x < first x where it is not drawn."""
    if (box_x >> 16) < (box_x & 65535):
        return 1, 0, 1, 0
    first_x, last_x = (box_x & 65535) >> TILE_W_BITS, box_x >> (16 + TILE_W_BITS)
    return first_x, last_x, (box_y & 65535) >> TILE_H_BITS, box_y >> (16 + TILE_H_BITS)


@inlined
def nth_tile(box_x, box_y, left, top):
    """Where the tile with this corner comes among those of a Gaussian, counted row by row."""
    first_x, last_x, first_y, _ = tile_box(box_x, box_y)
    row = (top >> TILE_H_BITS) - first_y
    return row * (last_x - first_x + 1) + (left >> TILE_W_BITS) - first_x
