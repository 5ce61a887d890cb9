"""Bars against counts of the values themselves, and normal counts against draws."""

import numpy as np
import pytest

from analysis.histogram_bars import Bars, bars_from_histogram, normal_counts
from cache.format.histogram import N_BINS, Histogram, Moments, bin_index


def _histogram(values: np.ndarray) -> tuple[Histogram, Moments]:
    counts = np.bincount(bin_index(values.astype(np.float32)), minlength=N_BINS)
    low, high = float(values.min()), float(values.max())
    return Histogram(counts), Moments(len(values), 0, 0, low, high, 0, 1, 0, 0)


def test_bars_are_exact_and_lose_nothing() -> None:
    values = np.random.default_rng(0).standard_t(2, size=5000).astype(np.float32)
    histogram, moments = _histogram(values)
    bars = bars_from_histogram(histogram, moments)
    assert bars.counts.sum() == 5000
    assert (bars.edges[0], bars.edges[-1]) == (moments.min, moments.max)
    assert np.all(np.diff(bars.edges) > 0)
    # A negative bin holds its upper edge, a positive one its lower: compare away from the edges.
    inner = np.searchsorted(bars.edges[1:-1], values[~np.isin(values, bars.edges)])
    assert np.array_equal(np.bincount(inner, minlength=len(bars.counts))[1:-1], bars.counts[1:-1])


@pytest.mark.parametrize("values", [[0.0, 0.0], [2.5], [-1e-9, 1e-9], [-3.0, 0.0, 7.0]])
def test_bars_of_few_values(values: list[float]) -> None:
    histogram, moments = _histogram(np.array(values))
    bars = bars_from_histogram(histogram, moments)
    assert bars.counts.sum() == len(values)
    assert len(bars.edges) == len(bars.counts) + 1


def test_normal_counts_are_those_of_many_draws() -> None:
    draws = np.random.default_rng(0).normal(2, 3, size=200_000)
    edges = np.linspace(-8, 12, 21)
    bars = Bars(edges, np.histogram(draws, edges)[0])
    assert normal_counts(bars, 2, 3) == pytest.approx(bars.counts, abs=5 * np.sqrt(200_000 / 20))
    assert not normal_counts(bars, 2, 0).any()
    assert not normal_counts(bars, np.nan, 1).any()
