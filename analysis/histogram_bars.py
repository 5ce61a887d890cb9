"""Bars to draw from a cache's histogram, with exact counts."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.histogram import Histogram, Moments

N_BARS = 64
"""Largest number of bars."""


@dataclass(frozen=True)
class Bars:
    """Counts between edges, `n` bars."""

    edges: npt.NDArray[np.float64]
    """`[n + 1]`, finite and ascending."""
    counts: npt.NDArray[np.int64]
    """`[n]`, exact."""


def bars_from_histogram(histogram: Histogram, moments: Moments, n_bars: int = N_BARS) -> Bars:
    """Join a histogram's bins into bars of similar width, from the lowest to the highest value.

    Bars keep edges of the histogram, so that every count is exact. Bins grow wider away from zero: where a
    bin is wider than a bar should be, the bar is that one bin.

    Args:
        histogram: of one neuron at one hook.
        moments: of the same values; their minimum and maximum replace the outermost edges.
        n_bars: largest number of bars.
    """
    used = np.flatnonzero(histogram.counts)
    if not len(used):
        return Bars(np.array([0.0, 1.0]), np.array([0]))
    edges = histogram.edges[used[0] : used[-1] + 2].copy()
    # The outermost bins may reach to infinity; no value lies beyond the minimum and the maximum.
    edges[0], edges[-1] = max(edges[0], moments.min), min(edges[-1], moments.max)
    counts = histogram.counts[used[0] : used[-1] + 1]
    step = (edges[-1] - edges[0]) / n_bars
    kept = [0]  # indices of bins that begin a bar
    for index in range(1, len(edges) - 1):
        # The second condition joins a narrow rest with the last bar.
        if edges[index] - edges[kept[-1]] >= step and edges[-1] - edges[index] >= step / 2:
            kept.append(index)
    sums = np.add.reduceat(counts, kept).astype(np.int64)
    bar_edges = np.append(edges[kept], edges[-1])
    if bar_edges[0] == bar_edges[-1]:  # a single value: give its bar a width that can be drawn
        bar_edges = np.array([bar_edges[0] - 0.5, bar_edges[0] + 0.5])
    return Bars(bar_edges, sums)


def normal_counts(bars: Bars, mean: float, std: float) -> npt.NDArray[np.float64]:
    """Return the counts that a normal distribution would have in the same bars.

    Returns:
        `[n]`, summing to about the same total; zeros where the deviation is not positive.
    """
    if not (std > 0 and math.isfinite(mean)):
        return np.zeros(len(bars.counts))
    # erfc of the negated argument keeps its precision in the lower tail, where 1 + erf would be 0.
    below = np.array([0.5 * math.erfc((mean - edge) / (std * math.sqrt(2))) for edge in bars.edges])
    return np.diff(below) * int(bars.counts.sum())
