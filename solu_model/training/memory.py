"""Keep the memory that a step frees in the C library, for the next step."""

import ctypes


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks instead of returning them to the kernel.

    Activations of tens of MB are freed and allocated again at every step; faulting their pages in
    anew each time cost a quarter of a step on two CPU cores (0.79 s against 0.54 s without).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 2**28)
