"""Explicit SIMD values for Numba: a `Vector` of W float32 lanes and the few operations that the kernels need.

LLVM's own vectorizer does badly on rows of 5 to 15 pixels, so the kernels say what is a vector. The width is part of
the *type*: kernels take an argument `lanes`, a tuple of W zeros, and Numba compiles (and caches on disk) each kernel
once for each width. W = 1 is plain scalar code from the same source; it also finishes what is left of a loop over W.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from realhead.splatting.kernels.jit import FAST

# 2^f on [-1/2, 1/2]: near-minimax polynomial of degree 5, relative error 7.5e-8 (fitted by reweighted least squares)
EXP2 = (1.0000001, 0.69314694, 0.2402212, 0.055507135, 0.009675541, 0.0013276467)
# log2(1 + t) / t for 1 + t in [2^-1/2, 2^1/2]: degree 7, absolute error of log2 5e-8
LOG2 = (1.4426948, -0.72135717, 0.48093945, -0.36008722, 0.28670746, -0.25006908, 0.23689032, -0.14574422)
ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds a float to the nearest integer, found in its low bits


def native_lanes() -> int:
    """Chooses the number of lanes for this processor.

    8 suit AVX2, and AVX-512 as well: boxes of 5 to 15 pixels waste half of 16 lanes. 4 suit NEON and SSE.
    """
    features = binding.get_host_cpu_features()
    triple = binding.get_default_triple()
    if features.get("avx2"):
        return 8
    return 4 if features.get("sse2") or triple.startswith(("aarch64", "arm64")) else 1


class VectorType(types.Type):
    """W lanes of float32 (kind "f") or of truth values (kind "m")."""

    def __init__(self, width: int, kind: str = "f"):
        self.width, self.kind = width, kind
        super().__init__(name=f"Vector({kind}{width})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """A Vector is an LLVM vector value."""

    def __init__(self, manager, kind):
        lane = ir.FloatType() if kind.kind == "f" else ir.IntType(1)
        super().__init__(manager, kind, ir.VectorType(lane, kind.width))


def llvm(width: int, lane=None) -> ir.VectorType:
    """The LLVM type of a Vector."""
    return ir.VectorType(lane or ir.FloatType(), width)


def constant(width: int, value: float) -> ir.Constant:
    """The same float32 in all lanes."""
    return ir.Constant(llvm(width), [float(np.float32(value))] * width)


def broadcast(builder, value, width):
    """Copies a scalar to all lanes."""
    undefined = ir.Constant(llvm(width), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(llvm(width, ir.IntType(32)), [0] * width))


def as_vector(context, builder, value, kind, width):
    """Turns a number into a Vector and leaves a Vector as it is."""
    if isinstance(kind, VectorType):
        return value
    return broadcast(builder, context.cast(builder, value, kind, types.float32), width)


def call(builder, name: str, result, arguments, **flags):
    """Calls an LLVM intrinsic function."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments, **flags)


def _is_vector(kind, of="f") -> bool:
    return isinstance(kind, VectorType) and kind.kind == of


def _define_operator(op, emit, result="f", of="f"):
    """Teaches Numba a Python operator between Vectors, or between a Vector and a number."""

    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [arg for arg in args if _is_vector(arg, of)]
            numbers = [arg for arg in args if isinstance(arg, types.Number) and of == "f"]
            if vectors and len(vectors) + len(numbers) == len(args) == 2:
                return signature(VectorType(vectors[0].width, result), *args)

    def lower(context, builder, sig, args):
        width = sig.return_type.width
        pair = (as_vector(context, builder, v, k, width) for v, k in zip(args, sig.args, strict=True))
        return emit(builder, *pair)

    for pair in ((VectorType, VectorType), (VectorType, types.Number), (types.Number, VectorType)):
        lower_builtin(op, *pair)(lower)


_define_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=FAST))
_define_operator(operator.iadd, lambda b, x, y: b.fadd(x, y, flags=FAST))
_define_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=FAST))
_define_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=FAST))
_define_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y, flags=FAST))
_define_operator(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), "m")
_define_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), "m")
_define_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), "m")
_define_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), "m")
_define_operator(operator.and_, lambda b, x, y: b.and_(x, y), "m", "m")


def _elementwise(num_args: int, emit):
    """Makes a function of Vectors (numbers are broadcast); `emit(builder, width, *vectors)` writes its code."""

    def typed(*kinds):
        width = next(kind.width for kind in kinds if isinstance(kind, VectorType))

        def lower(context, builder, sig, args):
            vectors = [as_vector(context, builder, v, k, width) for v, k in zip(args, sig.args, strict=True)]
            return emit(builder, width, *vectors)

        return VectorType(width)(*kinds), lower

    wrappers = {
        1: lambda typing, x: typed(x),
        2: lambda typing, x, y: typed(x, y),
        3: lambda typing, x, y, z: typed(x, y, z),
    }
    return intrinsic(wrappers[num_args])


def _unary(name):
    return lambda b, w, x: call(b, f"llvm.{name}.v{w}f32", x.type, [x])


def emit_exp2(builder, width, x):
    """2^x, and 0 below 2^-126; x at most 127."""
    number, integers = llvm(width), llvm(width, ir.IntType(32))
    rounded = builder.fadd(x, constant(width, ROUND))
    fraction = builder.fsub(x, builder.fsub(rounded, constant(width, ROUND)))
    power = constant(width, EXP2[5])
    for coefficient in EXP2[4::-1]:
        power = call(builder, f"llvm.fmuladd.v{width}f32", number, [power, fraction, constant(width, coefficient)])
    exponent = builder.shl(builder.bitcast(rounded, integers), ir.Constant(integers, [23] * width))
    value = builder.bitcast(builder.add(builder.bitcast(power, integers), exponent), number)
    return builder.select(builder.fcmp_ordered(">", x, constant(width, -126.0)), value, constant(width, 0.0))


def emit_log2(builder, width, x):
    """log2(x) of normal positive numbers."""
    number, integers = llvm(width), llvm(width, ir.IntType(32))
    bits = builder.bitcast(x, integers)
    shift = ir.Constant(integers, [23] * width)
    exponent = builder.ashr(builder.sub(bits, ir.Constant(integers, [0x3F3504F3] * width)), shift)
    t = builder.fsub(builder.bitcast(builder.sub(bits, builder.shl(exponent, shift)), number), constant(width, 1.0))
    value = constant(width, LOG2[7])
    for coefficient in LOG2[6::-1]:
        value = call(builder, f"llvm.fmuladd.v{width}f32", number, [value, t, constant(width, coefficient)])
    whole = builder.sitofp(exponent, number)
    return call(builder, f"llvm.fmuladd.v{width}f32", number, [value, t, whole])


def _emit_negative(builder, width, x):
    integers = llvm(width, ir.IntType(32))
    sign = ir.Constant(integers, [-(1 << 31)] * width)
    return builder.bitcast(builder.or_(builder.bitcast(x, integers), sign), x.type)


def _emit_pack(builder, width, low, high):
    integers = llvm(width, ir.IntType(32))
    low, high = builder.fptosi(low, integers), builder.fptosi(high, integers)
    return builder.bitcast(builder.or_(low, builder.shl(high, ir.Constant(integers, [16] * width))), llvm(width))


def _emit_int(builder, width, x):
    return builder.bitcast(builder.fptosi(x, llvm(width, ir.IntType(32))), x.type)


fma = _elementwise(3, lambda b, w, x, y, z: call(b, f"llvm.fmuladd.v{w}f32", x.type, [x, y, z]))
"""x * y + z, in one rounding where the processor can."""
exp2 = _elementwise(1, emit_exp2)
log2 = _elementwise(1, emit_log2)
minimum = _elementwise(2, lambda b, w, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
maximum = _elementwise(2, lambda b, w, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
select = _elementwise(3, lambda b, w, mask, x, y: b.select(mask, x, y))
square_root = _elementwise(1, _unary("sqrt"))
floor = _elementwise(1, _unary("floor"))
ceil = _elementwise(1, _unary("ceil"))
minus_abs = _elementwise(1, _emit_negative)
"""-|x|, by setting the sign bit."""
pack_int16 = _elementwise(2, _emit_pack)
"""Two integers of 0..32767, given as floats, in the bits of one float: low + 65536 high."""
int_bits = _elementwise(1, _emit_int)
"""The bits of the int32 nearest to zero, for storing into an int32 array seen as float32."""
