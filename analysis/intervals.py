"""Shares with 95% confidence intervals, their weighted means and their differences.

Intervals of single shares are Wilson's (Journal of the American Statistical Association 22, 1927). Intervals
of weighted sums and differences are combined by MOVER, the method of variance estimates recovery (Zou, Huang
and Zhang, Computational Statistics & Data Analysis 53, 2009).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z_95 = 1.959964
"""The 97.5% quantile of the standard normal distribution: half the width of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share (or a difference of shares) with its 95% interval; all NaN where there is no sample."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)
"""The estimate from an empty sample."""


def format_estimate(estimate: Estimate, number_text: Callable[[float], str], unit: str = "") -> str:
    """Format an estimate with its interval, as 60% (47 to 71%); NaN becomes a dash.

    Args:
        number_text: formats each of the three numbers.
        unit: stands after the value and after the interval.
    """
    if math.isnan(estimate.value):
        return "–"
    value, low, high = map(number_text, (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit} ({low} to {high}{unit})"


def wilson(n_hits: float, n_sampled: float, n_all: float = math.inf) -> Estimate:
    """Return the share `n_hits / n_sampled` with Wilson's interval.

    The numbers may be fractions: an effective sample size is seldom whole.

    Args:
        n_hits: samples counted.
        n_sampled: samples drawn.
        n_all: population that they were drawn from without replacement. The interval shrinks by the finite
            population correction, and has no width when all were drawn.
    """
    if not n_sampled:
        return UNKNOWN
    share = n_hits / n_sampled
    if n_sampled >= n_all:
        return Estimate(share, share, share)
    correction = 1.0 if math.isinf(n_all) else (n_all - n_sampled) / (n_all - 1)  # of the variance
    z2 = Z_95**2 * correction / n_sampled
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    # Rounding must not put the share itself, or a value beyond 0 and 1, outside of the interval.
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def weighted_mean(
    shares: Sequence[Estimate],
    weights: Sequence[float],
    correlations: npt.NDArray[np.float64] | None = None,
) -> Estimate:
    """Return a weighted mean of shares, with an interval by MOVER.

    A share that is NaN may be anything from 0 to 1: it counts as 0.5, and widens the interval by half its
    weight either way.

    Args:
        shares: one for each part of the population.
        weights: sizes of the parts, in any unit.
        correlations: `[shares, shares]`, of the shares' errors; None where they are independent.
    """
    total = float(sum(weights))
    if not total:
        return UNKNOWN
    w = np.asarray(weights, dtype=np.float64) / total
    values, lows, highs = np.array([[part.value, part.low, part.high] for part in shares]).T
    unknown = np.isnan(values)
    half = float(w[unknown].sum()) / 2
    value = float(w @ np.where(unknown, 0.5, values))
    matrix = np.eye(len(w)) if correlations is None else correlations
    # MOVER: the lower distance is the root of d' R d with d = weight · (value - low), and so for the upper
    # one. Rounding can make the quadratic form slightly negative.
    low, high = (
        half + math.sqrt(max(0.0, float(side @ matrix @ side)))
        for side in (w * np.where(unknown, 0, distance) for distance in (values - lows, highs - values))
    )
    return Estimate(value, max(0.0, value - low), min(1.0, value + high))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return `a - b` of two independent shares, between -1 and 1, with an interval by MOVER."""
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above))


def student_t_95(degrees_of_freedom: float) -> float:
    """Return the 97.5% quantile of Student's t distribution.

    By its expansion in inverse degrees of freedom: Abramowitz and Stegun, Handbook of Mathematical Functions,
    1964, 26.7.5. SciPy has it too, and is slow to import for one number.
    """
    n = degrees_of_freedom
    g1 = (Z_95**3 + Z_95) / 4
    g2 = (5 * Z_95**5 + 16 * Z_95**3 + 3 * Z_95) / 96
    g3 = (3 * Z_95**7 + 19 * Z_95**5 + 17 * Z_95**3 - 15 * Z_95) / 384
    return Z_95 + g1 / n + g2 / n**2 + g3 / n**3
