"""A layer at a glance: how its neurons are spread, counted where they lie. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cache.format import schema
from dashboard.shared.parquet_sql import table_of

SPREAD = ("density", "kurtosis", "max")
"""The quantities whose distribution over a layer is shown."""
N_BARS = 40
MOST_POINTS = 4000
"""Neurons drawn one by one at most; of more, a sample."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LIFT = {"kurtosis": 3.0}  # what makes a quantity positive: excess kurtosis is never below -2

Quantiles = Mapping[str, npt.NDArray[np.float64]]
"""By quantity `[layers, 5]`: 5, 25, 50, 75, 95% of a layer's neurons; under `layer` the layers' numbers."""


@dataclass(frozen=True)
class Spread:
    """A quantity over the neurons of a layer, in bars that are even in its logarithm."""

    name: str
    edges: npt.NDArray[np.float64]
    """`[n + 1]`, in the quantity's own units."""
    counts: npt.NDArray[np.int64]
    """`[n]` neurons."""
    left_out: int
    """Neurons whose value is no number, or not above 0: dead ones."""

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """Where the edges are drawn, `[n + 1]`."""
        return log_position(self.name, self.edges)


def log_position(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where values are drawn: the decimal logarithm, for kurtosis that of what it is above -3."""
    return np.log10(values + _LIFT.get(name, 0.0))


def spread_of(name: str, values: npt.NDArray[np.float64], n_bars: int = N_BARS) -> Spread:
    """Count a quantity of every neuron of a layer."""
    lift = _LIFT.get(name, 0.0)
    kept = values[np.isfinite(values) & (values + lift > 0)]
    if not len(kept):
        return Spread(name, np.array([1.0, 10.0]), np.array([0]), len(values))
    low, high = kept.min() + lift, kept.max() + lift
    edges = np.geomspace(low, high, n_bars + 1) - lift if high > low else np.array([low, high * 1.001]) - lift
    edges[0], edges[-1] = kept.min(), max(kept.max(), edges[-1])
    return Spread(name, edges, np.histogram(kept, edges)[0], len(values) - len(kept))


@dataclass(frozen=True)
class Points:
    """Neurons by their maximum before and after the LayerNorm."""

    neurons: npt.NDArray[np.int64]
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    n_neurons: int
    """Of how many these are a sample."""


def points_of(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Points:
    """Neurons whose maxima are above 0 at both hooks; of more than can be told apart, evenly many."""
    there = np.flatnonzero((before > 0) & (after > 0) & np.isfinite(before) & np.isfinite(after))
    few = there[:: max(1, -(-len(there) // MOST_POINTS))]
    return Points(few, before[few], after[few], len(there))


def layer_quantiles(cache: Path, hook: str) -> Quantiles:
    """Of each quantity the quantiles over the neurons of every layer.

    Raises:
        CacheError: the cache is damaged.
    """
    columns = ", ".join(
        f"quantile_cont({name}, {list(_QUANTILES)}) FILTER (WHERE isfinite({name})) AS {name}"
        for name in SPREAD
    )
    table = table_of(
        f"SELECT layer, {columns} FROM read_parquet($file) WHERE hook = $hook GROUP BY layer ORDER BY layer",  # noqa: S608
        {"file": str(cache / schema.NEURONS), "hook": hook},
    )
    missing = [np.nan] * len(_QUANTILES)
    return {
        name: np.array([row or missing for row in table[name].to_pylist()], dtype=np.float64)
        for name in SPREAD
    } | {"layer": table["layer"].to_numpy().astype(np.float64)}


def column(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers."""
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def interval_around(spread: Spread, bar: int) -> tuple[float, float]:
    """From where to where a bar's neurons lie, as an address says it: nothing of a neighbour is in it."""
    low, high = float(spread.edges[bar]), float(spread.edges[bar + 1])
    return low, high if bar == len(spread.counts) - 1 else float(np.nextafter(high, low))
