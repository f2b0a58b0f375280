"""How Vectors meet memory: loads, stores, transposes, sums over lanes, and prefetching.

Arrays are C-contiguous and indexed flat, without Python's negative indices: that check costs more than the load. With
`NUMBA_BOUNDSCHECK=1` every access is checked, as Numba does for its own.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from realhead.splatting.kernels.simd import VectorType, as_vector, call, constant, llvm

INT32 = ir.IntType(32)


def element(context, builder, kinds, values, length=1):
    """Address of the element at (array, flat index); with bounds checking, `length` elements must lie in the array."""
    array = context.make_array(kinds[0])(context, builder, values[0])
    index = context.cast(builder, values[1], kinds[1], types.intp)
    if config.BOUNDSCHECK:
        last = builder.sub(array.nitems, ir.Constant(index.type, length))
        inside = builder.and_(
            builder.icmp_signed(">=", index, ir.Constant(index.type, 0)), builder.icmp_signed("<=", index, last)
        )
        with builder.if_then(builder.not_(inside), likely=False):
            context.call_conv.return_user_exc(builder, IndexError, ("a kernel left its array",))
    return builder.gep(array.data, [index])


def load_vector(builder, address, width):
    value = builder.load(builder.bitcast(address, llvm(width).as_pointer()))
    value.align = 4
    return value


def store_vector(builder, value, address):
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 4


@intrinsic
def get(typing, array, index):
    """array[index] without a test for negative indices."""

    def lower(context, builder, sig, args):
        return builder.load(element(context, builder, sig.args, args))

    return array.dtype(array, index), lower


@intrinsic
def splat(typing, lanes, value):
    """A number in all lanes."""

    def lower(context, builder, sig, args):
        return as_vector(context, builder, args[1], sig.args[1], lanes.count)

    return VectorType(lanes.count)(lanes, value), lower


@intrinsic
def iota(typing, lanes):
    """0, 1, 2, ..."""

    def lower(context, builder, sig, args):
        return ir.Constant(llvm(lanes.count), [float(lane) for lane in range(lanes.count)])

    return VectorType(lanes.count)(lanes), lower


@intrinsic
def load(typing, lanes, array, index):
    """W floats from array[index] on."""

    def lower(context, builder, sig, args):
        return load_vector(builder, element(context, builder, sig.args[1:], args[1:], lanes.count), lanes.count)

    return VectorType(lanes.count)(lanes, array, index), lower


@intrinsic
def store(typing, array, index, vector):
    """Writes W floats from array[index] on."""

    def lower(context, builder, sig, args):
        store_vector(builder, args[2], element(context, builder, sig.args, args, vector.width))
        return context.get_dummy_value()

    return types.void(array, index, vector), lower


@intrinsic
def any_lane(typing, mask):
    """Whether the mask holds anywhere."""

    def lower(context, builder, sig, args):
        bits = ir.IntType(mask.width)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(mask), lower


@intrinsic
def not_finite(typing, vector):
    """Whether any lane is NaN or infinite; by the bits, so that no floating-point flag can remove the test."""

    def lower(context, builder, sig, args):
        integers = llvm(vector.width, INT32)
        exponent = ir.Constant(integers, [0x7F800000] * vector.width)
        odd = builder.icmp_signed("==", builder.and_(builder.bitcast(args[0], integers), exponent), exponent)
        bits = ir.IntType(vector.width)
        return builder.icmp_unsigned("!=", builder.bitcast(odd, bits), ir.Constant(bits, 0))

    return types.boolean(vector), lower


@intrinsic
def prefetch(typing, array, index):
    """Asks for the cache line of array[index], which is needed a few rounds later."""

    def lower(context, builder, sig, args):
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(element(context, builder, sig.args, args), pointer)
        builder.call(function, [address, INT32(0), INT32(3), INT32(1)])  # read, all cache levels, data
        return context.get_dummy_value()

    return types.void(array, index), lower


def _zip(builder, x, y, size):
    """One stage of a transpose: swaps the off-diagonal `size` x `size` blocks of each pair of rows.

    Sizes 1 and 2 use the in-lane order of x86's unpack instructions: one instruction each instead of two.
    """
    width = x.type.count
    first, second = [], []
    for lane in range(width):
        block, inside = lane & ~3, lane & 3
        if size == 1:  # unpacklo/hi of single floats
            first.append(block + (inside >> 1) + (width if inside & 1 else 0))
            second.append(first[-1] + 2)
        elif size == 2:  # unpacklo/hi of pairs
            first.append(block + (inside & 1) + (width if inside & 2 else 0))
            second.append(first[-1] + 2)
        else:
            first.append((lane & ~size) + (width if lane & size else 0))
            second.append(first[-1] + size)
    pick = llvm(width, INT32)
    return tuple(builder.shuffle_vector(x, y, ir.Constant(pick, order)) for order in (first, second))


def _transposed(builder, rows):
    """W vectors whose lane l of vector j is lane j of rows[l]."""
    width, rows = len(rows), list(rows)
    if width == 1:
        return rows
    for start in range(0, width, 4):
        a, b, c, d = rows[start : start + 4]
        (ab0, ab1), (cd0, cd1) = _zip(builder, a, b, 1), _zip(builder, c, d, 1)
        rows[start : start + 4] = [*_zip(builder, ab0, cd0, 2), *_zip(builder, ab1, cd1, 2)]
    size = 4
    while size < width:
        for low in (row for row in range(width) if not row & size):
            rows[low], rows[low + size] = _zip(builder, rows[low], rows[low + size], size)
        size *= 2
    return rows


def _make_transpose(accumulate):
    """Copies a W x W block: target[t + j * t_stride + l] = source[s + l * s_stride + j], or adds it to the target."""

    def lower(context, builder, sig, args):
        width = sig.args[0].count

        def address(first, row):
            start = context.cast(builder, args[first + 1], sig.args[first + 1], types.intp)
            stride = context.cast(builder, args[first + 2], sig.args[first + 2], types.intp)
            index = builder.add(start, builder.mul(stride, ir.Constant(stride.type, row)))
            return element(context, builder, (sig.args[first], types.intp), (args[first], index), width)

        rows = [load_vector(builder, address(1, row), width) for row in range(width)]
        for row, vector in enumerate(_transposed(builder, rows)):
            target = address(4, row)
            if accumulate:
                total = builder.fadd(vector, load_vector(builder, target, width))
                store_vector(builder, total, target)
            else:
                store_vector(builder, vector, target)
        return context.get_dummy_value()

    def typed(typing, lanes, source, s, s_stride, target, t, t_stride):
        return types.void(lanes, source, s, s_stride, target, t, t_stride), lower

    return intrinsic(typed)


transpose = _make_transpose(accumulate=False)
transpose_add = _make_transpose(accumulate=True)


def _lane_sums(builder, vectors):
    """Sums W vectors over their lanes into one vector: a transpose that adds instead of keeping both halves."""
    vectors, size = list(vectors), 1
    while len(vectors) > 1:
        pairs = zip(vectors[0::2], vectors[1::2], strict=True)
        vectors = [builder.fadd(*_zip(builder, x, y, size)) for x, y in pairs]
        size *= 2
    return vectors[0]


@intrinsic
def store_sums(typing, array, index, vectors):
    """Writes the sum over lanes of each Vector of a tuple to array[index], array[index + 1], ...

    What lies behind, up to a multiple of W words, may be overwritten.
    """
    width = vectors.dtype.width

    def lower(context, builder, sig, args):
        address = element(context, builder, sig.args, args, vectors.count)
        values = cgutils.unpack_tuple(builder, args[2], vectors.count)
        for first in range(0, vectors.count, width):
            group = values[first : first + width]
            target = cgutils.gep_inbounds(builder, address, first)
            if width > 1 and len(group) > 2:
                group += [constant(width, 0.0)] * (width - len(group))
                store_vector(builder, _lane_sums(builder, group), target)
                continue
            for position, value in enumerate(group):
                arguments = [ir.Constant(ir.FloatType(), 0.0), value]
                name = f"llvm.vector.reduce.fadd.v{width}f32"
                total = call(builder, name, ir.FloatType(), arguments, fastmath=("reassoc", "nsz"))
                builder.store(total, cgutils.gep_inbounds(builder, target, position))
        return context.get_dummy_value()

    return types.void(array, index, vectors), lower


@intrinsic
def store_pairs(typing, array, index, first, second):
    """Writes first[0], second[0], first[1], second[1], ... from array[index] on."""
    width = first.width

    def lower(context, builder, sig, args):
        address = element(context, builder, sig.args, args, 2 * width)
        for half in range(2):
            order = [half * width // 2 + lane // 2 + lane % 2 * width for lane in range(width)]
            if width == 1:
                order = [half]
            mixed = builder.shuffle_vector(args[2], args[3], ir.Constant(llvm(width, INT32), order))
            store_vector(builder, mixed, cgutils.gep_inbounds(builder, address, half * width))
        return context.get_dummy_value()

    return types.void(array, index, first, second), lower
