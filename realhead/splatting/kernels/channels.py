"""Operations over the D colour channels of a pixel block, unrolled when a kernel is compiled.

D is part of the type, as the lane width is: kernels take `channels`, a tuple of D zeros. A pixel block keeps one plane
per channel, `stride` floats apart, so that W neighbouring pixels of a channel are one Vector.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from realhead.splatting.kernels.memory import element, load_vector, store_vector
from realhead.splatting.kernels.simd import VectorType, as_vector, call, constant, llvm


def _multiply_add(builder, x, y, z):
    return call(builder, f"llvm.fmuladd.v{x.type.count}f32", x.type, [x, y, z])


def _plane(context, builder, sig, args, first, channel):
    """Address of the Vector of one channel; `first` is where (buffer, index, stride) begin among the arguments."""
    array, index, stride = args[first : first + 3]
    index = context.cast(builder, index, sig.args[first + 1], types.intp)
    stride = context.cast(builder, stride, sig.args[first + 2], types.intp)
    index = builder.add(index, builder.mul(stride, ir.Constant(stride.type, channel)))
    return element(context, builder, (sig.args[first], types.intp), (array, index))


@intrinsic
def splats(typing, lanes, channels, array, index):
    """array[index + c] in all lanes, a tuple of D Vectors."""
    result = types.UniTuple(VectorType(lanes.count), channels.count)

    def lower(context, builder, sig, args):
        values = []
        for channel in range(channels.count):
            place = builder.add(context.cast(builder, args[3], index, types.intp), ir.Constant(ir.IntType(64), channel))
            scalar = builder.load(element(context, builder, (array, types.intp), (args[2], place)))
            values.append(as_vector(context, builder, scalar, types.float32, lanes.count))
        return context.make_tuple(builder, result, values)

    return result(lanes, channels, array, index), lower


@intrinsic
def zeros(typing, lanes, channels):
    """A tuple of D Vectors of zeros."""
    result = types.UniTuple(VectorType(lanes.count), channels.count)

    def lower(context, builder, sig, args):
        return context.make_tuple(builder, result, [constant(lanes.count, 0.0)] * channels.count)

    return result(lanes, channels), lower


@intrinsic
def add_to_planes(typing, weight, values, buffer, index, stride):
    """plane[c] += weight * values[c] for each channel."""

    def lower(context, builder, sig, args):
        for channel in range(values.count):
            address = _plane(context, builder, sig, args, 2, channel)
            old = load_vector(builder, address, weight.width)
            value = builder.extract_value(args[1], channel)
            store_vector(builder, _multiply_add(builder, args[0], value, old), address)
        return context.get_dummy_value()

    return types.void(weight, values, buffer, index, stride), lower


@intrinsic
def dot_planes(typing, values, buffer, index, stride):
    """Sum over the channels of values[c] * plane[c]."""
    vector = values.dtype

    def lower(context, builder, sig, args):
        total = None
        for channel in range(values.count):
            plane = load_vector(builder, _plane(context, builder, sig, args, 1, channel), vector.width)
            value = builder.extract_value(args[0], channel)
            total = builder.fmul(value, plane) if total is None else _multiply_add(builder, value, plane, total)
        return total

    return vector(values, buffer, index, stride), lower


@intrinsic
def accumulate(typing, sums, weight, buffer, index, stride):
    """The tuple sums[c] + weight * plane[c]."""

    def lower(context, builder, sig, args):
        values = []
        for channel in range(sums.count):
            plane = load_vector(builder, _plane(context, builder, sig, args, 2, channel), weight.width)
            values.append(_multiply_add(builder, args[1], plane, builder.extract_value(args[0], channel)))
        return context.make_tuple(builder, sums, values)

    return sums(sums, weight, buffer, index, stride), lower


def _gathered(builder, sources, picks):
    """A Vector of sources[s][lane] for each (s, lane) of `picks`."""
    width, result = len(picks), None
    lanes = llvm(width, ir.IntType(32))
    for number, source in enumerate(sources):
        if all(s != number for s, _ in picks):
            continue
        if result is None:
            order = [lane if s == number else 0 for s, lane in picks]
            result = builder.shuffle_vector(source, source, ir.Constant(lanes, order))
        else:
            order = [lane + width if s == number else place for place, (s, lane) in enumerate(picks)]
            result = builder.shuffle_vector(result, source, ir.Constant(lanes, order))
    return result


@intrinsic
def load_pixels(typing, lanes, channels, array, index):
    """W pixels of D interleaved values from array[index] on, as a tuple of D Vectors."""
    result, width, depth = types.UniTuple(VectorType(lanes.count), channels.count), lanes.count, channels.count

    def lower(context, builder, sig, args):
        address = element(context, builder, sig.args[2:], args[2:], width * depth)
        blocks = [load_vector(builder, cgutils.gep_inbounds(builder, address, b * width), width) for b in range(depth)]
        values = []
        for channel in range(depth):
            flat = [pixel * depth + channel for pixel in range(width)]
            values.append(_gathered(builder, blocks, [(f // width, f % width) for f in flat]))
        return context.make_tuple(builder, result, values)

    return result(lanes, channels, array, index), lower


@intrinsic
def store_pixels(typing, array, index, values):
    """Writes a tuple of D Vectors as W pixels of D interleaved values from array[index] on."""
    width, depth = values.dtype.width, values.count

    def lower(context, builder, sig, args):
        address = element(context, builder, sig.args, args, width * depth)
        planes = cgutils.unpack_tuple(builder, args[2], depth)
        for block in range(depth):
            flat = [block * width + lane for lane in range(width)]
            mixed = _gathered(builder, planes, [(f % depth, f // depth) for f in flat])
            store_vector(builder, mixed, cgutils.gep_inbounds(builder, address, block * width))
        return context.get_dummy_value()

    return types.void(array, index, values), lower


@intrinsic
def load_planes(typing, lanes, channels, buffer, index, stride):
    """The tuple of plane[c]."""
    result = types.UniTuple(VectorType(lanes.count), channels.count)

    def lower(context, builder, sig, args):
        addresses = [_plane(context, builder, sig, args, 2, channel) for channel in range(channels.count)]
        return context.make_tuple(builder, result, [load_vector(builder, a, lanes.count) for a in addresses])

    return result(lanes, channels, buffer, index, stride), lower


@intrinsic
def store_planes(typing, values, buffer, index, stride):
    """plane[c] = values[c] for each channel."""

    def lower(context, builder, sig, args):
        for channel in range(values.count):
            value = builder.extract_value(args[0], channel)
            store_vector(builder, value, _plane(context, builder, sig, args, 1, channel))
        return context.get_dummy_value()

    return types.void(values, buffer, index, stride), lower


@intrinsic
def fma_tuples(typing, a, b, c):
    """The tuple a[i] * b[i] + c[i]; b may be one Vector for all i."""

    def lower(context, builder, sig, args):
        values = []
        for i in range(a.count):
            factor = builder.extract_value(args[1], i) if isinstance(b, types.UniTuple) else args[1]
            x, y = builder.extract_value(args[0], i), builder.extract_value(args[2], i)
            values.append(_multiply_add(builder, x, factor, y))
        return context.make_tuple(builder, a, values)

    return a(a, b, c), lower


@intrinsic
def dot_tuples(typing, a, b, start):
    """start + sum of a[i] * b[i]."""

    def lower(context, builder, sig, args):
        total = args[2]
        for i in range(a.count):
            total = _multiply_add(builder, builder.extract_value(args[0], i), builder.extract_value(args[1], i), total)
        return total

    return a.dtype(a, b, start), lower
