"""Exact sums of float64, which are the same in any order: fixed-point numbers wide enough for every term.

A sum has 40 digits of 32 bits, each in an int64, so that a billion terms can be added before digits must
be carried. Adding a float64 adds its shifted mantissa to three digits. The terms here are sums over a
context of the first four powers of float32, which have no bits outside 2^-672 to 2^576. After the small
superaccumulator of R. Neal, Fast exact summation using small and large superaccumulators (2015).
"""

import numpy as np
import numpy.typing as npt

from cache.statistics.jit import compiled

N_DIGITS = 40
_BIAS = 672  # the lowest digit is in units of 2^-672
_MASK = 0xFFFFFFFF


def empty(*shape: int) -> npt.NDArray[np.int64]:
    """Return sums of no terms, `[*shape, N_DIGITS]`."""
    sums = np.empty((*shape, N_DIGITS), dtype=np.int64)
    sums.fill(0)
    return sums


@compiled
def add(sums, terms):  # type: ignore[no-untyped-def]
    """Add finite terms to each sum.

    Args:
        sums: `[P, M, N_DIGITS]`, added to.
        terms: `[N, P', M]` float64 with P' >= P; of the P' the first P are added.
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
                    exponent = 1  # a subnormal number has no hidden bit, and the exponent of 1
                if mantissa == 0:
                    continue
                at = exponent - 1075 + _BIAS  # the mantissa's lowest bit, counted from the lowest digit's
                digit, shift = at >> 5, np.uint64(at & 31)
                # 53 bits, shifted by up to 31, reach into three digits.
                low = (np.uint64(mantissa) & mask) << shift
                high = (np.uint64(mantissa) >> np.uint64(32)) << shift
                sign = -1 if word < 0 else 1
                sums[p, j, digit] += sign * np.int64(low & mask)
                sums[p, j, digit + 1] += sign * np.int64((low >> np.uint64(32)) + (high & mask))
                sums[p, j, digit + 2] += sign * np.int64(high >> np.uint64(32))


def carried(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sums with digits from 0 to 2^32 - 1 and a signed last one: equal sums have equal bytes."""
    result = sums.copy()
    for digit in range(N_DIGITS - 1):
        carry = result[..., digit] >> 32
        result[..., digit] -= carry << 32
        result[..., digit + 1] += carry
    return result


def to_float(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the sums as float64, within a rounding or two of the exact value."""
    negative = carried(sums)[..., -1] < 0
    digits = carried(np.where(negative[..., None], -sums, sums))
    total = np.zeros(digits.shape[:-1])
    for digit in range(N_DIGITS):  # smallest first, so that roundings stay small
        total += np.ldexp(digits[..., digit].astype(np.float64), 32 * digit - _BIAS)
    return np.where(negative, -total, total)
