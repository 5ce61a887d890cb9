"""Huge pages for large outputs on CPU: Linux only, no effect elsewhere.

Memory that the C library has just taken from the system has no pages yet. Each page costs a fault when it
is first written: 8,192 faults for an output of 32 MB, which together take longer than the arithmetic. With
pages of 2 MB there are 16. Most distributions give such pages on request (`madvise` in
/sys/kernel/mm/transparent_hugepage/enabled), which is one system call. PyTorch requests them for all tensors
of a process if THP_MEM_ALLOC_ENABLE=1 is set before it starts. This module requests them only for outputs,
which the kernels write from end to end, so that no page is allocated that would have stayed unused.

Where few threads compute, a second call allocates the pages at once: threads that fault at the same time
block each other, and a virtual machine whose host has taken back free memory makes them wait (docs/log.md).
Many threads are left to fault in parallel.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_MIN_BYTES = 2**24
"""Smallest output for which the call pays (docs/log.md). Allocators reuse smaller blocks anyway."""

_FEW_THREADS = 4
"""Up to this many threads, pages are allocated by one call. Measured with one and two threads; a single
thread clears about 8 GB/s."""

_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23  # the second since Linux 5.14

_PAGE_SIZE_FILE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")


def empty_like(x: Tensor) -> Tensor:
    """Return `torch.empty_like(x)`, contiguous; request huge pages for a large tensor on CPU."""
    fresh = torch.empty_like(x, memory_format=torch.contiguous_format)
    n_bytes = fresh.nbytes
    if n_bytes >= _MIN_BYTES and fresh.device.type == "cpu" and (advise := _advice()):
        advise(fresh.data_ptr(), n_bytes)
    return fresh


@cache
def _advice() -> Callable[[int, int], None] | None:
    """Return a function (address, bytes) that requests huge pages; None if the system has none."""
    try:
        page = int(_PAGE_SIZE_FILE.read_text())
        library = ctypes.CDLL(None)
        madvise, mincore = library.madvise, library.mincore
    except (OSError, ValueError, AttributeError, TypeError):  # TypeError: Windows wants a name
        return None
    if not sys.platform.startswith("linux") or page <= 0:
        return None
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)

    def advise(address: int, n_bytes: int) -> None:
        """Request the huge pages that lie wholly inside. Refused calls have no effect, so none is checked."""
        first, last = -(-address // page) * page, (address + n_bytes) // page * page
        if last <= first:
            return
        madvise(first, last - first, _MADV_HUGEPAGE)
        if torch.get_num_threads() <= _FEW_THREADS:
            present = ctypes.create_string_buffer((last - first) // mmap.PAGESIZE)
            if mincore(first, last - first, present) == 0 and b"\0" in present.raw:
                madvise(first, last - first, _MADV_POPULATE_WRITE)

    return advise
