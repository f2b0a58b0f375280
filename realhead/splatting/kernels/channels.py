"""Operations over the D colour channels of a pixel block, unrolled when a kernel is compiled.

D is part of the type, as the lane width is: kernels take `channels`, a tuple of D zeros. A pixel block keeps one plane
per channel, `stride` floats apart, so that W neighbouring pixels of a channel are one Vector.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from realhead.splatting.kernels.memory import element, load_vector, store_vector
from realhead.splatting.kernels.simd import VectorType, as_vector, call, constant


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
