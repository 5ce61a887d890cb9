"""A database of annotations that several people write to at once.

Nothing is ever changed in place: each change is a row more, and what holds is everyone's newest row. So
nobody can overwrite another's words, everything has a history, and undoing is a row too.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.annotations.content import (
    VARIABLE,
    Annotation,
    AnnotationError,
    Content,
    Key,
    Merged,
    Revision,
    checked,
    problems_of,
)

WAIT = 10.0
"""Seconds a write waits for another to end."""

_METADATA = sa.MetaData()
_REVISIONS = sa.Table(
    "revisions",
    _METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("model_sha256", sa.String(64), nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("neuron", sa.Integer, nullable=False),
    sa.Column("user", sa.String(80), nullable=False),
    sa.Column("model", sa.String(500), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("star", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("changed", sa.String(32), nullable=False),  # ISO 8601 in UTC, microseconds: sorts as text
    sa.Column("undoes", sa.BigInteger, nullable=True),
)
_INDEX = sa.Index(
    "revisions_by_neuron", *(_REVISIONS.c[n] for n in ("model_sha256", "layer", "neuron", "user"))
)


class AnnotationStore:
    """A database of annotations; safe to share between threads, and between processes.

    Args:
        url: as SQLAlchemy takes it, e.g. `sqlite:////home/me/annotations.sqlite`.

    Raises:
        AnnotationError: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        with _explained("the address given"):
            self._url = sa.make_url(url)
        with _explained(self._url):
            self._is_sqlite = self._url.get_backend_name() == "sqlite"
            if self._is_sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = {"timeout": WAIT} if self._is_sqlite else {}
            self._engine = sa.create_engine(self._url, connect_args=arguments, hide_parameters=True)
            if self._is_sqlite:
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            with self._writing() as connection:
                connection.execute(CreateTable(_REVISIONS, if_not_exists=True))
                connection.execute(CreateIndex(_INDEX, if_not_exists=True))

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def of_neuron(self, key: Key) -> list[Annotation]:
        """What everyone says of a neuron, the newest first."""
        return self._current(_is(key))

    def of_layer(self, model_sha256: str, layer: int) -> list[Annotation]:
        """What everyone says of a layer's neurons, the newest first."""
        return self._current((_REVISIONS.c.model_sha256 == model_sha256) & (_REVISIONS.c.layer == layer))

    def all(self) -> list[Annotation]:
        """Everything that everyone says, the newest first."""
        return self._current(sa.true())

    def history(self, key: Key) -> list[Revision]:
        """Every change of a neuron's annotations, the newest first."""
        with _explained(self._url), self._engine.connect() as connection:
            return _revisions(connection, key)[::-1]

    def save(self, key: Key, model: str, user: str, **changes: Any) -> Annotation | None:
        """Change parts of what a person says of a neuron.

        Args:
            changes: fields of `Content`.

        Returns:
            What holds now, on disk; None where nothing was and is said.

        Raises:
            AnnotationError: a value of the wrong kind or length, or the database cannot be written.
        """
        with _explained(self._url), self._writing() as connection:
            mine = [r.annotation for r in _revisions(connection, key, user)]
            before = mine[-1].content if mine else Content()
            content = replace(before, **changes)
            if content == before:
                return mine[-1] if mine else None
            return _add(connection, Annotation(key, model, user, content, datetime.now(UTC)))

    def last_change(self, key: Key, user: str) -> Revision | None:
        """The person's newest change that is not undone, if there is one."""
        with _explained(self._url), self._engine.connect() as connection:
            return _standing(_revisions(connection, key, user))

    def undo(self, key: Key, user: str) -> Annotation | None:
        """Take a person's own last change back; once more takes the one before it back.

        Returns:
            What holds now; None where there was nothing to undo.

        Raises:
            AnnotationError: the database cannot be written.
        """
        with _explained(self._url), self._writing() as connection:
            last = _standing(_revisions(connection, key, user))
            if last is None:
                return None
            restored = replace(last.annotation, content=last.before, changed=datetime.now(UTC))
            return _add(connection, restored, undoes=last.id)

    def merge(self, found: Iterable[Annotation]) -> Merged:
        """Take in annotations from elsewhere, all or none; where both say something, the newer stays.

        Raises:
            AnnotationError: the database cannot be written.
        """
        added = changed = skipped = 0
        with _explained(self._url), self._writing() as connection:
            here = {(a.key, a.user): a for a in _read(connection, sa.true())}
            for annotation in found:
                name = annotation.key, annotation.user
                mine = here.get(name)
                if mine and (mine.content == annotation.content or mine.changed >= annotation.changed):
                    skipped += 1
                    continue
                if mine is None and annotation.content.is_empty:
                    skipped += 1
                    continue
                here[name] = _add(connection, annotation)
                added, changed = added + (mine is None), changed + (mine is not None)
        return Merged(added, changed, skipped)

    def _current(self, where: sa.ColumnElement[bool]) -> list[Annotation]:
        with _explained(self._url), self._engine.connect() as connection:
            return [a for a in _read(connection, where) if not a.content.is_empty]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that reads what it will change after it holds the right to write."""
        with self._engine.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    """Readers and one writer at a time; what is committed is on disk."""
    connection.isolation_level = None  # transactions begin where _writing says
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


def _is(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(_REVISIONS.c[name] == value for name, value in asdict(key).items()))


def _read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Annotation]:
    """Everyone's newest row of each neuron, empty ones too, the newest first."""
    names = [_REVISIONS.c[name] for name in ("model_sha256", "layer", "neuron", "user")]
    newest = sa.select(sa.func.max(_REVISIONS.c.id)).where(where).group_by(*names)
    query = sa.select(_REVISIONS).where(_REVISIONS.c.id.in_(newest))
    order = _REVISIONS.c.changed.desc(), _REVISIONS.c.id.desc()
    return [_annotation(row) for row in connection.execute(query.order_by(*order))]


def _revisions(connection: sa.Connection, key: Key, user: str | None = None) -> list[Revision]:
    """A neuron's changes, the oldest first; of one person, or of all."""
    where = _is(key) if user is None else _is(key) & (_REVISIONS.c.user == user)
    found: list[Revision] = []
    said: dict[str, Content] = {}
    for row in connection.execute(sa.select(_REVISIONS).where(where).order_by(_REVISIONS.c.id)):
        annotation = _annotation(row)
        before = said.get(annotation.user, Content())
        found.append(Revision(row.id, annotation, before, row.undoes))
        said[annotation.user] = annotation.content
    return found


def _standing(revisions: Sequence[Revision]) -> Revision | None:
    """One person's newest change that no later one takes back."""
    undone = {r.undoes for r in revisions if r.undoes is not None}
    return next((r for r in reversed(revisions) if r.undoes is None and r.id not in undone), None)


def _annotation(row: Any) -> Annotation:
    return Annotation(
        Key(row.model_sha256, row.layer, row.neuron),
        row.model,
        row.user,
        Content(row.label, row.note, row.star, row.verdict),
        datetime.fromisoformat(row.changed),
    )


def _add(connection: sa.Connection, annotation: Annotation, undoes: int | None = None) -> Annotation:
    try:
        a = checked(asdict(annotation))
    except ValidationError as error:
        raise AnnotationError(problems_of(error)) from error
    changed = a.changed.isoformat(timespec="microseconds")
    row = {**asdict(a.key), **asdict(a.content), "model": a.model, "user": a.user, "changed": changed}
    connection.execute(_REVISIONS.insert().values(**row, undoes=undoes))
    return a


@contextmanager
def _explained(url: sa.URL | str) -> Iterator[None]:
    """Turn a database's errors into ours, which name the next step."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
        said = str(getattr(error, "orig", None) or error)
        name = url.render_as_string(hide_password=True) if isinstance(url, sa.URL) else url
        raise AnnotationError(f"labels cannot be kept in {name} ({said}): {_advice(said.lower())}") from error


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
