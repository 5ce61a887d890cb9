"""Ranges of activation, each with a uniform sample of its tokens, although the maximum is known last.

A neuron's ten ranges reach from 0 to its maximum; their edges are the nearest edges of histogram bins.
While the corpus is read, a neuron has one sample for each of its highest bins (the tracked ones), one for
all positive values below them, and one for all other values. When the maximum rises, the lowest tracked
bins join the sample below them: the tokens of lowest priority of a union are among those of its parts. At
the end each range is a union of whole samples, and its sample is the one that a pass would have drawn
that knew the maximum from the start.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, ZERO, bin_edges, bin_index
from cache.statistics import example_lists
from cache.statistics.example_lists import ExampleLists

N_INTERVALS = 10
"""Ranges above 0."""
# With eight bins to an octave, 27 to 29 bins lie from that of a tenth of a value to that of the value.
N_TRACKED = 29
"""Tracked bins, which always reach from the maximum down to a tenth of it."""

NOT_POSITIVE, LOW, FIRST_TRACKED = 0, 1, 2
"""A neuron's lists: values at or below 0, positive values below the tracked bins, then one a tracked bin."""
N_LISTS = FIRST_TRACKED + N_TRACKED


def first_base() -> int:
    """Return the lowest tracked bin before any token was read: the lowest positive one."""
    return ZERO + 1


@dataclass(frozen=True)
class Interval:
    """A range of activation: consecutive bins of the histogram."""

    first_bin: int
    last_bin: int
    """Index of the last bin, inclusive."""
    low: float
    """Lower edge: outside the range at or below zero, inside it above zero."""
    high: float
    """Upper edge: inside the range at or below zero and in the highest one, else outside."""


def intervals(maximum: float) -> list[Interval]:
    """Return the ranges of a neuron, lowest first: one at or below zero, then up to ten to its maximum.

    Edges are the bin edges nearest to k/10 of the maximum, the lower of two equally near. Where two of them
    coincide, because a bin is wider than a tenth of the maximum, two ranges become one.

    Args:
        maximum: the highest activation; NaN where nothing was counted.
    """
    result = [Interval(0, ZERO, -np.inf, 0.0)]
    if not maximum > 0:
        return result
    edges = bin_edges()
    # Edges are compared as bins, so a range is always a union of whole bins.
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


def rebased(
    lists: ExampleLists, base: npt.NDArray[np.int32], new_base: npt.NDArray[np.int32]
) -> ExampleLists:
    """Return the samples after the bins below `new_base` have joined the list LOW.

    The compiled loop does the same for one neuron in place, see `example_kernels.raise_base`.

    Args:
        lists: `N_LISTS` for each neuron.
        base: `[M]`, the lowest tracked bin.
        new_base: `[M]`, the lowest bin to track, none of them below `base`.
    """
    if (base == new_base).all():
        return lists
    n = len(base)
    by = (new_base - base)[:, None]
    old = np.arange(N_LISTS)
    shifted = np.minimum(old + by, N_LISTS)  # source of each list; N_LISTS is an empty one
    source = np.where(old >= FIRST_TRACKED, shifted, old)
    spare = example_lists.ExampleLists(*(np.zeros((n, 1, *a.shape[1:]), a.dtype) for a in lists))
    grouped = ExampleLists(
        *(
            np.concatenate([a.reshape(n, N_LISTS, *a.shape[1:]), b], axis=1)
            for a, b in zip(lists, spare, strict=True)
        )
    )
    rows = np.arange(n)[:, None]
    moved = ExampleLists(*(a[rows, source].reshape(n * N_LISTS, *a.shape[2:]) for a in grouped))
    # LOW becomes the best of its own examples and of those of the lists that are no longer tracked.
    falling = np.concatenate([[False] * FIRST_TRACKED, np.ones(N_TRACKED, dtype=bool)]) & (
        old < FIRST_TRACKED + by
    )
    falling[:, LOW] = True
    low = ExampleLists(*(a[:, :N_LISTS].reshape(n, N_LISTS * a.shape[2], *a.shape[3:]) for a in grouped))
    low = low._replace(length=np.where(np.repeat(falling, lists.k, axis=1), low.length, 0))
    best = example_lists.canonical(low, lists.k)
    low_lists = np.arange(n) * N_LISTS + LOW
    for target, value in zip(moved, best, strict=True):
        target[low_lists] = value
    return moved


def lists_of(interval: Interval, base: int) -> list[int]:
    """Return the indices of the lists of a neuron that together sample a range."""
    if interval.last_bin <= ZERO:
        return [NOT_POSITIVE]
    bins = range(max(interval.first_bin, base), interval.last_bin + 1)
    low = [LOW] if interval.first_bin < base else []
    return low + [FIRST_TRACKED + b - base for b in bins]


def counts_of(interval: Interval, counts: npt.NDArray[np.int64]) -> int:
    """Return the exact number of tokens in a range, from the histogram `[N_BINS]`."""
    assert len(counts) == N_BINS
    return int(counts[interval.first_bin : interval.last_bin + 1].sum())
