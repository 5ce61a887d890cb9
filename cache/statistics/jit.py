"""How the loops of this package are compiled: without the interpreter's lock, and once for all processes.

numba's cache on disk looks at the date of a function's own file alone: after a change of a constant or of a
function that it takes from another file, save its file as well (the tests notice).
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
"""Of a whole number's bits, in compiled code: how many there are below the lowest that is set."""


def _prefetch(_context: Any, _address: Any) -> Any:
    """An address: ask for its line of memory, be it anybody's or not, into the second-level cache."""

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
def foresee(address, n_bytes):  # type: ignore[no-untyped-def]
    """Ask for where each page of a row of memory begins: a processor foresees the rest of a page itself."""
    for page in range(0, n_bytes, _PAGE):
        prefetch(address + page)
        prefetch(address + page + _LINE)
