"""The store of annotations, with history, undo and import. No Streamlit."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dashboard.shared.annotations.append_only import (
    NEURON_KEY,
    AppendOnlyTable,
    Merged,
    neuron_columns,
    time_column,
    timestamp,
)
from dashboard.shared.annotations.content import Annotation, Content, Key, Revision, checked
from dashboard.shared.annotations.database import Database

REVISIONS = AppendOnlyTable(
    "revisions",
    [
        *neuron_columns(),
        sa.Column("model", sa.String(500), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("star", sa.Boolean, nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        time_column("changed"),
        sa.Column("undoes", sa.BigInteger, nullable=True),
    ],
    key=NEURON_KEY,
    content=asdict(Content()),
    time="changed",
    index="revisions_by_neuron",
)


class AnnotationStore:
    """The annotations in a database. Safe to share between threads, and between processes.

    Raises:
        AnnotationError: the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create_tables(REVISIONS.metadata)

    def of_neuron(self, key: Key) -> list[Annotation]:
        """Return everyone's annotation of a neuron, the newest first."""
        return self._read(**asdict(key))

    def of_layer(self, model_sha256: str, layer: int) -> list[Annotation]:
        """Return everyone's annotations of a layer's neurons, the newest first."""
        return self._read(model_sha256=model_sha256, layer=layer)

    def all(self) -> list[Annotation]:
        """Return everyone's annotations of all neurons, the newest first."""
        return self._read()

    def history(self, key: Key) -> list[Revision]:
        """Return every change of a neuron's annotations, the newest first."""
        with self._database.reading() as connection:
            return _revisions(connection, **asdict(key))[::-1]

    def save(self, key: Key, model: str, user: str, **changes: Any) -> Annotation | None:
        """Change parts of a person's annotation of a neuron; the other parts stay.

        Args:
            model: its name.
            changes: fields of `Content`.

        Returns:
            The annotation as it is now on the disk; None where it was empty and still is.

        Raises:
            AnnotationError: a value has the wrong kind or length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            own = REVISIONS.latest(connection, with_empty=True, **asdict(key), user=user)
            present = _annotation(own[0]) if own else None
            before = present.content if present else Content()
            content = replace(before, **changes)
            if content == before:
                return present
            return _append(connection, Annotation(key, model, user, content, datetime.now(UTC)))

    def last_change(self, key: Key, user: str) -> Revision | None:
        """Return a person's newest change that is not undone; None without one."""
        with self._database.reading() as connection:
            return _last_change(_revisions(connection, **asdict(key), user=user))

    def undo(self, key: Key, user: str) -> Annotation | None:
        """Take back a person's last change; called again, the change before it.

        Returns:
            The annotation as it is now; None where there was nothing to undo.

        Raises:
            AnnotationError: the database cannot be written.
        """
        with self._database.writing() as connection:
            last = _last_change(_revisions(connection, **asdict(key), user=user))
            if last is None:
                return None
            restored = replace(last.annotation, content=last.before, changed=datetime.now(UTC))
            return _append(connection, restored, undoes=last.id)

    def merge(self, annotations: Iterable[Annotation]) -> Merged:
        """Add annotations from elsewhere, all or none. Of two by one person on one neuron the newer holds.

        Raises:
            AnnotationError: a value has the wrong kind or length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            return REVISIONS.merge(connection, map(_checked_row, annotations))

    def _read(self, **equal: Any) -> list[Annotation]:
        with self._database.reading() as connection:
            return [_annotation(row) for row in REVISIONS.latest(connection, newest_first=True, **equal)]


def _revisions(connection: sa.Connection, **equal: Any) -> list[Revision]:
    """Return the changes of a neuron's annotations, the oldest first."""
    revisions: list[Revision] = []
    contents: dict[str, Content] = {}  # by person
    for row in REVISIONS.history(connection, **equal):
        annotation = _annotation(row)
        before = contents.get(annotation.user, Content())
        revisions.append(Revision(row.id, annotation, before, row.undoes))
        contents[annotation.user] = annotation.content
    return revisions


def _last_change(revisions: Sequence[Revision]) -> Revision | None:
    """Return one person's newest change that no later revision takes back."""
    undone = {r.undoes for r in revisions if r.undoes is not None}
    return next((r for r in reversed(revisions) if r.undoes is None and r.id not in undone), None)


def _annotation(row: sa.Row[Any]) -> Annotation:
    return Annotation(
        Key(row.model_sha256, row.layer, row.neuron),
        row.model,
        row.user,
        Content(row.label, row.note, row.star, row.verdict),
        datetime.fromisoformat(row.changed),
    )


def _checked_row(annotation: Annotation) -> dict[str, object]:
    """Return an annotation's values by column.

    Raises:
        AnnotationError: a value has the wrong kind or length.
    """
    a = checked(Annotation, asdict(annotation))
    parts = {"model": a.model, "user": a.user, "changed": timestamp(a.changed)}
    return {**asdict(a.key), **asdict(a.content), **parts}


def _append(connection: sa.Connection, annotation: Annotation, undoes: int | None = None) -> Annotation:
    REVISIONS.append(connection, **_checked_row(annotation), undoes=undoes)
    return annotation
