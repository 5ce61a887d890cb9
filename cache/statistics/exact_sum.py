"""Sums of float64 that come out the same in any order: fixed-point numbers wide enough for all of them.

A sum is 40 digits of 32 bits each, held in int64 so that a billion terms can be added before a carry is
due. Adding a float64 adds its mantissa, shifted, to three digits. Of the values that are summed here (sums
over a context of the first four powers of float32) none has bits outside 2^-672 to 2^576. After the small
superaccumulator of R. Neal, Fast exact summation using small and large superaccumulators (2015).
"""

import numpy as np
import numpy.typing as npt

from cache.statistics.jit import compiled

N_DIGITS = 40
_BIAS = 672  # the lowest digit counts units of 2^-672
_MASK = 0xFFFFFFFF


def empty(*shape: int) -> npt.NDArray[np.int64]:
    """Sums of nothing, `[*shape, N_DIGITS]`."""
    sums = np.empty((*shape, N_DIGITS), dtype=np.int64)
    sums.fill(0)
    return sums


@compiled
def add(sums, terms):  # type: ignore[no-untyped-def]
    """Add finite terms to each sum.

    Args:
        sums: `[P, M, N_DIGITS]`. terms: `[N, P, M]` float64; of P there may be more.
    """
    mask = np.uint64(_MASK)
    bits = terms.view(np.int64)
    for p in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            for n in range(terms.shape[0]):
                word = bits[n, p, j]
                exponent = (word >> 52) & 0x7FF
                mantissa = word & 0xFFFFFFFFFFFFF
                if exponent > 0:
                    mantissa |= 0x10000000000000
                else:
                    exponent = 1
                if mantissa == 0:
                    continue
                at = exponent - 1075 + _BIAS
                digit, shift = at >> 5, np.uint64(at & 31)
                low = (np.uint64(mantissa) & mask) << shift
                high = (np.uint64(mantissa) >> np.uint64(32)) << shift
                sign = -1 if word < 0 else 1
                sums[p, j, digit] += sign * np.int64(low & mask)
                sums[p, j, digit + 1] += sign * np.int64((low >> np.uint64(32)) + (high & mask))
                sums[p, j, digit + 2] += sign * np.int64(high >> np.uint64(32))


def carried(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same sums with digits from 0 to 2^32 - 1, the last one signed: equal sums are equal bytes."""
    result = sums.copy()
    for digit in range(N_DIGITS - 1):
        carry = result[..., digit] >> 32
        result[..., digit] -= carry << 32
        result[..., digit + 1] += carry
    return result


def to_float(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The sums as float64, within a rounding or two of the exact value."""
    negative = carried(sums)[..., -1] < 0
    digits = carried(np.where(negative[..., None], -sums, sums))
    total = np.zeros(digits.shape[:-1])
    for digit in range(N_DIGITS):  # from the smallest: what is added grows, what is lost does not matter
        total += np.ldexp(digits[..., digit].astype(np.float64), 32 * digit - _BIAS)
    return np.where(negative, -total, total)
