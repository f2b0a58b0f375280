"""Kernels that several threads run at once, on the OpenMP threads that torch already has.

A kernel takes its pieces of work from a shared counter until there are none left, so it may run on any number of
threads and each is busy to the end. Which thread does which piece never changes the result.
"""

from __future__ import annotations

from types import FunctionType

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from realhead.splatting.kernels.jit import inner, kernel


@intrinsic
def take(typing, counter):
    """Takes the next piece of work: returns counter[0] and adds one to it, undisturbed by other threads."""

    def lower(context, builder, sig, args):
        array = context.make_array(counter)(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), lower


def parallel(function):
    """Compiles `function(counter, *args)` into `kernel(team, threads, counter, *args)`.

    `team` is the address of OpenMP's GOMP_parallel, which runs the function on so many threads and waits for all of
    them; errors (of bounds checks) are lost there. With `team` 0 it is called once, as any function.
    """
    share = inner(function)
    names = {"__name__": function.__module__, "_on_team": _on_team, "share": share}
    launch = FunctionType(_launch.__code__, names, function.__name__)
    launch.__qualname__, launch.__doc__ = function.__qualname__, function.__doc__
    return kernel(launch)


def _launch(team, threads, *args):
    """Becomes each parallel kernel, with names of its own; no closure, for Numba does not find those on disk again."""
    _on_team(team, threads, share, args)  # noqa: F821


@intrinsic
def _on_team(typing, team, threads, function, args):
    """Calls function(*args) on the threads of a team, without Python; see `parallel`."""

    def lower(context, builder, sig, values):
        team, threads, _, packed = values
        call = context.typing_context.resolve_function_type(function, tuple(args), {})
        compiled = function.dispatcher.overloads[call.args]
        context.active_code_library.add_linking_library(compiled.library)
        with builder.if_else(cgutils.is_not_null(builder, team)) as (together, alone):
            with together:
                _fork(context, builder, team, threads, call, compiled.fndesc, packed)
            with alone:
                context.call_internal(builder, compiled.fndesc, call, cgutils.unpack_tuple(builder, packed))
        return context.get_dummy_value()

    return types.void(team, threads, function, args), lower


def _fork(context, builder, team, threads, call, description, packed):
    """Emits GOMP_parallel(share, &packed, threads, 0), and the C function `share` that unpacks and calls."""
    pointer, void = ir.IntType(8).as_pointer(), ir.VoidType()
    data = cgutils.alloca_once_value(builder, packed)
    name = builder.module.get_unique_name("share")
    share = ir.Function(builder.module, ir.FunctionType(void, [pointer]), name)
    share.linkage = "internal"
    inside = ir.IRBuilder(share.append_basic_block())
    values = cgutils.unpack_tuple(inside, inside.load(inside.bitcast(share.args[0], data.type)))
    callee = context.declare_function(builder.module, description)
    context.call_conv.call_function(inside, callee, call.return_type, call.args, values)
    inside.ret_void()
    unsigned = ir.IntType(32)
    fork = ir.FunctionType(void, [share.type, pointer, unsigned, unsigned]).as_pointer()
    arguments = share, builder.bitcast(data, pointer), builder.trunc(threads, unsigned), ir.Constant(unsigned, 0)
    builder.call(builder.inttoptr(team, fork), arguments)
