"""The database of what people make: one file or server, written by several people and processes at once."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from dashboard.shared.annotations.content import VARIABLE, AnnotationError

WAIT = 10.0
"""Seconds a write waits for another to end."""


class Database:
    """A connection to it; safe to share between threads, and between processes.

    Args:
        url: as SQLAlchemy takes it, e.g. `sqlite:////home/me/annotations.sqlite`.
        keeps: what is kept in it, as its errors call that.

    Raises:
        AnnotationError: it cannot be opened.
    """

    def __init__(self, url: str, keeps: str = "labels") -> None:
        self._keeps = keeps
        with _explained("the address given", keeps):
            self._url = sa.make_url(url)
        with _explained(self._url, keeps):
            self._is_sqlite = self._url.get_backend_name() == "sqlite"
            if self._is_sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = {"timeout": WAIT} if self._is_sqlite else {}
            self._engine = sa.create_engine(self._url, connect_args=arguments, hide_parameters=True)
            if self._is_sqlite:
                sa.event.listen(self._engine, "connect", _prepare_sqlite)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read from.

        Raises:
            AnnotationError: the database cannot be read.
        """
        with _explained(self._url, self._keeps), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that reads what it will change after it holds the right to write.

        Raises:
            AnnotationError: the database cannot be written.
        """
        with _explained(self._url, self._keeps), self._engine.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    """Readers and one writer at a time; what is committed is on disk."""
    connection.isolation_level = None  # transactions begin where Database.writing says
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Set the write-ahead log, which SQLite refuses without its usual wait while another sets it."""
    until = time.monotonic() + WAIT
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def _explained(url: sa.URL | str, keeps: str) -> Iterator[None]:
    """Turn a database's errors into ours, which name the next step."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
        said = str(getattr(error, "orig", None) or error)
        name = url.render_as_string(hide_password=True) if isinstance(url, sa.URL) else url
        raise AnnotationError(
            f"{keeps} cannot be kept in {name} ({said}): {_advice(said.lower())}"
        ) from error


def _advice(said: str) -> str:
    """What to do, by what the database said."""
    if "locked" in said:
        return "another program is writing to it. Try again in a moment"
    if "disk is full" in said or "no space" in said:
        return "free some room on that disk and try again"
    if "not a database" in said or "malformed" in said:
        return f"it is damaged. Move the file away, or name another with {VARIABLE}"
    return (
        "make its folder writable for the account that the dashboard runs under, or name another database "
        f"with `solu dashboard --annotations URL` or {VARIABLE}, as sqlite:////home/me/labels.sqlite"
    )
