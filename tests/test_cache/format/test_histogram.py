"""The bins of the histogram against their definition, quantiles, counts and moments."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache.format.histogram import N_BINS, ZERO, Histogram, bin_edges, bin_index, moments_of

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def histogram_of(values: list[float]) -> Histogram:
    index = bin_index(np.array(values, dtype=np.float32))
    return Histogram(np.bincount(index, minlength=N_BINS).astype(np.int64))


@given(floats)
def test_a_value_lies_in_its_bin(x):
    edges = bin_edges()
    index = int(bin_index(np.array([x], dtype=np.float32))[0])
    low, high = edges[index], edges[index + 1]
    if x > 0:
        assert low <= x < high
    elif x < 0:
        assert low < x <= high
    else:
        assert index == ZERO
        assert low == high == 0


def test_bins_are_ascending_symmetric_and_at_most_an_eighth_wide():
    edges = bin_edges()
    assert len(edges) == N_BINS + 1
    assert (np.diff(edges[1:-1]) >= 0).all()
    np.testing.assert_array_equal(edges, -edges[::-1])
    low, high = edges[ZERO + 2 : -2], edges[ZERO + 3 : -1]
    assert ((high - low) / low <= 0.125).all()


def test_hand_worked_bins():
    edges = bin_edges()
    (one,) = bin_index(np.array([1.0], dtype=np.float32))
    assert (edges[one], edges[one + 1]) == (1.0, 1.125)
    (tiny,) = bin_index(np.array([1e-30], dtype=np.float32))
    assert tiny == ZERO + 1
    (huge,) = bin_index(np.array([-1e30], dtype=np.float32))
    assert huge == 0
    assert list(bin_index(np.array([0.0, -0.0], dtype=np.float32))) == [ZERO, ZERO]


@given(st.lists(floats, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_lies_between_its_edges(values, q):
    low, high = histogram_of(values).quantile(q)
    x = np.sort(np.array(values, dtype=np.float32))
    assert low <= x[min(int(np.floor(q * len(x))), len(x) - 1)] <= high


@example([0.0], 1e-38)
@given(st.lists(floats, min_size=1, max_size=60), floats)
def test_count_from_counts_from_the_bin_edge_up(values, threshold):
    n, edge = histogram_of(values).count_from(threshold)
    x = np.array(values, dtype=np.float32)
    # Negative bins, and the one between zero and the smallest positive bin, leave their low edge out.
    open_below = threshold < 0 or 0 < threshold < 2.0**-24
    expected = (x > edge).sum() if open_below else (x >= edge).sum()
    assert n == expected


def test_quantile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a histogram with tokens"):
        Histogram(np.zeros(N_BINS, dtype=np.int64)).quantile(0.5)


def test_moments_against_their_definition():
    x = np.random.default_rng(0).gamma(2.0, size=(3, 1000))
    x[2] = 7.0
    sums = np.stack([(x**p).sum(1) for p in (1, 2, 3, 4)], axis=1)
    mean, std, skewness, kurtosis = moments_of(np.full(3, 1000), sums)
    z = (x[:2] - x[:2].mean(1, keepdims=True)) / x[:2].std(1, keepdims=True)
    np.testing.assert_allclose(mean, x.mean(1))
    np.testing.assert_allclose(std[:2], x[:2].std(1))
    np.testing.assert_allclose(skewness[:2], (z**3).mean(1))
    np.testing.assert_allclose(kurtosis[:2], (z**4).mean(1) - 3)
    assert np.isnan(skewness[2])
    assert np.isnan(kurtosis[2])
