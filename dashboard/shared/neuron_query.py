"""A query over the neurons of a cache: a filter, an order and a page. It is answered in `dashboard.neurons`.

Imports no DuckDB, which takes 30 MB: every page reads addresses that hold a query.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

DEAD_SHARE = 1e-3
"""A neuron that never reaches this share of its layer's strongest activation is marked dead."""

ALWAYS_ON = 0.5
"""A neuron above a tenth of its maximum on more than this share of tokens is marked always on."""

QUANTITIES = MappingProxyType(
    {
        "max": "max",
        "density": "density",
        "kurtosis": "kurtosis",
        "skewness": "skewness",
        "share": "best_source_share",
    }
)
"""Quantities to filter and sort by: the name in an address and the column in the file."""

SORTS = (*QUANTITIES, "neuron", "match")
"""Sort orders. `match` is the order of a search; without a search it is that of the neurons' numbers."""

STATES = ("alive", "all", "dead", "always")
"""States to filter by: not dead, all, dead, always on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval; None is no bound."""

    low: float | None = None
    high: float | None = None

    @property
    def is_open(self) -> bool:
        """True if it has no bound: it then holds NaN too."""
        return self.low is None and self.high is None


@dataclass(frozen=True, slots=True)
class Query:
    """A filter, an order and a page."""

    hook: str
    layer: int | None = None
    """The layer; None: all layers."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """By name in `QUANTITIES`; NaN lies in no bounded interval."""
    source: str | None = None
    """Only neurons whose activation comes mostly from this source; None: any source."""
    state: str = "alive"
    """One of `STATES`."""
    sort: str = "kurtosis"
    """One of `SORTS`. NaN comes last; equal values are ordered by layer and neuron."""
    descending: bool = True
    page: int = 1
    """Number of the page, from 1."""

    def with_(self, **changes: Any) -> "Query":
        """Return a copy with `changes`."""
        return replace(self, **changes)
