"""Intervals of activation, each with a uniform sample of its tokens; the maximum is known only at the end.

A neuron's ten intervals reach from 0 to its maximum, their edges at the nearest edges of histogram bins.
While the corpus passes, one sample is kept for each of the highest bins, one for all that is positive and
below them, one for all that is not. When the maximum rises, the lowest tracked bins join the sample below:
of a union's tokens, those of lowest priority are among those of its parts. So at the end every interval is
a union of whole samples, and its sample is what one pass that knew the maximum would have drawn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, ZERO, bin_edges, bin_index
from cache.statistics import kept
from cache.statistics.kept import Kept

N_INTERVALS = 10
N_TRACKED = 29
"""Bins from the maximum's down to the one that holds a tenth of it: never more."""

NOT_POSITIVE, LOW, FIRST_TRACKED = 0, 1, 2
"""A neuron's lists: values at or below 0, positive ones below the tracked bins, then bin by bin."""
N_LISTS = FIRST_TRACKED + N_TRACKED


def first_base() -> int:
    """The first tracked bin before anything was seen: the lowest positive one."""
    return ZERO + 1


@dataclass(frozen=True)
class Interval:
    """Consecutive bins."""

    first_bin: int
    last_bin: int
    """Inclusive."""
    low: float
    high: float
    """Edges: low < x <= high at or below zero; low <= x < high above it, the last one to its maximum."""


def intervals(maximum: float) -> list[Interval]:
    """The intervals of a neuron: one at or below zero, then up to ten from 0 to its maximum.

    Edges lie at the bin edges nearest to k/10 of the maximum; where bins are wider than a tenth two
    intervals become one.

    Args:
        maximum: the highest activation; NaN where nothing was counted.
    """
    result = [Interval(0, ZERO, -np.inf, 0.0)]
    if not maximum > 0:
        return result
    edges = bin_edges()
    top = int(bin_index(np.array([maximum], dtype=np.float32))[0])
    first = ZERO + 1
    for k in range(1, N_INTERVALS + 1):
        if k == N_INTERVALS:
            following = top + 1
        else:
            wanted = maximum * k / N_INTERVALS
            at = int(bin_index(np.array([wanted], dtype=np.float32))[0])
            following = at if wanted - edges[at] <= edges[at + 1] - wanted else at + 1
        if following > first:
            high = maximum if k == N_INTERVALS else float(edges[following])
            result.append(Interval(first, following - 1, float(edges[first]), high))
            first = following
    return result


def raised(lists: Kept, base: npt.NDArray[np.int32], new_base: npt.NDArray[np.int32]) -> Kept:
    """The samples as they are once bins below `new_base` have joined the list LOW.

    Args:
        lists: `N_LISTS` a neuron. base, new_base: `[M]`, the first tracked bin, before and after.
    """
    if (base == new_base).all():
        return lists
    n = len(base)
    by = (new_base - base)[:, None]
    old = np.arange(N_LISTS)
    shifted = np.minimum(old + by, N_LISTS)  # where list k comes from; N_LISTS is an empty one
    source = np.where(old >= FIRST_TRACKED, shifted, old)
    spare = kept.Kept(*(np.zeros((n, 1, *a.shape[1:]), a.dtype) for a in lists))
    grouped = Kept(
        *(
            np.concatenate([a.reshape(n, N_LISTS, *a.shape[1:]), b], axis=1)
            for a, b in zip(lists, spare, strict=True)
        )
    )
    rows = np.arange(n)[:, None]
    moved = Kept(*(a[rows, source].reshape(n * N_LISTS, *a.shape[2:]) for a in grouped))
    # All that fell out, with what LOW held: the best of it is the new LOW.
    falling = np.concatenate([[False] * FIRST_TRACKED, np.ones(N_TRACKED, dtype=bool)]) & (
        old < FIRST_TRACKED + by
    )
    falling[:, LOW] = True
    low = Kept(*(a[:, :N_LISTS].reshape(n, N_LISTS * a.shape[2], *a.shape[3:]) for a in grouped))
    low = low._replace(length=np.where(np.repeat(falling, lists.k, axis=1), low.length, 0))
    best = kept.canonical(low, lists.k)
    at = np.arange(n) * N_LISTS + LOW
    for target, value in zip(moved, best, strict=True):
        target[at] = value
    return moved


def lists_of(interval: Interval, base: int) -> list[int]:
    """The lists of a neuron whose union samples an interval."""
    if interval.last_bin <= ZERO:
        return [NOT_POSITIVE]
    bins = range(max(interval.first_bin, base), interval.last_bin + 1)
    low = [LOW] if interval.first_bin < base else []
    return low + [FIRST_TRACKED + b - base for b in bins]


def counts_of(interval: Interval, counts: npt.NDArray[np.int64]) -> int:
    """Tokens in an interval, exactly, from the histogram `[N_BINS]`."""
    assert len(counts) == N_BINS
    return int(counts[interval.first_bin : interval.last_bin + 1].sum())
