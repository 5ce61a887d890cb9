"""A cache's histogram as bars to draw: exact counts between edges of its own. Pure."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.histogram import Histogram, Moments

N_BARS = 64
"""Bars a histogram has at most."""


@dataclass(frozen=True)
class Bars:
    """Exact counts between edges."""

    edges: npt.NDArray[np.float64]
    """`[n + 1]`, finite."""
    counts: npt.NDArray[np.int64]
    """`[n]`."""


def bars_from_histogram(histogram: Histogram, moments: Moments, n_bars: int = N_BARS) -> Bars:
    """A cache's histogram as bars of about even width between the lowest and the highest value.

    Every edge is one of the histogram's own, so that every count is exact: far from zero, where its bins
    are wider than a bar, a bar is one bin.
    """
    used = np.flatnonzero(histogram.counts)
    if not len(used):
        return Bars(np.array([0.0, 1.0]), np.array([0]))
    edges = histogram.edges[used[0] : used[-1] + 2].copy()
    edges[0], edges[-1] = max(edges[0], moments.min), min(edges[-1], moments.max)
    counts = histogram.counts[used[0] : used[-1] + 1]
    step = (edges[-1] - edges[0]) / n_bars
    kept = [0]
    for index in range(1, len(edges) - 1):
        if edges[index] - edges[kept[-1]] >= step and edges[-1] - edges[index] >= step / 2:
            kept.append(index)
    sums = np.add.reduceat(counts, kept).astype(np.int64)
    shown = np.append(edges[kept], edges[-1])
    if shown[0] == shown[-1]:  # one single value
        shown = np.array([shown[0] - 0.5, shown[0] + 0.5])
    return Bars(shown, sums)


def normal_counts(bars: Bars, mean: float, std: float) -> npt.NDArray[np.float64]:
    """What a normal distribution of this mean and deviation would count, `[n]`; zeros where it is none."""
    if not (std > 0 and math.isfinite(mean)):
        return np.zeros(len(bars.counts))
    below = np.array([0.5 * math.erfc((mean - edge) / (std * math.sqrt(2))) for edge in bars.edges])
    return np.diff(below) * int(bars.counts.sum())
