"""Which neurons a list shows, and in which order: a typed question, answered by DuckDB a page at a time.

Pure. `neurons.parquet` holds a row a neuron and hook, 2 million a hook for a model of 64 layers: no answer is
larger than a page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from cache.format import schema
from dashboard.shared.parquet_sql import Value, column_names, table_of

PAGE_SIZE = 50
"""Neurons a page."""

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
"""What a list can be filtered and sorted by: the name in an address and the column in the file."""

SORTS = (*QUANTITIES, "neuron", "match")
"""`match` is a search's own order; without a search it is that of the neurons' numbers."""

STATES = ("alive", "all", "dead", "always")
"""Neurons shown: those that are not dead, all, the dead ones, those that are always on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, both within; None is no bound."""

    low: float | None = None
    high: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it holds everything, a value that is no number included."""
        return self.low is None and self.high is None


@dataclass(frozen=True, slots=True)
class Query:
    """What a list shows."""

    hook: str
    layer: int | None = None
    """None is all layers."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """By name in `QUANTITIES`; NaN lies in no bounded one."""
    source: str | None = None
    """Only neurons whose activation comes mostly from this source."""
    state: str = "alive"
    """One of `STATES`."""
    sort: str = "kurtosis"
    """One of `SORTS`. Values that are no number come last, equal ones by layer and neuron."""
    descending: bool = True
    page: int = 1
    """From 1."""

    def with_(self, **changes: Any) -> "Query":
        """The same question but for `changes`."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Row:
    """A neuron of a list. What the cache does not know is None; what is no number is NaN."""

    layer: int
    neuron: int
    state: str
    """`dead`, `always on` or empty."""
    max: float
    density: float
    kurtosis: float
    skewness: float
    source: str | None
    """Where most of its activation above 0 came from."""
    share: float | None
    match: float | None
    """How well it fits the search."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list, and how many there are in all."""

    rows: list[Row]
    total: int
    number: int
    """The page that was found: the last one where the question names one beyond."""

    @property
    def n_pages(self) -> int:
        """At least 1."""
        return n_pages(self.total)


def n_pages(total: int) -> int:
    """Pages that a number of neurons fills, at least 1."""
    return max(1, -(-total // PAGE_SIZE))


def quantities_of(folder: Path) -> list[str]:
    """The names in `QUANTITIES` that a cache holds: older versions know no sources.

    Raises:
        CacheError: the file is missing or damaged.
    """
    held = column_names(folder / schema.NEURONS)
    return [name for name, column in QUANTITIES.items() if column in held]


def page_of(folder: Path, query: Query, found: pa.Table | None = None) -> Page:
    """A page of the neurons that a question names, and how many there are.

    Two reads: the columns that choose and order, of every neuron, and then the others of the page's neurons.

    Args:
        folder: of the cache.
        found: what a search found, with columns `layer`, `neuron` and `match`: only those are shown.

    Raises:
        CacheError: the cache is damaged.
    """
    file = folder / schema.NEURONS
    held = column_names(file)
    tables = {"strongest": _strongest(file, query.hook)}
    match = "NULL::DOUBLE"
    if found is not None:
        tables["found"], match = found, "match"
    from_, values = _from(file, query, held, with_search=found is not None)
    values |= {"limit": PAGE_SIZE, "offset": PAGE_SIZE * (query.page - 1)}
    direction = "DESC" if query.descending else "ASC"
    key = "NULL" if query.sort == "neuron" or (query.sort == "match" and found is None) else query.sort
    if key in QUANTITIES:
        key = QUANTITIES[key] if QUANTITIES[key] in held else "NULL"
    # A row's number in the file orders by layer and neuron.
    chosen = table_of(
        f"""
        WITH hits AS MATERIALIZED (
            SELECT file_row_number AS row, {_finite(key)} AS key, {match} AS match {from_}
        )
        SELECT row, match, (SELECT count(*) FROM hits) AS total FROM hits
        ORDER BY key {direction} NULLS LAST, row {direction if key == "NULL" else "ASC"}
        LIMIT $limit OFFSET $offset
        """,  # noqa: S608 our own words; values are bound
        values,
        tables,
    )
    if len(chosen) == 0:
        if query.page == 1:
            return Page([], 0, 1)
        total = _count(from_, values, tables)
        return page_of(folder, query.with_(page=n_pages(total)), found) if total else Page([], 0, 1)
    return Page(_rows(file, held, chosen, tables["strongest"]), chosen["total"][0].as_py(), query.page)


def _count(from_: str, values: dict[str, Value], tables: dict[str, pa.Table]) -> int:
    needed = {name: value for name, value in values.items() if f"${name}" in from_}
    total: int = table_of(f"SELECT count(*) AS n {from_}", needed, tables)["n"][0].as_py()
    return total


def _rows(file: Path, held: frozenset[str], chosen: pa.Table, strongest: pa.Table) -> list[Row]:
    """The rows of the file that were chosen, in that order."""
    source = "best_source, best_source_share" if "best_source" in held else "NULL, NULL"
    table = table_of(
        f"""
        SELECT layer, neuron, {_STATE} AS state, max, density, kurtosis, skewness, {source}
        FROM read_parquet($file, file_row_number = true) JOIN strongest USING (layer)
        JOIN (SELECT unnest($rows) AS file_row_number, unnest(range(len($rows))) AS place)
            USING (file_row_number)
        ORDER BY place
        """,  # noqa: S608 our own words; values are bound
        {
            "file": str(file),
            "rows": chosen["row"].to_pylist(),
            "dead_share": DEAD_SHARE,
            "always_on": ALWAYS_ON,
        },
        {"strongest": strongest},
    )
    columns = [column.to_pylist() for column in table.columns]
    return [Row(*values) for values in zip(*columns, chosen["match"].to_pylist(), strict=True)]


_ALIVE = "(isfinite(max) AND max > $dead_share * strongest IS TRUE)"
_STATE = f"CASE WHEN NOT {_ALIVE} THEN 'dead' WHEN density > $always_on THEN 'always on' ELSE '' END"
_CONDITIONS = {
    "alive": _ALIVE,
    "dead": f"NOT {_ALIVE}",
    "always": f"{_ALIVE} AND density > $always_on",
}


def _from(
    file: Path, query: Query, held: frozenset[str], *, with_search: bool
) -> tuple[str, dict[str, Value]]:
    """FROM and WHERE of a question, and the values they name."""
    conditions = ["hook = $hook"]
    values: dict[str, Value] = {"file": str(file), "hook": query.hook}
    if query.layer is not None:
        conditions.append("layer = $layer")
        values["layer"] = query.layer
    if query.state != "all":
        conditions.append(_CONDITIONS[query.state])
        values["dead_share"] = DEAD_SHARE
        if query.state == "always":
            values["always_on"] = ALWAYS_ON
    for name, interval in query.intervals.items():
        column = QUANTITIES[name]
        if interval.is_open or column not in held:
            continue
        conditions.append(f"NOT isnan({column})")  # DuckDB holds NaN for greater than any number
        for bound, sign in (("low", ">="), ("high", "<=")):
            if (value := getattr(interval, bound)) is not None:
                conditions.append(f"{column} {sign} ${name}_{bound}::DOUBLE")
                values[f"{name}_{bound}"] = float(value)
    if query.source is not None and "best_source" in held:
        conditions.append("best_source = $source")
        values["source"] = query.source
    join = "JOIN found USING (layer, neuron)" if with_search else ""
    return (
        f"FROM read_parquet($file, file_row_number = true) JOIN strongest USING (layer) {join} "
        f"WHERE {' AND '.join(conditions)}"
    ), values


def _finite(column: str) -> str:
    """A column whose values that are no number are null, so that they come last in any order."""
    return column if column == "NULL" else f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"


def _strongest(file: Path, hook: str) -> pa.Table:
    """The strongest activation of each layer at a hook: columns `layer` and `strongest`."""
    status = file.stat()
    return _read_strongest(str(file), (status.st_mtime_ns, status.st_size), hook)


@lru_cache(64)
def _read_strongest(file: str, stamp: tuple[int, int], hook: str) -> pa.Table:  # noqa: ARG001 part of the key
    return table_of(
        """
        SELECT layer, max(max) FILTER (WHERE isfinite(max))::DOUBLE AS strongest
        FROM read_parquet($file) WHERE hook = $hook GROUP BY layer
        """,
        {"file": file, "hook": hook},
    )
