"""Tables whose rows are added, and never changed or deleted. No Streamlit.

Every change is one more row. Of the rows with one key the newest is in force. A row with empty content
deletes its key. So nobody overwrites what somebody else wrote, everything has a history, and an undo is also
a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

NEURON_KEY = ("model_sha256", "layer", "neuron", "user")
"""Columns that name a neuron and the person who wrote about it."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Outcome of a merge, in rows."""

    added: int
    changed: int
    skipped: int
    """The table already holds the same content, or newer content."""


class AppendOnlyTable:
    """A table of rows that are only ever added, numbered by the database in the column `id`.

    Args:
        name: of the table.
        columns: all of them but `id`, in their order.
        key: names of the columns that identify what a row is about. One row of each key is in force.
        content: the columns that people fill in, each with its empty value.
        time: name of the column with the time of the change, as `timestamp` writes it.
        index: name of the index.
        indexed: its columns; without them, the key.
        metadata: the collection of tables that this one joins; without one, its own.
    """

    def __init__(
        self,
        name: str,
        columns: Iterable[sa.Column[Any]],
        *,
        key: Sequence[str],
        content: Mapping[str, object],
        time: str,
        index: str,
        indexed: Sequence[str] = (),
        metadata: sa.MetaData | None = None,
    ) -> None:
        # SQLite numbers rows by itself only in a column of the type INTEGER.
        number = sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
        self.metadata = sa.MetaData() if metadata is None else metadata
        self.table = sa.Table(name, self.metadata, number, *columns)
        self.key, self.content, self.time = tuple(key), dict(content), time
        sa.Index(index, *(self.table.c[column] for column in indexed or key))

    def append(self, connection: sa.Connection, **values: object) -> None:
        """Add a row.

        Args:
            values: by column; without a time, the row gets the present one.
        """
        connection.execute(self.table.insert().values({self.time: timestamp(), **values}))

    def latest(
        self,
        connection: sa.Connection,
        *,
        with_empty: bool = False,
        newest_first: bool = False,
        **equal: Any,
    ) -> list[sa.Row[Any]]:
        """Return the row in force of each key, in the order in which they were added.

        Args:
            with_empty: also return the rows that delete their key.
            newest_first: order by the time of the change instead, the latest time first. The orders differ
                where rows with older times were merged.
            equal: values of key columns; without any, the whole table.
        """
        columns, newest = self.table.c, self.table.c.id.in_(self._newest(equal))
        query = sa.select(self.table).where(newest if with_empty else self.in_force(**equal))
        order = [columns[self.time].desc(), columns.id.desc()] if newest_first else [columns.id]
        return list(connection.execute(query.order_by(*order)))

    def history(self, connection: sa.Connection, **equal: Any) -> list[sa.Row[Any]]:
        """Return every row, the oldest first.

        Args:
            equal: as in `latest`.
        """
        query = sa.select(self.table).where(self._matches(equal)).order_by(self.table.c.id)
        return list(connection.execute(query))

    def values(self, connection: sa.Connection, column: str, **equal: Any) -> list[Any]:
        """Return the different values that a column ever had, the one added last first.

        Args:
            equal: as in `latest`.
        """
        query = sa.select(self.table.c[column]).where(self._matches(equal)).group_by(self.table.c[column])
        return list(connection.scalars(query.order_by(sa.func.max(self.table.c.id).desc())))

    def merge(self, connection: sa.Connection, rows: Iterable[Mapping[str, object]]) -> Merged:
        """Add rows from elsewhere. Of two rows with one key the later is in force afterwards.

        A row is skipped where the one in force has the same content or is at least as new, and where it takes
        back a key that this table does not hold.

        Args:
            rows: values by column, with their times.
        """
        added = changed = skipped = 0
        # One query for all: a file holds thousands of rows.
        in_force: dict[tuple[object, ...], Mapping[str, object]] = {
            self._key_of(row): row for row in (r._asdict() for r in self.latest(connection, with_empty=True))
        }
        for row in rows:
            present = in_force.get(self._key_of(row))
            if present is None:
                is_new = any(row[column] != empty for column, empty in self.content.items())
            else:
                differs = any(row[column] != present[column] for column in self.content)
                is_new = differs and str(row[self.time]) > str(present[self.time])
            if not is_new:
                skipped += 1
                continue
            self.append(connection, **row)
            in_force[self._key_of(row)] = row
            added, changed = added + (present is None), changed + (present is not None)
        return Merged(added, changed, skipped)

    def in_force(self, **equal: Any) -> sa.ColumnElement[bool]:
        """Return the condition that a row is the newest of its key and not empty, for queries of your own.

        Args:
            equal: as in `latest`.
        """
        empty = sa.and_(*(self.table.c[column] == value for column, value in self.content.items()))
        return sa.and_(self.table.c.id.in_(self._newest(equal)), sa.not_(empty))

    def _newest(self, equal: Mapping[str, object]) -> sa.Select[tuple[int]]:
        """Select the number of each key's newest row."""
        query = sa.select(sa.func.max(self.table.c.id)).where(self._matches(equal))
        return query.group_by(*(self.table.c[column] for column in self.key))

    def _matches(self, equal: Mapping[str, object]) -> sa.ColumnElement[bool]:
        # By another column than the key's, an older row could match and its newer one not.
        if unknown := set(equal) - set(self.key):
            raise ValueError(f"expected columns of the key {', '.join(self.key)}, found {', '.join(unknown)}")
        return sa.and_(sa.true(), *(self.table.c[column] == value for column, value in equal.items()))

    def _key_of(self, row: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(row[column] for column in self.key)


def neuron_columns() -> list[sa.Column[Any]]:
    """Return new columns for `NEURON_KEY`."""
    return [
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("layer", sa.Integer, nullable=False),
        sa.Column("neuron", sa.Integer, nullable=False),
        sa.Column("user", sa.String(80), nullable=False),
    ]


def time_column(name: str) -> sa.Column[str]:
    """Return a new column for times, as `timestamp` writes them."""
    return sa.Column(name, sa.String(32), nullable=False)


def timestamp(time: datetime | None = None) -> str:
    """Return a time, or the present one, in UTC as ISO 8601 with microseconds, which sorts as text."""
    return (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds")
