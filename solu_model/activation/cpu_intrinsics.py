"""What numba lacks: a float's bits, float16, an address as an array, a counter that threads share, vector width.

numba's cache watches the file of the function it compiles, `cpu_kernels`, and not this one: after a
change of meaning here, touch that.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I16, _I32, _I64, _F16, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType()


def _one_value(result: Any, argument: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """An intrinsic that turns a value of type `argument` into one of type `result`."""

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
take = _one_value(  # the counter at an address, which goes up by one for whoever asks next
    types.int64,
    types.int64,
    lambda b, v: b.atomic_rmw("add", b.inttoptr(v, _I64.as_pointer()), ir.Constant(_I64, 1), "monotonic"),
)


@intrinsic
def widest_vectors(_context: Any) -> Any:
    """Let the compiler use the widest registers in the function that calls this.

    LLVM takes half of AVX-512's width on its own. A processor without wider registers is not concerned.
    """

    def emit(_target: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        attributes = builder.function.attributes
        set.add(attributes, '"prefer-vector-width"="512"')  # attributes.add knows no string attributes
        return ir.Constant(_I32, 0)

    return types.int32(), emit
