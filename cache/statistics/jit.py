"""Decorators that compile the loops of this package: they release the interpreter's lock and are cached.

numba's cache on disk compares the date of a function's own file alone. After a change of a constant or a
function that a loop imports from another file, save the loop's file too (the tests notice if you do not).
The cache also names the classes of arguments: see `accumulator.PreparedContext`.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.cpython.unsafe import numbers
from numba.extending import intrinsic

_PAGE, _LINE = 4096, 64  # bytes

compiled = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
inlined = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy", inline="always")

trailing_zeros: Any = numbers.trailing_zeros
"""Count the bits of an integer below its lowest set one; for compiled code."""


def _prefetch(_context: Any, _address: Any) -> Any:
    """Prefetch the line of memory at an address into the second-level cache; any address is allowed."""

    def emit(_target: Any, builder: Any, _signature: Any, values: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_read, to_second_level, data = (ir.Constant(word, value) for value in (0, 2, 1))
        builder.call(function, [builder.inttoptr(values[0], byte), to_read, to_second_level, data])
        return ir.Constant(word, 0)

    return types.int32(types.int64), emit


prefetch: Any = intrinsic(_prefetch)


@inlined
def prefetch_row(address, n_bytes):  # type: ignore[no-untyped-def]
    """Prefetch the beginning of each page of a row; the processor itself prefetches the rest of a page."""
    for page in range(0, n_bytes, _PAGE):
        prefetch(address + page)
        prefetch(address + page + _LINE)
