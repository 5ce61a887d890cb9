"""The store of hypotheses: each saved with a neuron, under a name, by a person. No Streamlit."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import AfterValidator, Field

from dashboard.shared.annotations.append_only import (
    NEURON_KEY,
    AppendOnlyTable,
    Merged,
    neuron_columns,
    time_column,
    timestamp,
)
from dashboard.shared.annotations.content import Key, Text, UserName, checked, utc
from dashboard.shared.annotations.database import Database

MAX_TEXT = 1_000
"""Characters of a hypothesis."""

HYPOTHESES = AppendOnlyTable(
    "hypotheses",
    [
        *neuron_columns(),
        sa.Column("model", sa.String(500), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("text", sa.String(MAX_TEXT), nullable=False),
        time_column("changed"),
    ],
    key=(*NEURON_KEY, "name"),
    content={"text": ""},
    time="changed",
    index="hypotheses_by_neuron",
)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A hypothesis about a neuron, in the lab's language."""

    key: Key
    model: Annotated[Text, Field(max_length=500)]
    """The model's name when the hypothesis was written."""
    user: UserName
    name: Annotated[Text, Field(min_length=1, max_length=80)]
    """Name of the hypothesis. A person has at most one hypothesis of each name with a neuron."""
    text: Annotated[Text, Field(max_length=MAX_TEXT)]
    """The hypothesis; empty if it was deleted."""
    changed: Annotated[datetime, AfterValidator(utc)]


class HypothesisStore:
    """The hypotheses in a database.

    Raises:
        AnnotationError: the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create_tables(HYPOTHESES.metadata)

    def of_neuron(self, key: Key) -> list[Hypothesis]:
        """Return everyone's hypotheses about a neuron, the newest first."""
        return self._read(**asdict(key))

    def all(self) -> list[Hypothesis]:
        """Return everyone's hypotheses about all neurons, the newest first."""
        return self._read()

    def save(self, key: Key, model: str, user: str, name: str, text: str) -> Hypothesis:
        """Save a hypothesis in place of the person's earlier one of that name. An empty text deletes it.

        Raises:
            AnnotationError: a part has the wrong length, or the database cannot be written.
        """
        hypothesis = Hypothesis(key, model, user, name, text, datetime.now(UTC))
        with self._database.writing() as connection:
            HYPOTHESES.append(connection, **_checked_row(hypothesis))
        return hypothesis

    def merge(self, hypotheses: Iterable[Hypothesis]) -> Merged:
        """Add hypotheses from elsewhere, all or none. Of two with one name the newer holds.

        Raises:
            AnnotationError: a part has the wrong length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            return HYPOTHESES.merge(connection, map(_checked_row, hypotheses))

    def _read(self, **equal: Any) -> list[Hypothesis]:
        with self._database.reading() as connection:
            return [_hypothesis(row) for row in HYPOTHESES.latest(connection, newest_first=True, **equal)]


def flat(hypothesis: Hypothesis) -> dict[str, Any]:
    """Return a hypothesis's fields by name, those of its key among them, with the time as text."""
    parts = asdict(hypothesis)
    key = parts.pop("key")
    return {**key, **parts, "changed": timestamp(hypothesis.changed)}


def _checked_row(hypothesis: Hypothesis) -> dict[str, Any]:
    return flat(checked(Hypothesis, asdict(hypothesis)))


def _hypothesis(row: sa.Row[Any]) -> Hypothesis:
    key = Key(row.model_sha256, row.layer, row.neuron)
    return Hypothesis(key, row.model, row.user, row.name, row.text, datetime.fromisoformat(row.changed))
