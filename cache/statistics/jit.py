"""Decorators that compile the loops of this package: they release the interpreter's lock and are cached.

numba's cache on disk compares the date of a function's own file alone. After a change of a constant or a
function that a loop imports from another file, save the loop's file too (the tests notice if you do not).
The cache also names the classes of arguments: see `accumulator.PreparedContext`. Where no folder can be
written to, every process compiles the loops for itself, in memory.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.cpython.unsafe import numbers
from numba.extending import intrinsic

_PAGE, _LINE = 4096, 64  # bytes

_WARNED = "SOLU_COMPILED_IN_MEMORY"
"""Environment variable that a process and its children share, so that a command warns once. The activation's
kernels warn by it too (`solu_model.activation.cpu.compiled_cache`), which this package does not import."""

_log = logging.getLogger(__name__)


def _decorator(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return numba's decorator with these options and a cache on disk, if there can be one."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba finds no folder that it can write to
            if _WARNED not in os.environ:
                os.environ[_WARNED] = "1"
                _log.warning("%s", _NO_FOLDER)
            return numba.njit(**options)(function)

    return compile_function


_NO_FOLDER = (
    "no folder for compiled code can be written to: every process compiles for itself, which takes about a "
    "minute. Set NUMBA_CACHE_DIR to a folder of your own to keep it"
)

compiled = _decorator(nogil=True, boundscheck=False, error_model="numpy")
inlined = _decorator(nogil=True, boundscheck=False, error_model="numpy", inline="always")

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
