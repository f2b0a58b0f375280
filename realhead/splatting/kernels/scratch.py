"""The scratch of a group of W Gaussians: their rows of memory, transposed, so that a Vector holds one word of each.

Inputs are read, and gradients written, in memory order: gathering 192-byte rows of SH coefficients in any other order
would cost more than the arithmetic. A slot is the place of one Vector.
"""

from __future__ import annotations

from realhead.splatting.kernels import records as rec
from realhead.splatting.kernels.jit import inlined
from realhead.splatting.kernels.memory import transpose, transpose_add

# Reading a short row fills more of the scratch than its own place, up to 16 Vectors, so what comes next in the scratch
# is read later.
S_MEAN, S_SHAPE, S_BASIS, S_COLOR, S_SPARE, FORWARD_SIZE = 0, 3, 14, 30, 78, 94
S_RECORD, S_GRADIENT, S_MEAN2D, S_BASIS_GRADIENT, S_CAMERA, BACKWARD_SIZE = 94, 110, 126, 142, 158, 173


@inlined
def read_rows(lanes, source, first, stride, count, scratch, slot):
    """scratch[(slot + j) W + l] = source[(first + l) stride + j] for j < count: a row of each of W Gaussians.

    Rows shorter than W are read W long all the same (and written so): see `whole_groups`.
    """
    width = len(lanes)
    done = 0
    while done < count:  # the last block may overlap the one before
        start = max(min(done, count - width), 0)
        transpose(lanes, source, first * stride + start, stride, scratch, (slot + start) * width, width)
        done = start + width


@inlined
def write_rows(lanes, scratch, slot, target, first, stride, count, add):
    """target[(first + l) stride + j] = scratch[(slot + j) W + l] for j < count, or += with `add`."""
    width = len(lanes)
    done = 0
    while done < count:
        if count - done < width:
            for lane in range(width):
                place, value = (first + lane) * stride + done, scratch[(slot + done) * width + lane]
                target[place] = target[place] + value if add else value
            done += 1
        elif add:
            transpose_add(lanes, scratch, (slot + done) * width, width, target, first * stride + done, stride)
            done += width
        else:
            transpose(lanes, scratch, (slot + done) * width, width, target, first * stride + done, stride)
            done += width


@inlined
def whole_groups(count, chunk, width):
    """Up to where the Gaussians of a chunk are worked on W at a time; the others one by one.

    The last W / 2 of all are among the others, so that reading W words from a row of two stays inside the array.
    """
    first, last = chunk * rec.CHUNK, min(count - width // 2, (chunk + 1) * rec.CHUNK)
    return first + max(last - first, 0) // width * width
