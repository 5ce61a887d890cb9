"""Distributions of a layer: counts, samples and quantiles against numpy's."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.reader import NeuronCache
from dashboard.layer.charts import distribution_figure, layers_figure, maxima_figure
from dashboard.layer.distributions import (
    MAX_POINTS,
    QUANTITIES,
    bar_limits,
    distribution_of,
    layer_quantiles,
    paired_maxima,
)

VALUES = st.lists(
    st.floats(-5, 1e6, width=32) | st.just(np.nan) | st.just(0.0) | st.just(np.inf), min_size=0, max_size=60
)


@given(VALUES, st.sampled_from(QUANTITIES))
def test_every_neuron_is_in_one_bar_or_left_out(values: list[float], name: str) -> None:
    array = np.array(values, dtype=np.float64)
    distribution = distribution_of(name, array)
    assert distribution.counts.sum() + distribution.left_out == len(values)
    assert np.isfinite(distribution.positions).all()
    inside = np.zeros(len(array), dtype=int)
    for bar, count in enumerate(distribution.counts):
        low, high = bar_limits(distribution, bar)
        within = (array >= low) & (array <= high)  # as the list of neurons filters
        assert within.sum() == count or distribution.counts.sum() == 0
        inside += within
    if distribution.counts.sum():
        assert inside.max() == 1


def test_points_are_evenly_few() -> None:
    before = np.linspace(-1, 10, 3 * MAX_POINTS)
    points = paired_maxima(before, before[::-1] + 2)
    assert 0 < len(points.neurons) <= MAX_POINTS
    assert points.n_neurons == int(((before > 0) & (before[::-1] + 2 > 0)).sum())
    assert np.array_equal(points.before, before[points.neurons])
    assert len(paired_maxima(np.array([np.nan, -1.0]), np.array([1.0, 1.0])).neurons) == 0


def test_quantiles_of_layers(tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    found = layer_quantiles(cache.path, "hook_mid")
    assert found["layer"].tolist() == [0]
    for name in QUANTITIES:
        values = cache.table(0, "hook_mid")[name].to_numpy().astype(np.float64)
        expected = np.quantile(values[np.isfinite(values)], [0.05, 0.25, 0.5, 0.75, 0.95])
        assert found[name][0] == pytest.approx(expected, rel=1e-6)


def test_figures_say_what_they_count(tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    table = cache.table(0, "hook_mid")
    for name in QUANTITIES:
        distribution = distribution_of(name, table[name].to_numpy().astype(np.float64))
        bars = distribution_figure(distribution).data[0]
        assert sum(bars.y) == cache.d_mlp - distribution.left_out
        assert "neuron" in bars.customdata[0]
        assert len(layers_figure(name, layer_quantiles(cache.path, "hook_mid")).data[0].median) == 1
    maxima = table["max"].to_numpy().astype(np.float64)
    assert maxima_figure(paired_maxima(maxima, maxima)).data[0].x.tolist() == maxima[maxima > 0].tolist()
