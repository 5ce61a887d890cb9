"""The database of annotations, hypotheses, judgements and studies, with several writers at once."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.shared.annotations.content import VARIABLE, AnnotationError

WAIT = 10.0
"""Seconds that a write waits for another one to end."""


class Database:
    """A pool of connections, safe to share between threads. Several processes may use one database.

    Args:
        url: in SQLAlchemy's form, e.g. `sqlite:////home/me/annotations.sqlite`.

    Raises:
        AnnotationError: the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        with _explained("at the given address"):
            self._url = sa.make_url(url)
        with _explained(self._url):
            self._is_sqlite = self._url.get_backend_name() == "sqlite"
            if self._is_sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = {"timeout": WAIT} if self._is_sqlite else {}
            self._engine = sa.create_engine(self._url, connect_args=arguments, hide_parameters=True)
            if self._is_sqlite:
                sa.event.listen(self._engine, "connect", _prepare_sqlite)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def create_tables(self, metadata: sa.MetaData) -> None:
        """Create the tables and indexes that do not exist yet.

        Raises:
            AnnotationError: the database cannot be written.
        """
        try:
            self._create(metadata)
        except AnnotationError:
            if self._is_sqlite:
                raise
            # PostgreSQL's IF NOT EXISTS takes no lock: of two processes that start at once, one fails.
            self._create(metadata)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection to read from.

        Raises:
            AnnotationError: the database cannot be read.
        """
        with _explained(self._url), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction, which is committed at the end of the block.

        On SQLite it holds the lock for writing from its start, so what it reads cannot change before it
        writes.

        Raises:
            AnnotationError: the database cannot be written.
        """
        with _explained(self._url), self._engine.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def _create(self, metadata: sa.MetaData) -> None:
        with self.writing() as connection:
            for table in metadata.tables.values():
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    """Let readers continue while one writer writes, and commit to the disk."""
    connection.isolation_level = None  # Database.writing begins the transactions, not the driver
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Set the write-ahead log.

    SQLite refuses that at once, without its usual wait, while another connection does the same.
    """
    until = time.monotonic() + WAIT
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def _explained(url: sa.URL | str) -> Iterator[None]:
    """Turn a database's errors into AnnotationError, with the next step."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error)
        name = url.render_as_string(hide_password=True) if isinstance(url, sa.URL) else url
        raise AnnotationError(f"the database {name} cannot be used ({reason}): {_advice(reason)}") from error


def _advice(reason: str) -> str:
    """Return the next step for a database's error message."""
    reason = reason.lower()
    if "locked" in reason:
        return "another program is writing to it. Try again in a moment"
    if "disk is full" in reason or "no space" in reason:
        return "free some room on that disk and try again"
    if "not a database" in reason or "malformed" in reason:
        return f"it is damaged. Move the file away, or name another with {VARIABLE}"
    return (
        "make its folder writable for the account that the dashboard runs under, or name another database "
        f"with `solu dashboard --annotations URL` or {VARIABLE}, for example sqlite:////home/me/labels.sqlite"
    )
