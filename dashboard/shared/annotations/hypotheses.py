"""Hypotheses that people keep: under a name, with a neuron, by who said them; and as JSON.

As with labels, nothing is changed in place: each change is a row more, the newest holds, and one without a
text says that the hypothesis was deleted.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.shared.annotations.content import (
    AnnotationError,
    Key,
    Merged,
    Text,
    UserName,
    problems_of,
    utc,
)
from dashboard.shared.annotations.database import Database

FORMAT = "solu-explorer-hypotheses"
VERSION = 1
MAX_TEXT = 1_000
"""Characters of a hypothesis."""
LARGEST = 16 * 2**20
"""Bytes of the largest file that is read."""

_TABLE = sa.Table(
    "hypotheses",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("model_sha256", sa.String(64), nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("neuron", sa.Integer, nullable=False),
    sa.Column("user", sa.String(80), nullable=False),
    sa.Column("model", sa.String(500), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("text", sa.String(MAX_TEXT), nullable=False),
    sa.Column("changed", sa.String(32), nullable=False),  # ISO 8601 in UTC, microseconds: sorts as text
)
_WHOSE = [_TABLE.c[column] for column in ("model_sha256", "layer", "neuron", "user", "name")]
_INDEX = sa.Index("hypotheses_by_neuron", *_WHOSE)
_FIELDS = ("model_sha256", "model", "layer", "neuron", "user", "name", "text", "changed")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What somebody holds a neuron to mean, as the lab's language says it."""

    key: Key
    model: Annotated[Text, Field(max_length=500)]
    """The model's name when it was written."""
    user: UserName
    name: Annotated[Text, Field(min_length=1, max_length=80)]
    """One a neuron and person."""
    text: Annotated[Text, Field(max_length=MAX_TEXT)]
    """Empty: deleted."""
    changed: Annotated[datetime, AfterValidator(utc)]


class HypothesisStore:
    """The hypotheses of a database, which other things are kept in as well.

    Raises:
        AnnotationError: the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.writing() as connection:
            connection.execute(CreateTable(_TABLE, if_not_exists=True))
            connection.execute(CreateIndex(_INDEX, if_not_exists=True))

    def of_neuron(self, key: Key) -> list[Hypothesis]:
        """What everyone keeps with a neuron, the newest first."""
        return self._standing(sa.and_(*(_TABLE.c[n] == value for n, value in asdict(key).items())))

    def all(self) -> list[Hypothesis]:
        """What everyone keeps with any neuron, the newest first."""
        return self._standing(sa.true())

    def save(self, key: Key, model: str, user: str, name: str, text: str) -> Hypothesis:
        """Keep a hypothesis; one of the same neuron, person and name gives way. An empty text deletes it.

        Raises:
            AnnotationError: a part is of the wrong length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            return _add(connection, Hypothesis(key, model, user, name, text, datetime.now(UTC)))

    def merge(self, found: Iterable[Hypothesis]) -> Merged:
        """Take in hypotheses from elsewhere, all or none; of two of one name the newer stays."""
        added = changed = skipped = 0
        with self._database.writing() as connection:
            here = {_name(h): h for h in _newest(connection, sa.true())}
            for hypothesis in found:
                mine = here.get(_name(hypothesis))
                known = mine is not None and (
                    mine.text == hypothesis.text or mine.changed >= hypothesis.changed
                )
                if known or (mine is None and not hypothesis.text):
                    skipped += 1
                    continue
                here[_name(hypothesis)] = _add(connection, hypothesis)
                added, changed = added + (mine is None), changed + (mine is not None)
        return Merged(added, changed, skipped)

    def _standing(self, where: sa.ColumnElement[bool]) -> list[Hypothesis]:
        with self._database.reading() as connection:
            return [h for h in _newest(connection, where) if h.text]


def to_json(hypotheses: Iterable[Hypothesis]) -> str:
    """One hypothesis a line, in an array under a heading that says what it is."""
    rows = ",\n".join("  " + json.dumps(_flat(h), ensure_ascii=False) for h in hypotheses)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "hypotheses": [\n{rows}\n]}}\n'


def from_json(data: bytes) -> list[Hypothesis]:
    """The hypotheses in a file that `to_json` wrote, or one made like it.

    Raises:
        AnnotationError: it is none, or a part of it is wrong; says where.
    """
    if len(data) > LARGEST:
        raise AnnotationError(
            f"expected a file of at most {LARGEST:,} bytes, found {len(data):,}: import it in parts"
        )
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(f"expected JSON in UTF-8 as this page exports it: {error}") from error
    heading = (found.get("format"), found.get("version")) if isinstance(found, dict) else None
    rows = found.get("hypotheses") if heading == (FORMAT, VERSION) else None
    if not isinstance(rows, list):
        raise AnnotationError(
            f'expected {{"format": "{FORMAT}", "version": {VERSION}, "hypotheses": [...]}}: '
            "choose a file that this page exported"
        )
    hypotheses = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or sorted(row) != sorted(_FIELDS):
            raise AnnotationError(
                f"nothing was imported. Hypothesis {number}: expected an object of {', '.join(_FIELDS)}"
            )
        try:
            hypotheses.append(_checked(_nested(row)))
        except ValidationError as error:
            raise AnnotationError(
                f"nothing was imported. Hypothesis {number}: {problems_of(error)}"
            ) from error
    return hypotheses


_checked = TypeAdapter(Hypothesis).validate_python


def _name(hypothesis: Hypothesis) -> tuple[Key, str, str]:
    return hypothesis.key, hypothesis.user, hypothesis.name


def _newest(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Hypothesis]:
    """The newest row of each name, deleted ones too, the newest first."""
    newest = sa.select(sa.func.max(_TABLE.c.id)).where(where).group_by(*_WHOSE)
    order = _TABLE.c.changed.desc(), _TABLE.c.id.desc()
    rows = connection.execute(sa.select(_TABLE).where(_TABLE.c.id.in_(newest)).order_by(*order))
    return [
        Hypothesis(
            Key(row.model_sha256, row.layer, row.neuron),
            row.model,
            row.user,
            row.name,
            row.text,
            datetime.fromisoformat(row.changed),
        )
        for row in rows
    ]


def _add(connection: sa.Connection, hypothesis: Hypothesis) -> Hypothesis:
    try:
        checked = _checked(asdict(hypothesis))
    except ValidationError as error:
        raise AnnotationError(problems_of(error)) from error
    connection.execute(_TABLE.insert().values(**_flat(checked)))
    return checked


def _flat(hypothesis: Hypothesis) -> dict[str, Any]:
    """By field of a row."""
    parts = asdict(hypothesis)
    changed = hypothesis.changed.isoformat(timespec="microseconds")
    row = {**parts, **parts["key"], "changed": changed}
    return {name: row[name] for name in _FIELDS}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """What `Hypothesis` is made of."""
    return {
        "key": {name: row[name] for name in ("model_sha256", "layer", "neuron")},
        **{name: row[name] for name in ("model", "user", "name", "text", "changed")},
    }
