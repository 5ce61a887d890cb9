"""Parts of the CPU kernels: the exponential, rows in memory, chunks of rows for threads.

Kernels compute in float32. Rows of bfloat16 and float16 are widened into scratch and rounded once at the end.
"""

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu.intrinsics import (
    bits_of,
    fetch_and_increment,
    floats_at,
    from_bits,
    from_half,
    prefetch,
    prefetch_to_write,
    shorts_at,
    to_half,
)
from solu_model.activation.cpu.words import BFLOAT16, FLOAT32, N_CHUNKS, N_THREADS, NEXT_TICKETS

# Elements between two requests for the next row: their arithmetic runs while as many elements are fetched.
PREFETCH_ELEMENTS = 128
# Elements added up in float32. The sums of such runs are added in float64, so that a long row loses no
# digits.
PARTIAL_SUM_ELEMENTS = 512

# Values of numba's `fastmath`. None contains `nnan` or `ninf`, which let the compiler assume that there is no
# NaN or infinity: NaN in must be NaN out.
SUMS = {"reassoc", "contract", "nsz"}  # sums may be reordered, and so vectorised
EXACT = {"contract"}  # order matters; only fused multiply-add is allowed
# Stated wherever it applies: numba passes the flags of a caller on to functions that state none.
UNFUSED = False

# The exponential is a polynomial because LLVM vectorises it; the C library's is one call an element.
_LOWEST, _HIGHEST = np.float32(-87.4), np.float32(89.5)  # exp is 0 below, infinite above
_LOG2_E = np.float32(1.4426950408889634)
_ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer and leaves the integer in the low bits
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Coefficients of Cephes expf: exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2. `exp` needs twice P.
_CEPHES = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_P0, _P1, _P2, _P3, _P4, _P5 = (np.float32(2 * c) for c in _CEPHES)
_2 = np.float32(2)


@njit(fastmath=EXACT, error_model="numpy", forceinline=True)
def exp(z: Any) -> Any:
    """Return exp(z) within 2 units in the last place. A result below 1.7e-38 is 0; NaN stays NaN.

    Each of the two bounds is one instruction that lets NaN through. At the bounds the arithmetic itself gives
    0 and infinity.
    """
    z = _LOWEST if z < _LOWEST else z
    z = _HIGHEST if z > _HIGHEST else z
    shifted = z * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = z - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    poly = _P0 * r + _P1
    poly = poly * r + _P2
    poly = poly * r + _P3
    poly = poly * r + _P4
    poly = poly * r + _P5
    poly = poly * (r * r) + (r + r) + _2
    # 2 exp(r) times 2^(k - 1): the factor 2^k alone would overflow before the result does.
    return poly * from_bits(np.int32((bits_of(shifted) + 126) << 23))


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def _to_bfloat16(value: Any) -> Any:
    # Adding 0x7FFF plus the lowest kept bit rounds to nearest, ties to even.
    bits = bits_of(value)
    rounded = np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return np.uint16(0x7FC0) if value != value else rounded


@njit(forceinline=True)
def floats(address: Any, offset: Any, n: Any) -> Any:
    """Return a view of n float32 elements of an array, from element `offset`."""
    return carray(floats_at(address + 4 * offset), (n,))


@njit(fastmath=UNFUSED, error_model="numpy")
def load(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> Any:
    """Return n elements from `offset` as float32: a view of a float32 array, else a copy in scratch."""
    if dtype == FLOAT32:
        return floats(address, offset, n)
    row = carray(shorts_at(address + 2 * offset), (n,))
    if dtype == BFLOAT16:
        for j in range(n):
            scratch[j] = from_bits(np.int32(np.int32(row[j]) << 16))
    else:
        for j in range(n):
            scratch[j] = from_half(row[j])
    return scratch


@njit(fastmath=UNFUSED, error_model="numpy")
def destination(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> Any:
    """Return the array to write a float32 row to: the output itself, or scratch that `store` then rounds."""
    return floats(address, offset, n) if dtype == FLOAT32 else scratch


@njit(fastmath=UNFUSED, error_model="numpy")
def store(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> None:
    """Round a row written to scratch into the output; do nothing where `destination` was the output."""
    if dtype == FLOAT32:
        return
    row = carray(shorts_at(address + 2 * offset), (n,))
    if dtype == BFLOAT16:
        for j in range(n):
            row[j] = _to_bfloat16(scratch[j])
    else:
        for j in range(n):
            row[j] = to_half(scratch[j])


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def fetch(address: Any, first: Any, last: Any, size: Any) -> None:
    """Prefetch elements first to last of a row, `size` bytes each. Harmless past the end of an array."""
    for line in range(address + first * size, address + last * size, 64):  # bytes of a cache line
        prefetch(line)


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def fetch_to_write(address: Any, first: Any, last: Any, size: Any) -> None:
    """Prefetch as `fetch` does, for cache lines that will be written."""
    for line in range(address + first * size, address + last * size, 64):
        prefetch_to_write(line)


@njit(fastmath=UNFUSED, error_model="numpy")
def next_chunk(a: Any, slot: Any) -> Any:
    """Return the index of a chunk of rows that no thread has taken; -1 when all are taken.

    Each thread starts in a region of its own. If two threads first touched the same huge page, both would
    clear it.
    """
    n_regions = a[N_THREADS]
    region_chunks = -(-a[N_CHUNKS] // n_regions)
    for i in range(n_regions):
        region = (slot + i) % n_regions
        ticket = fetch_and_increment(a[NEXT_TICKETS] + 8 * region)
        chunk = region * region_chunks + ticket
        if ticket < region_chunks and chunk < a[N_CHUNKS]:
            return chunk
    return -1
