"""Call a compiled C function from several threads at once, the calling thread included.

The threads are those of torch's own OpenMP runtime where that can be loaded: torch's idle workers spin for a
while after each operation, and a second pool would compete with them for the cores. Elsewhere a pool of
Python threads does the work. Both can be used from many threads at once.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # releases the interpreter lock while it runs
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def run_threads(address: int, argument: int, n_threads: int) -> None:
    """Call the function at `address` from up to `n_threads` threads; return when all calls have returned.

    Args:
        address: address of a C function `void f(void *)` that divides its work among its callers.
        argument: the address passed to it.
        n_threads: the largest number of calls; there are fewer when threads are busy.
    """
    if n_threads == 1:
        _Function(address)(argument)
    elif (parallel := _openmp()) is not None:
        parallel(address, argument, n_threads, 0)
    else:
        _run_in_pool(address, argument, n_threads)


@cache
def _openmp() -> Callable[[int, int, int, int], Any] | None:
    """Return GOMP_parallel of the GNU OpenMP library in torch's package; None if torch uses another one."""
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.parent / "torch.libs"):
        for file in sorted(folder.glob("libgomp*.so*")):
            try:
                parallel = ctypes.CDLL(str(file)).GOMP_parallel
            except (OSError, AttributeError):
                continue
            parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            parallel.restype = None
            return parallel
    return None


def _run_in_pool(address: int, argument: int, n_threads: int) -> None:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="solu-activation")
        helpers = [_pool.submit(_Function(address), argument) for _ in range(n_threads - 1)]
    _Function(address)(argument)
    for helper in helpers:
        # The work is done, so a helper that has not started yet is cancelled and not waited for.
        if not helper.cancel():
            helper.result()


def _forget_pool() -> None:
    """Drop the pool in a forked child, which has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
