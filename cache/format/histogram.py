"""Histogram of activations with bins that follow from the bits of a float32: eight to an octave.

A bin is at most 12.5% wide. In order of value: one bin below -2^16, 320 negative bins, one for
-2^-24 < x < 0, one for zero, one for 0 < x < 2^-24, 320 positive bins, one from 2^16 up. Counts are exact,
and histograms of two parts of a corpus are added.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

MIN_EXPONENT = -24
MAX_EXPONENT = 16
PER_OCTAVE = 8
N_SIDE = (MAX_EXPONENT - MIN_EXPONENT) * PER_OCTAVE
"""Bins of each sign, without the two outermost and the two next to zero."""
ZERO = N_SIDE + 2
"""Index of the bin of zero, +0 and -0."""
N_BINS = 2 * ZERO + 1

FIRST_KEY = (127 + MIN_EXPONENT) * PER_OCTAVE
"""The top 11 bits after the sign (8 of exponent, 3 of mantissa) of 2^MIN_EXPONENT."""


@cache
def bin_edges() -> npt.NDArray[np.float64]:
    """Return the edges of all bins in ascending order, `[N_BINS + 1]`.

    A positive bin holds low <= x < high, a negative one low < x <= high; the bin of zero has low = high = 0.
    """
    octaves = np.arange(MIN_EXPONENT, MAX_EXPONENT, dtype=np.float64)
    side = (2.0 ** octaves[:, None] * (1 + np.arange(PER_OCTAVE) / PER_OCTAVE)).ravel()
    positive = np.concatenate([[0.0], side, [2.0**MAX_EXPONENT, np.inf]])
    return np.concatenate([-positive[::-1], positive])


def bin_index(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return the bin of each value; the compiled loops (`cache.statistics.scan_kernels`) repeat it.

    Args:
        values: float32 of any shape, none of them NaN.
    """
    bits = values.view(np.uint32)  # sign, 8 bits of exponent, 23 of mantissa
    key = ((bits >> 20) & 0x7FF).astype(np.int64)
    # The distance from the bin of zero: 1 for the smallest values, N_SIDE + 2 for the largest.
    offset = np.clip(key - FIRST_KEY, -1, N_SIDE) + 2
    offset = np.where(values == 0, 0, offset)
    return np.where(bits >> 31 != 0, ZERO - offset, ZERO + offset)


@dataclass(frozen=True)
class Histogram:
    """Histogram of one neuron's activations at one hook."""

    counts: npt.NDArray[np.int64]
    """`[N_BINS]` tokens in each bin."""

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Edges of the bins, `[N_BINS + 1]`, see `bin_edges`."""
        return bin_edges()

    @property
    def total(self) -> int:
        """Number of tokens counted."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> tuple[float, float]:
        """Return the edges of the bin of the q-quantile (of the lowest value for q = 0).

        Raises:
            ValueError: q outside [0, 1], or an empty histogram.
        """
        if not 0 <= q <= 1 or self.total == 0:
            raise ValueError(f"expected 0 <= q <= 1 and a histogram with tokens, got q = {q} of {self.total}")
        rank = min(int(np.floor(q * self.total)), self.total - 1)
        index = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        return float(self.edges[index]), float(self.edges[index + 1])

    def count_from(self, threshold: float) -> tuple[int, float]:
        """Return the tokens in the bin of `threshold` and all bins above it, and the low edge of that bin."""
        index = int(bin_index(np.array([threshold], dtype=np.float32))[0])
        return int(self.counts[index:].sum()), float(self.edges[index])


@dataclass(frozen=True)
class Moments:
    """Exact count and extremes, and the first four moments, of one neuron at one hook."""

    count: int
    """Finite activations."""
    n_nan: int
    """Activations that are NaN, which no other statistic includes."""
    n_inf: int
    """Activations that are infinite, which no other statistic includes."""
    min: float
    max: float
    mean: float
    std: float
    skewness: float
    kurtosis: float
    """Excess kurtosis: 0 for a normal distribution."""


def moments_of(
    count: npt.NDArray[np.int64], power_sums: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return mean, biased standard deviation, skewness and excess kurtosis.

    Args:
        count: `[...]` number of values.
        power_sums: `[..., 4]` sums of x, x^2, x^3, x^4.

    Returns:
        Four arrays `[...]`; NaN where nothing was counted, skewness and kurtosis NaN where std is 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        m1, m2, m3, m4 = np.moveaxis(power_sums / count[..., None], -1, 0)
        variance = np.maximum(m2 - m1**2, 0.0)  # rounding may give a tiny negative number
        std = np.sqrt(variance)
        skewness = (m3 - 3 * m1 * m2 + 2 * m1**3) / variance**1.5
        kurtosis = (m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / variance**2 - 3
    flat = variance <= 0
    return m1, std, np.where(flat, np.nan, skewness), np.where(flat, np.nan, kurtosis)
