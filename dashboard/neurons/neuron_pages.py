"""Read the neurons that a query selects, a page at a time, with DuckDB.

`neurons.parquet` has a row for each neuron and hook; with 64 layers that is 2 million rows for each hook. A
result is therefore never larger than a page.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from cache.format import schema
from dashboard.shared.neuron_query import ALWAYS_ON, DEAD_SHARE, QUANTITIES, Query
from dashboard.shared.parquet_sql import Value, column_names, table_of

PAGE_SIZE = 50
"""Neurons a page."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the list: one neuron. A value that the cache does not hold is None."""

    layer: int
    neuron: int
    state: str
    """`dead`, `always on` or empty."""
    max: float
    density: float
    kurtosis: float
    skewness: float
    source: str | None
    """Source that most of its activation above 0 comes from."""
    share: float | None
    match: float | None
    """Score of the search."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list, and the number of neurons on all pages."""

    rows: list[Row]
    total: int
    number: int
    """Number of this page; the last page if the query names one beyond it."""

    @property
    def n_pages(self) -> int:
        """Number of pages, at least 1."""
        return n_pages(self.total)


def n_pages(total: int) -> int:
    """Return the number of pages that `total` neurons fill, at least 1."""
    return max(1, -(-total // PAGE_SIZE))


def quantities_of(folder: Path) -> list[str]:
    """Return the names in `QUANTITIES` that a cache holds; older versions have no sources.

    Raises:
        CacheError: the file is missing or damaged.
    """
    held = column_names(folder / schema.NEURONS)
    return [name for name, column in QUANTITIES.items() if column in held]


def page_of(folder: Path, query: Query, matches: pa.Table | None = None) -> Page:
    """Return a page of the neurons that a query selects.

    It reads the file twice: first the columns that filter and sort, for every neuron, then the other columns
    for the neurons of the page.

    Args:
        folder: the cache's folder.
        matches: neurons that a search selected, with columns `layer`, `neuron` and `match`; None: no search.

    Raises:
        CacheError: the cache is damaged.
    """
    file = folder / schema.NEURONS
    held = column_names(file)
    tables = {"strongest": _strongest(file, query.hook)}
    match = "NULL::DOUBLE"
    if matches is not None:
        tables["matches"], match = matches, "match"
    from_, values = _from(file, query, held, with_search=matches is not None)
    values |= {"limit": PAGE_SIZE, "offset": PAGE_SIZE * (query.page - 1)}
    direction = "DESC" if query.descending else "ASC"
    key = "NULL" if query.sort == "neuron" or (query.sort == "match" and matches is None) else query.sort
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
        return page_of(folder, query.with_(page=n_pages(total)), matches) if total else Page([], 0, 1)
    return Page(_rows(file, held, chosen, tables["strongest"]), chosen["total"][0].as_py(), query.page)


def _count(from_: str, values: dict[str, Value], tables: dict[str, pa.Table]) -> int:
    needed = {name: value for name, value in values.items() if f"${name}" in from_}
    total: int = table_of(f"SELECT count(*) AS n {from_}", needed, tables)["n"][0].as_py()
    return total


def _rows(file: Path, held: frozenset[str], chosen: pa.Table, strongest: pa.Table) -> list[Row]:
    """Read the chosen rows of the file, in the chosen order."""
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
    """Return the FROM and WHERE clauses of a query, and the values that they name."""
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
    join = "JOIN matches USING (layer, neuron)" if with_search else ""
    return (
        f"FROM read_parquet($file, file_row_number = true) JOIN strongest USING (layer) {join} "
        f"WHERE {' AND '.join(conditions)}"
    ), values


def _finite(column: str) -> str:
    """Return SQL that turns NaN into NULL, which sorts last in either direction."""
    return column if column == "NULL" else f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"


def _strongest(file: Path, hook: str) -> pa.Table:
    """Return the strongest activation of each layer at a hook: columns `layer` and `strongest`."""
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
