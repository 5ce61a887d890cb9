"""Shares with their 95% intervals.

Intervals are Wilson's (1927); for weighted sums of shares they are joined by MOVER (Zou, Huang and Zhang,
Computational Statistics & Data Analysis 53, 2009).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z_95 = 1.959964
"""Of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95% interval; NaN where nothing was looked at."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def wilson(n_fit: float, n_seen: float, n_all: float = math.inf) -> Estimate:
    """A share with Wilson's interval; the numbers need not be whole.

    Args:
        n_all: of how many those seen were drawn, without replacement: when all were seen the share is exact.
    """
    if not n_seen:
        return UNKNOWN
    share = n_fit / n_seen
    if n_seen >= n_all:
        return Estimate(share, share, share)
    left = 1.0 if math.isinf(n_all) else (n_all - n_seen) / (n_all - 1)  # of the variance
    z2 = Z_95**2 * left / n_seen
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def weighted_mean(
    shares: Sequence[Estimate],
    weights: Sequence[float],
    correlations: npt.NDArray[np.float64] | None = None,
) -> Estimate:
    """A weighted mean of shares, with its interval by MOVER, and wider by all that unseen parts may hold.

    Args:
        correlations: `[shares, shares]` of their errors; None: they are independent.
    """
    total = float(sum(weights))
    if not total:
        return UNKNOWN
    w = np.asarray(weights, dtype=np.float64) / total
    values, lows, highs = np.array([[part.value, part.low, part.high] for part in shares]).T
    unseen = np.isnan(values)
    half = float(w[unseen].sum()) / 2
    value = float(w @ np.where(unseen, 0.5, values))
    together = np.eye(len(w)) if correlations is None else correlations
    low, high = (
        half + math.sqrt(max(0.0, float(side @ together @ side)))
        for side in (w * np.where(unseen, 0, apart) for apart in (values - lows, highs - values))
    )
    return Estimate(value, max(0.0, value - low), min(1.0, value + high))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """A share less another one, independent of it, with its interval by MOVER: between -1 and 1."""
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above))


def student_t_95(freedom: float) -> float:
    """Student's t for a 95% interval, by its expansion: Abramowitz and Stegun, 26.7.5."""
    g1 = (Z_95**3 + Z_95) / 4
    g2 = (5 * Z_95**5 + 16 * Z_95**3 + 3 * Z_95) / 96
    g3 = (3 * Z_95**7 + 19 * Z_95**5 + 17 * Z_95**3 - 15 * Z_95) / 384
    return Z_95 + g1 / freedom + g2 / freedom**2 + g3 / freedom**3
