"""The store of judgements: whether examples are consistent with an explanation, by a person's judgement.

A judgement is of a token in its document, so it holds before and after the LayerNorm. No Streamlit.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import Field

from dashboard.shared.annotations.append_only import NEURON_KEY, AppendOnlyTable, neuron_columns, time_column
from dashboard.shared.annotations.content import Key, Text, UserName, checked
from dashboard.shared.annotations.database import Database

Judgement = Literal["consistent", "inconsistent", "unsure"]
JUDGEMENTS: tuple[Judgement, ...] = ("consistent", "inconsistent", "unsure")

Token = tuple[int, int]
"""A token of the corpus: its document's name, and its position in the document."""

JUDGEMENT_ROWS = AppendOnlyTable(
    "hand_labels",
    [
        *neuron_columns(),
        sa.Column("idea", sa.String(200), nullable=False),
        sa.Column("document", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("judgement", sa.String(20), nullable=False),
        time_column("changed"),
    ],
    key=(*NEURON_KEY, "idea", "document", "position"),
    content={"judgement": ""},
    time="changed",
    index="hand_labels_by_idea",
    indexed=(*NEURON_KEY, "idea"),
)


@dataclass(frozen=True, slots=True)
class Idea:
    """An explanation by which a person judges a neuron's examples. (The database calls it an idea.)"""

    key: Key
    user: UserName
    idea: Annotated[Text, Field(min_length=1, max_length=200)]
    """The explanation in words."""


class JudgementStore:
    """The judgements in a database.

    Raises:
        AnnotationError: the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create_tables(JUDGEMENT_ROWS.metadata)

    def ideas(self, key: Key, user: str) -> list[str]:
        """Return every explanation that a person judged a neuron by, the last one first."""
        with self._database.reading() as connection:
            return JUDGEMENT_ROWS.values(connection, "idea", **asdict(key), user=user)

    def judgements(self, idea: Idea) -> dict[Token, Judgement]:
        """Return the judgement of each token, in the order in which they were made."""
        with self._database.reading() as connection:
            return _latest(connection, idea)

    def judge(self, idea: Idea, token: Token, judgement: Judgement) -> None:
        """Save a judgement of a token. It is on the disk when this returns.

        Raises:
            AnnotationError: a part has the wrong kind or length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            _append(connection, idea, token, judgement)

    def undo(self, idea: Idea) -> Token | None:
        """Take back the last judgement.

        Returns:
            Its token; None without a judgement.
        """
        with self._database.writing() as connection:
            last = next(reversed(_latest(connection, idea)), None)
            if last is not None:
                _append(connection, idea, last, "")
            return last


def blind_order(idea: Idea, tokens: Sequence[Token]) -> list[Token]:
    """Return each token once, in an order that depends on the person and the explanation alone.

    So it says nothing about the activations, and is the same after a reload.
    """
    seed = sha256(repr(asdict(idea)).encode()).digest()
    order = sorted(set(tokens))
    random.Random(seed).shuffle(order)
    return order


def _latest(connection: sa.Connection, idea: Idea) -> dict[Token, Judgement]:
    rows = JUDGEMENT_ROWS.latest(connection, **asdict(idea.key), user=idea.user, idea=idea.idea)
    return {(row.document, row.position): row.judgement for row in rows}


def _append(connection: sa.Connection, idea: Idea, token: Token, judgement: Judgement | Literal[""]) -> None:
    valid = checked(Idea, asdict(idea))
    document, position = token
    JUDGEMENT_ROWS.append(
        connection, **asdict(valid.key), user=valid.user, idea=valid.idea, document=document,
        position=position, judgement=judgement,
    )  # fmt: skip
