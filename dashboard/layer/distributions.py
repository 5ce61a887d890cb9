"""Distributions of the neurons of a layer, and of all layers, counted from a cache.

Legend: n bars, L layers, M neurons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cache.format import schema
from dashboard.shared.parquet_sql import table_of

QUANTITIES = ("density", "kurtosis", "max")
"""Columns of `neurons.parquet` whose distribution over a layer is drawn."""
N_BARS = 40
MAX_POINTS = 4000
"""Largest number of neurons drawn one by one; a wider layer is sampled."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Added before taking the logarithm. Excess kurtosis is at least -2, so that 3 makes it positive.
_OFFSET = {"kurtosis": 3.0}

LayerQuantiles = Mapping[str, npt.NDArray[np.float64]]
"""By quantity `[L, 5]`: the 5, 25, 50, 75 and 95% quantiles over a layer's neurons; `layer`: its index."""


@dataclass(frozen=True)
class Distribution:
    """Numbers of neurons by value of a quantity, in n bars of equal width in its logarithm."""

    name: str
    """One of `QUANTITIES`."""
    edges: npt.NDArray[np.float64]
    """`[n + 1]`, in the quantity's own unit."""
    counts: npt.NDArray[np.int64]
    """`[n]`, neurons."""
    left_out: int
    """Neurons without a logarithm: the value is NaN, infinity or not above 0, as of a dead neuron."""

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """`[n + 1]`, positions of the edges on the axis."""
        return log_position(self.name, self.edges)


def log_position(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions on the axis: decimal logarithms, for kurtosis those of its value plus 3."""
    return np.log10(values + _OFFSET.get(name, 0.0))


def distribution_of(name: str, values: npt.NDArray[np.float64], n_bars: int = N_BARS) -> Distribution:
    """Count the neurons of a layer by a quantity.

    Args:
        name: one of `QUANTITIES`.
        values: `[M]`.
        n_bars: number of bars; one bar if all values are equal.
    """
    offset = _OFFSET.get(name, 0.0)
    kept = values[np.isfinite(values) & (values + offset > 0)]
    if not len(kept):
        return Distribution(name, np.array([1.0, 10.0]), np.array([0]), len(values))
    low, high = kept.min() + offset, kept.max() + offset
    if high > low:
        edges = np.geomspace(low, high, n_bars + 1) - offset
    else:
        edges = np.array([low, high * 1.001]) - offset
    # Rounding in geomspace may leave the extreme values just outside.
    edges[0], edges[-1] = kept.min(), max(kept.max(), edges[-1])
    return Distribution(name, edges, np.histogram(kept, edges)[0], len(values) - len(kept))


@dataclass(frozen=True)
class Maxima:
    """Neurons with their largest activation before and after LayerNorm."""

    neurons: npt.NDArray[np.int64]
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    n_neurons: int
    """Number of neurons that these were taken from."""


def paired_maxima(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Maxima:
    """Pair the maxima of the neurons that have one above 0 at both hooks.

    Of more than `MAX_POINTS` neurons, every second, third ... is taken.

    Args:
        before: `[M]`, maxima before LayerNorm.
        after: `[M]`, maxima after LayerNorm.
    """
    usable = np.flatnonzero((before > 0) & (after > 0) & np.isfinite(before) & np.isfinite(after))
    taken = usable[:: max(1, -(-len(usable) // MAX_POINTS))]
    return Maxima(taken, before[taken], after[taken], len(usable))


def layer_quantiles(cache: Path, hook: str) -> LayerQuantiles:
    """Compute the quantiles of each quantity over the neurons of every layer.

    Args:
        cache: folder.
        hook: `hook_mid` or `hook_post`.

    Raises:
        CacheError: the cache is damaged.
    """
    columns = ", ".join(
        f"quantile_cont({name}, {list(_QUANTILES)}) FILTER (WHERE isfinite({name})) AS {name}"
        for name in QUANTITIES
    )
    table = table_of(
        f"SELECT layer, {columns} FROM read_parquet($file, hive_partitioning = false) "  # noqa: S608
        "WHERE hook = $hook GROUP BY layer ORDER BY layer",
        {"file": cache / schema.NEURONS, "hook": hook},
    )
    missing = [np.nan] * len(_QUANTILES)
    return {
        name: np.array([row or missing for row in table[name].to_pylist()], dtype=np.float64)
        for name in QUANTITIES
    } | {"layer": table["layer"].to_numpy().astype(np.float64)}


def column(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64."""
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def bar_limits(distribution: Distribution, bar: int) -> tuple[float, float]:
    """Return the limits of a bar, both included, so that the list of neurons shows its neurons alone.

    Bars but the last exclude their upper edge; the list's filter includes it. The upper limit is therefore
    the largest number below the edge.
    """
    low, high = float(distribution.edges[bar]), float(distribution.edges[bar + 1])
    return low, high if bar == len(distribution.counts) - 1 else float(np.nextafter(high, low))
