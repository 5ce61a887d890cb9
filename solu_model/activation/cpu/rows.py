"""What the numba kernels are made of: their argument, shares of the work, rows of memory, the exponential.

Rows are float32; bfloat16 and float16 rows are widened into scratch and rounded once at the end.
The exponential is a polynomial that LLVM vectorises: the C library's is a call an element.
"""

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu.intrinsics import (
    bits_of,
    floats_at,
    from_bits,
    from_half,
    prefetch,
    prefetch_to_write,
    shorts_at,
    take,
    to_half,
)

# The words behind the address, in order. Addresses are of contiguous arrays, 0 where absent.
NEXT_TICKETS = 0  # address of N_THREADS counters: the next chunk of a region that nobody took
NEXT_SLOT = 1  # address of a counter: the next free slot of scratch
N_CHUNKS = 2
CHUNK_ROWS = 3
N_ROWS = 4
N_BLOCKS = 5
WIDTH = 6  # W
DTYPE = 7  # of x, out, mid and their gradients
SOFTMAX = 8  # 1: x * softmax(x), 0: x * exp(x)
EPS = 9  # address of a float32
SCRATCH = 10  # float32 [slots, N_SCRATCH, W]
N_THREADS = 11
X = 12  # [N_ROWS, N_BLOCKS, W]
WEIGHT = 13  # float32 [M]; 0: no LayerNorm
STATS = 14  # float32 [N_ROWS, N_BLOCKS, 4]: m, 1 / sum, mean of x exp(x - m), r
BIAS = 15  # float32 [M], forward
OUT = 16  # like x, forward
MID = 17  # like x, forward; 0: not wanted
GRAD_OUT = 15  # like x, backward
GRAD_MID = 16  # like x, backward; 0: none
GRAD_X = 17  # like x, backward
GRAD_PARAMS = 18  # float32 [N_CHUNKS, 2, M], backward: each chunk's share for weight and bias
N_WORDS = 19

N_SCRATCH = 4
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
FETCHED = 128  # elements whose arithmetic goes on while as many of the next row are on their way
SUMMED = 512  # elements summed in float32; sums of those sums are float64

# No flag that lets the compiler assume away NaN or infinity: NaN in must be NaN out.
SUMS = {"reassoc", "contract", "nsz"}  # sums may be reordered, hence vectorised
EXACT = {"contract"}  # order matters: only fused multiply-add
UNFUSED = False  # said everywhere: numba hands the flags of a caller on to functions that name none

_LOWEST, _HIGHEST = np.float32(-87.4), np.float32(89.5)  # exp is 0 below, infinite above
_LOG2_E = np.float32(1.4426950408889634)
_ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer and leaves that in the low bits
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Cephes expf: exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2. Twice P, see `exp`.
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
    """exp(z) within 2 units in the last place; below 1.7e-38 it is 0, NaN stays NaN.

    Each bound is one instruction that lets NaN through; the arithmetic makes 0 and infinity of them.
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
    # Twice exp(r) times 2^(k - 1): 2^k itself overflows before the result does.
    return poly * from_bits(np.int32((bits_of(shifted) + 126) << 23))


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def _to_bfloat16(value: Any) -> Any:
    bits = bits_of(value)
    rounded = np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return np.uint16(0x7FC0) if value != value else rounded


@njit(forceinline=True)
def floats(address: Any, offset: Any, n: Any) -> Any:
    """n float32 from element `offset` of an array on."""
    return carray(floats_at(address + 4 * offset), (n,))


@njit(fastmath=UNFUSED, error_model="numpy")
def load(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> Any:
    """The row at `offset`, itself where it is float32, otherwise widened into scratch."""
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
    """Where to write a row in float32: its place, or scratch that `store` then rounds."""
    return floats(address, offset, n) if dtype == FLOAT32 else scratch


@njit(fastmath=UNFUSED, error_model="numpy")
def store(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> None:
    """Round what `destination` gave into its place."""
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
    """Ask for elements first to last of a row, `size` bytes each; past an array's end it does nothing."""
    for line in range(address + first * size, address + last * size, 64):
        prefetch(line)


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def fetch_to_write(address: Any, first: Any, last: Any, size: Any) -> None:
    """As `fetch`, of lines that will be written."""
    for line in range(address + first * size, address + last * size, 64):
        prefetch_to_write(line)


@njit(fastmath=UNFUSED, error_model="numpy")
def next_chunk(a: Any, slot: Any) -> Any:
    """A chunk of rows that nobody has taken, -1 when there are none.

    Each thread begins with a region of its own: where two first touch the same huge page, both clear it.
    """
    n_regions = a[N_THREADS]
    region_chunks = -(-a[N_CHUNKS] // n_regions)
    for i in range(n_regions):
        region = (slot + i) % n_regions
        ticket = take(a[NEXT_TICKETS] + 8 * region)
        chunk = region * region_chunks + ticket
        if ticket < region_chunks and chunk < a[N_CHUNKS]:
            return chunk
    return -1
