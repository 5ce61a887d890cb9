"""The tables of studies and their queries. Ratings are only ever added; the other rows are written once."""

from typing import Any

import sqlalchemy as sa

from dashboard.shared.annotations.append_only import AppendOnlyTable, time_column

METADATA = sa.MetaData()
_STUDY = sa.String(60)

STUDIES = sa.Table(
    "studies",
    METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("title", sa.String(120), nullable=False),
    time_column("created"),
    sa.Column("n_items", sa.Integer, nullable=False),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
)
CARDS = sa.Table(
    "study_cards",
    METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("item", sa.String(16), primary_key=True),
    sa.Column("card", sa.LargeBinary, nullable=False),
)
RATINGS = AppendOnlyTable(
    "study_ratings",
    [
        sa.Column("study", _STUDY, nullable=False),
        sa.Column("rater", sa.String(80), nullable=False),
        sa.Column("item", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("confidence", sa.Integer, nullable=True),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("hidden_seconds", sa.Double, nullable=False),
        time_column("at"),
    ],
    key=("study", "rater", "item"),
    content={"verdict": ""},
    time="at",
    index="study_ratings_by_rater",
    indexed=("study", "rater"),
    metadata=METADATA,
)
CLOSINGS = sa.Table(
    "study_closings",
    METADATA,
    sa.Column("study", _STUDY, primary_key=True),
    sa.Column("by", sa.String(80), nullable=False),
    time_column("at"),
)


def lock(connection: sa.Connection, study: str) -> bool:
    """Keep other writers out of a study until the transaction ends. Return False without such a study."""
    query = sa.select(STUDIES.c.study).where(STUDIES.c.study == study).with_for_update()
    return connection.scalar(query) is not None


def is_closed(connection: sa.Connection, study: str) -> bool:
    """Return True if a study is unblinded."""
    return connection.scalar(sa.select(CLOSINGS.c.study).where(CLOSINGS.c.study == study)) is not None


def summaries() -> sa.Select[Any]:
    """Select the studies with their numbers of raters and ratings, the newest study first."""
    ratings = RATINGS.table
    counts = (
        sa.select(
            ratings.c.study,
            sa.func.count().label("n_ratings"),
            sa.func.count(ratings.c.rater.distinct()).label("n_raters"),
        )
        .where(RATINGS.in_force())
        .group_by(ratings.c.study)
        .subquery()
    )
    return (
        sa.select(
            STUDIES.c.study, STUDIES.c.title, STUDIES.c.created, STUDIES.c.n_items,
            CLOSINGS.c.at.label("closed"),
            sa.func.coalesce(counts.c.n_ratings, 0).label("n_ratings"),
            sa.func.coalesce(counts.c.n_raters, 0).label("n_raters"),
        )
        .outerjoin(CLOSINGS, CLOSINGS.c.study == STUDIES.c.study)
        .outerjoin(counts, counts.c.study == STUDIES.c.study)
        .order_by(STUDIES.c.created.desc(), STUDIES.c.study)
    )  # fmt: skip
