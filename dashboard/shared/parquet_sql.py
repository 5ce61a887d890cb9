"""SQL over a cache's Parquet files, by DuckDB. Pure; safe to call from many threads."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cache.format.schema import CacheError

Value = str | int | float | bool | None | Sequence[str] | Sequence[int] | Sequence[float]


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """The one database, in memory and empty: it is there to read files."""
    database = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": "2GB",
        },
    )
    database.execute("SET GLOBAL parquet_metadata_cache = true")  # a file that changed is read again
    return database


def table_of(sql: str, values: Mapping[str, Value], tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
    """The rows that a statement gives.

    Args:
        sql: our own words alone; whatever comes from elsewhere is a `$name` in it.
        values: by those names.
        tables: in memory, by the names that the statement knows them under.

    Raises:
        CacheError: a file is missing or damaged.
    """
    with _database().cursor() as connection:  # a connection of its own: a shared one would mix up threads
        for name, table in (tables or {}).items():
            connection.register(name, table)
        try:
            return connection.execute(sql, dict(values)).to_arrow_table()
        except duckdb.Error as error:
            raise CacheError(
                f"a file of the cache cannot be read ({error}): copy the cache again or build it again"
            ) from error


def column_names(file: Path) -> frozenset[str]:
    """The columns that a Parquet file has.

    Raises:
        CacheError: it is missing or damaged.
    """
    try:
        return frozenset(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise CacheError(
            f"{file} cannot be read ({error}): copy the cache again or build it again"
        ) from error
