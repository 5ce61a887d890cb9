"""SQL over a cache's Parquet files, by DuckDB; safe to call from several threads.

A layer may have millions of rows: DuckDB reads only the columns and row groups that a statement needs.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cache.format.schema import CacheError

_MAGIC = re.compile(r"[*?\[]")

Value = (
    str | int | float | bool | None | Path | Sequence[str] | Sequence[int] | Sequence[float] | Sequence[Path]
)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Open the database that all threads share: in memory and empty, it only reads files."""
    database = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,  # no downloads
            "autoload_known_extensions": False,
            "memory_limit": "2GB",
        },
    )
    database.execute(
        "SET GLOBAL parquet_metadata_cache = true"
    )  # footers are parsed once; changed files are noticed
    return database


def table_of(sql: str, values: Mapping[str, Value], tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
    """Return the rows of a SQL statement.

    Args:
        sql: a statement of this program. Input from outside must be a parameter `$name`, never part of the
        text. `read_parquet` must be told `hive_partitioning = false`: a folder called `layer=3` would else
        overwrite the column `layer`.
        values: parameters by name. A file is a `Path`: as a string, `[1]` in its name would be a pattern.
        tables: tables in memory that the statement names.

    Raises:
        CacheError: a file is missing or damaged.
    """
    with _database().cursor() as connection:  # one for each call: a shared one would mix up threads
        for name, table in (tables or {}).items():
            connection.register(name, table)
        try:
            return connection.execute(sql, {n: _parameter(v) for n, v in values.items()}).to_arrow_table()
        except duckdb.Error as error:
            raise CacheError(
                f"a file of the cache cannot be read ({error}): copy the cache again or build it again"
            ) from error


def _parameter(value: Value) -> Value:
    """Return a parameter as DuckDB takes it: a path as the pattern that it alone matches."""
    if isinstance(value, Path):
        return _MAGIC.sub(r"[\g<0>]", str(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_parameter(item) for item in value]  # type: ignore[return-value] # as many types as before
    return value


def column_names(file: Path) -> frozenset[str]:
    """Return the names of a Parquet file's columns.

    Raises:
        CacheError: the file is missing or damaged.
    """
    try:
        return frozenset(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise CacheError(
            f"{file} cannot be read ({error}): copy the cache again or build it again"
        ) from error
