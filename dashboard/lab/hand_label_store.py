"""Examples judged by hand: consistent with an idea, inconsistent, or unsure.

A judgement is of a token in its document, so it holds for every hook. Each is a row of its own, written in a
transaction of its own; the newest of a token holds, and an empty one takes it back.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import streamlit as st
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.shared.annotations import content
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError, Key, Text, UserName, problems_of
from dashboard.shared.annotations.database import Database

Judgement = Literal["consistent", "inconsistent", "unsure"]
JUDGEMENTS: tuple[Judgement, ...] = ("consistent", "inconsistent", "unsure")

Token = tuple[int, int]
"""A token of the corpus: its document's name, and its position there."""

_TABLE = sa.Table(
    "hand_labels",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("model_sha256", sa.String(64), nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("neuron", sa.Integer, nullable=False),
    sa.Column("user", sa.String(80), nullable=False),
    sa.Column("idea", sa.String(200), nullable=False),
    sa.Column("document", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("judgement", sa.String(20), nullable=False),  # empty: taken back
    sa.Column("changed", sa.String(32), nullable=False),
)
_INDEX = sa.Index(
    "hand_labels_by_idea", *(_TABLE.c[n] for n in ("model_sha256", "layer", "neuron", "user", "idea"))
)


@dataclass(frozen=True, slots=True)
class Idea:
    """What somebody judges a neuron's examples by."""

    key: Key
    user: UserName
    idea: Annotated[Text, Field(min_length=1, max_length=200)]
    """In words."""


class HandLabelStore:
    """The judgements of a database, which other things are kept in as well.

    Raises:
        AnnotationError: the database cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.writing() as connection:
            connection.execute(CreateTable(_TABLE, if_not_exists=True))
            connection.execute(CreateIndex(_INDEX, if_not_exists=True))

    def ideas(self, key: Key, user: str) -> list[str]:
        """What a person has ever judged a neuron by, the last one first."""
        query = sa.select(_TABLE.c.idea).where(_of(key), _TABLE.c.user == user)
        query = query.group_by(_TABLE.c.idea).order_by(sa.func.max(_TABLE.c.id).desc())
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def judged(self, idea: Idea) -> dict[Token, Judgement]:
        """Every judgement that holds, in the order in which they were made."""
        with self._database.reading() as connection:
            return _judged(connection, idea)

    def judge(self, idea: Idea, token: Token, judgement: Judgement) -> None:
        """Keep a judgement of a token; on disk when this returns.

        Raises:
            AnnotationError: a part is of the wrong kind or length, or the database cannot be written.
        """
        with self._database.writing() as connection:
            _add(connection, idea, token, judgement)

    def undo(self, idea: Idea) -> Token | None:
        """Take the last judgement that holds back.

        Returns:
            The token that it was of; None where there was none.
        """
        with self._database.writing() as connection:
            last = next(reversed(_judged(connection, idea)), None)
            if last is not None:
                _add(connection, idea, last, "")
            return last


def blind_order(idea: Idea, tokens: Sequence[Token]) -> list[Token]:
    """Tokens, each once, in an order that follows from person and idea alone: not from any activation, and
    the same after a reload."""
    seed = sha256(repr(asdict(idea)).encode()).digest()
    found = sorted(set(tokens))
    random.Random(seed).shuffle(found)
    return found


_checked_idea = TypeAdapter(Idea).validate_python


def _of(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(_TABLE.c[name] == value for name, value in asdict(key).items()))


def _judged(connection: sa.Connection, idea: Idea) -> dict[Token, Judgement]:
    query = sa.select(_TABLE).where(_of(idea.key), _TABLE.c.user == idea.user, _TABLE.c.idea == idea.idea)
    found: dict[Token, Any] = {}
    for row in connection.execute(query.order_by(_TABLE.c.id)):
        token = (row.document, row.position)
        found.pop(token, None)
        if row.judgement:
            found[token] = row.judgement
    return found


def _add(connection: sa.Connection, idea: Idea, token: Token, judgement: str) -> None:
    try:
        checked = _checked_idea(asdict(idea))
    except ValidationError as error:
        raise AnnotationError(problems_of(error)) from error
    document, position = token
    connection.execute(
        _TABLE.insert().values(
            **asdict(checked.key), user=checked.user, idea=checked.idea, document=document,
            position=position, judgement=judgement,
            changed=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
    )  # fmt: skip


def open_hand_labels() -> HandLabelStore:
    """Return the judgements in the database of the labels, opened once.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return _opened(content.database_url())


@st.cache_resource(max_entries=4, show_spinner=False)
def _opened(url: str) -> HandLabelStore:  # noqa: ARG001 the key of what is open
    return HandLabelStore(annotations.store().database)
