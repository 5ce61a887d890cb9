"""The tables of studies, and the questions asked of them. Rows are added, never changed."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.database import Database

_METADATA = sa.MetaData()
_STUDY = sa.String(60)

STUDIES = sa.Table(
    "studies",
    _METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("title", sa.String(120), nullable=False),
    sa.Column("created", sa.String(32), nullable=False),  # ISO 8601 in UTC, microseconds: sorts as text
    sa.Column("n_items", sa.Integer, nullable=False),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
)
CARDS = sa.Table(
    "study_cards",
    _METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("item", sa.String(16), primary_key=True),
    sa.Column("card", sa.LargeBinary, nullable=False),
)
RATINGS = sa.Table(
    "study_ratings",
    _METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("study", _STUDY, nullable=False),
    sa.Column("rater", sa.String(80), nullable=False),
    sa.Column("item", sa.String(16), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),  # empty: taken back
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("confidence", sa.Integer, nullable=True),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("hidden_seconds", sa.Double, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
)
CLOSINGS = sa.Table(
    "study_closings",
    _METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("by", sa.String(80), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
)
_INDEX = sa.Index("study_ratings_by_rater", RATINGS.c.study, RATINGS.c.rater)


def create(database: Database) -> None:
    """Make the tables where they are not there.

    Raises:
        AnnotationError: the database cannot be written.
    """
    try:
        _create(database)
    except AnnotationError:  # two that begin at once on PostgreSQL: IF NOT EXISTS is no lock there
        _create(database)


def _create(database: Database) -> None:
    with database.writing() as connection:
        for table in _METADATA.tables.values():
            connection.execute(CreateTable(table, if_not_exists=True))
        connection.execute(CreateIndex(_INDEX, if_not_exists=True))


def lock(connection: sa.Connection, study: str) -> bool:
    """Keep other writers of a study out until the transaction ends. Returns whether there is such a study."""
    query = sa.select(STUDIES.c.study).where(STUDIES.c.study == study).with_for_update()
    return connection.scalar(query) is not None


def is_closed(connection: sa.Connection, study: str) -> bool:
    """Whether a study was unblinded."""
    return connection.scalar(sa.select(CLOSINGS.c.study).where(CLOSINGS.c.study == study)) is not None


def add_rating(connection: sa.Connection, **row: Any) -> None:
    """A row more."""
    connection.execute(RATINGS.insert().values(**row))


def standing(connection: sa.Connection, study: str, rater: str | None = None) -> Sequence[sa.Row[Any]]:
    """The ratings that hold, of one rater or of all, in the order in which they were made."""
    newest = _newest().where(RATINGS.c.study == study)
    if rater is not None:
        newest = newest.where(RATINGS.c.rater == rater)
    query = sa.select(RATINGS).where(RATINGS.c.id.in_(newest), RATINGS.c.verdict != "")
    return connection.execute(query.order_by(RATINGS.c.id)).all()


def summaries() -> sa.Select[Any]:
    """Studies, with how many rated and how many ratings hold; the newest first."""
    holding = (
        sa.select(
            RATINGS.c.study,
            sa.func.count().label("n_ratings"),
            sa.func.count(RATINGS.c.rater.distinct()).label("n_raters"),
        )
        .where(RATINGS.c.id.in_(_newest()), RATINGS.c.verdict != "")
        .group_by(RATINGS.c.study)
        .subquery()
    )
    return (
        sa.select(
            STUDIES.c.study, STUDIES.c.title, STUDIES.c.created, STUDIES.c.n_items,
            CLOSINGS.c.at.label("closed"),
            sa.func.coalesce(holding.c.n_ratings, 0).label("n_ratings"),
            sa.func.coalesce(holding.c.n_raters, 0).label("n_raters"),
        )
        .outerjoin(CLOSINGS, CLOSINGS.c.study == STUDIES.c.study)
        .outerjoin(holding, holding.c.study == STUDIES.c.study)
        .order_by(STUDIES.c.created.desc(), STUDIES.c.study)
    )  # fmt: skip


def _newest() -> sa.Select[tuple[int]]:
    """The last row of each rater and item."""
    return sa.select(sa.func.max(RATINGS.c.id)).group_by(RATINGS.c.study, RATINGS.c.rater, RATINGS.c.item)
