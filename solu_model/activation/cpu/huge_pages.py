"""Huge pages for large outputs on CPU: Linux only, and without effect elsewhere.

Memory that the C library has just taken from the system has no pages yet. Each page costs a fault when it
is first written, 8,192 of them for an output of 32 MB, and together they take longer than the arithmetic.
With pages of 2 MB there are 16. Most distributions give such pages to those who ask (`madvise` in
/sys/kernel/mm/transparent_hugepage/enabled), which is one system call. PyTorch asks for all of a process's
tensors where THP_MEM_ALLOC_ENABLE=1 is set before it starts; here it is asked for what the kernels write
from end to end, so no page comes to life that would not have.

Where few threads compute, a second call brings the pages to life at once: threads that fault at the same
time get in each other's way, and a virtual machine whose host has taken back free memory makes them wait
(docs/log.md). Many threads are left to do it side by side.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_SMALLEST = 2**24
"""Bytes from which on it pays (docs/log.md); allocators keep smaller blocks for the next call anyway."""

_FEW_THREADS = 4
"""Measured with one and two; a single thread clears some 8 GB/s."""

_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23  # the second since Linux 5.14

_SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")


def empty_like(x: Tensor) -> Tensor:
    """`torch.empty_like`, contiguous; on CPU a large one asks for huge pages."""
    fresh = torch.empty_like(x, memory_format=torch.contiguous_format)
    n_bytes = fresh.nbytes
    if n_bytes >= _SMALLEST and fresh.device.type == "cpu" and (advise := _advice()):
        advise(fresh.data_ptr(), n_bytes)
    return fresh


@cache
def _advice() -> Callable[[int, int], None] | None:
    """(address, bytes): ask for the huge pages wholly inside; None where the system has none."""
    try:
        page = int(_SIZE.read_text())
        library = ctypes.CDLL(None)
        madvise, mincore = library.madvise, library.mincore
    except (OSError, ValueError, AttributeError, TypeError):  # TypeError: Windows wants a name
        return None
    if not sys.platform.startswith("linux") or page <= 0:
        return None
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)

    def advise(address: int, n_bytes: int) -> None:
        """A refusal of any of the calls changes nothing."""
        first, last = -(-address // page) * page, (address + n_bytes) // page * page
        if last <= first:
            return
        madvise(first, last - first, _MADV_HUGEPAGE)
        if torch.get_num_threads() <= _FEW_THREADS:
            present = ctypes.create_string_buffer((last - first) // mmap.PAGESIZE)
            if mincore(first, last - first, present) == 0 and b"\0" in present.raw:
                madvise(first, last - first, _MADV_POPULATE_WRITE)

    return advise
