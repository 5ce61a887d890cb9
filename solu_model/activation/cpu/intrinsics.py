"""Operations that numba does not offer, emitted as LLVM instructions.

The bits of a float, float16, an address as an array, atomic counters, prefetching, the width of vectors.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F16, _F32 = ir.HalfType(), ir.FloatType()


def _one_value(result: Any, argument: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """Build an intrinsic that maps a value of type `argument` to one of type `result`."""

    def typed(_context: Any, value: Any) -> Any:  # noqa: ARG001
        return result(argument), lambda _context, builder, _signature, values: emit(builder, values[0])

    return intrinsic(typed)


bits_of = _one_value(types.int32, types.float32, lambda b, v: b.bitcast(v, _I32))
from_bits = _one_value(types.float32, types.int32, lambda b, v: b.bitcast(v, _F32))
from_half = _one_value(types.float32, types.uint16, lambda b, v: b.fpext(b.bitcast(v, _F16), _F32))
to_half = _one_value(types.uint16, types.float32, lambda b, v: b.bitcast(b.fptrunc(v, _F16), _I16))
floats_at = _one_value(
    types.CPointer(types.float32), types.int64, lambda b, v: b.inttoptr(v, _F32.as_pointer())
)
shorts_at = _one_value(
    types.CPointer(types.uint16), types.int64, lambda b, v: b.inttoptr(v, _I16.as_pointer())
)
# Return the counter at an address and add 1 to it, in one step that no other thread can interrupt.
fetch_and_increment = _one_value(
    types.int64,
    types.int64,
    lambda b, v: b.atomic_rmw("add", b.inttoptr(v, _I64.as_pointer()), ir.Constant(_I64, 1), "monotonic"),
)


def _prefetch(write: int) -> Any:
    """Build an intrinsic that prefetches the cache line at an address, valid or not."""

    def emit(builder: Any, address: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_second_level, data = 2, 1
        settings = [ir.Constant(_I32, value) for value in (write, to_second_level, data)]
        builder.call(function, [builder.inttoptr(address, _I8.as_pointer()), *settings])
        return ir.Constant(_I32, 0)

    return _one_value(types.int32, types.int64, emit)


prefetch, prefetch_to_write = _prefetch(0), _prefetch(1)


def _widest_vectors(_context: Any) -> Any:
    """Let LLVM use the widest vector registers in the calling function.

    By default LLVM uses half the width of AVX-512 registers.
    """

    def emit(_target: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        # `attributes.add` rejects attributes of the form "key"="value"; `set.add` skips that check.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return ir.Constant(_I32, 0)

    return types.int32(), emit


widest_vectors: Any = intrinsic(_widest_vectors)
