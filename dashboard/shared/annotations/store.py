"""A database of annotations that several people write to at once.

Nothing is ever changed in place: each change is a row more, and what holds is everyone's newest row. So
nobody can overwrite another's words, everything has a history, and undoing is a row too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.shared.annotations.content import (
    Annotation,
    AnnotationError,
    Content,
    Key,
    Merged,
    Revision,
    checked,
    problems_of,
)
from dashboard.shared.annotations.database import Database

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
        self.database = Database(url)
        with self.database.writing() as connection:
            connection.execute(CreateTable(_REVISIONS, if_not_exists=True))
            connection.execute(CreateIndex(_INDEX, if_not_exists=True))

    def close(self) -> None:
        """Close its connections."""
        self.database.close()

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
        with self.database.reading() as connection:
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
        with self.database.writing() as connection:
            mine = [r.annotation for r in _revisions(connection, key, user)]
            before = mine[-1].content if mine else Content()
            content = replace(before, **changes)
            if content == before:
                return mine[-1] if mine else None
            return _add(connection, Annotation(key, model, user, content, datetime.now(UTC)))

    def last_change(self, key: Key, user: str) -> Revision | None:
        """The person's newest change that is not undone, if there is one."""
        with self.database.reading() as connection:
            return _standing(_revisions(connection, key, user))

    def undo(self, key: Key, user: str) -> Annotation | None:
        """Take a person's own last change back; once more takes the one before it back.

        Returns:
            What holds now; None where there was nothing to undo.

        Raises:
            AnnotationError: the database cannot be written.
        """
        with self.database.writing() as connection:
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
        with self.database.writing() as connection:
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
        with self.database.reading() as connection:
            return [a for a in _read(connection, where) if not a.content.is_empty]


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
