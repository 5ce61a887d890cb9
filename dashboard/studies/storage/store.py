"""The store of studies: a study's plan and cards are written once, its ratings are only ever added.

Each rating is one transaction. An undo adds a row, and so does unblinding the study.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from dashboard.shared.annotations.append_only import timestamp
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.design import Design, Item, Plan, StudyError, design_of, order, plan_of
from dashboard.studies.storage.ratings import (
    Progress,
    RatedAlready,
    Rating,
    Summary,
    checked_name,
    checked_rating,
)
from dashboard.studies.storage.tables import (
    CARDS,
    CLOSINGS,
    METADATA,
    RATINGS,
    STUDIES,
    is_closed,
    lock,
    summaries,
)


class StudyStore:
    """The studies in a database.

    Every method raises StudyError where there is no such study, and AnnotationError where the database cannot
    be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create_tables(METADATA)
        self._plan = lru_cache(maxsize=8)(self._read_plan)  # a plan never changes

    def create(self, plan: Plan, cards: Mapping[str, bytes]) -> str:
        """Save a study. It is on the disk when this returns.

        Args:
            cards: one for each item, by the item's name, all of one size.

        Returns:
            Its id: made of the title and of chance, safe in an address.

        Raises:
            StudyError: cards are missing, are of other items, or differ in size.
        """
        names = {item.name for item in plan.items}
        if set(cards) != names or len(names) != len(plan.items):
            raise StudyError(f"expected a card for each of {len(plan.items)} items, found {len(cards)}")
        if len({len(card) for card in cards.values()}) != 1:
            raise StudyError(
                "expected cards of one size, since a size could tell the model: make them with cards.one_size"
            )
        slug = re.sub("[^a-z0-9]+", "-", plan.design.title.lower())[:40].strip("-") or "study"
        study = f"{slug}-{secrets.token_hex(4)}"
        row = {"study": study, "title": plan.design.title, "created": timestamp(), "n_items": len(plan.items)}
        texts = {"public": plan.public(), "key": plan.key()}
        # Sorted by name: the order of insertion would tell neurons from repeats and checks.
        rows = [{"study": study, "item": name, "card": cards[name]} for name in sorted(cards)]
        with self._database.writing() as connection:
            connection.execute(STUDIES.insert().values(**row, **texts))
            connection.execute(CARDS.insert(), rows)
        return study

    def studies(self) -> list[Summary]:
        """Return all studies, the newest first."""
        with self._database.reading() as connection:
            return [_summary(row) for row in connection.execute(summaries())]

    def summary(self, study: str) -> Summary:
        """Return one study's title, dates and numbers."""
        query = summaries().where(STUDIES.c.study == _checked_id(study))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_such(study)
        return _summary(row)

    def preregistration(self, study: str) -> bytes:
        """Return the pre-registration, byte for byte as it was stored before the first rating."""
        return self._texts(study)[0]

    def design(self, study: str) -> Design:
        """Return the design in the pre-registration."""
        return design_of(self.preregistration(study))

    def progress(self, study: str) -> dict[str, Progress]:
        """Return the progress of everyone who has rated, by name."""
        total = len(self._plan(study).items)
        by_rater: dict[str, Progress] = {}
        for rating in self.ratings(study):
            before = by_rater.get(rating.rater, Progress(0, total, 0.0))
            by_rater[rating.rater] = replace(
                before, done=before.done + 1, seconds=before.seconds + rating.seconds
            )
        return dict(sorted(by_rater.items()))

    def progress_of(self, study: str, rater: str) -> Progress:
        """Return one rater's progress, also before the first rating."""
        plan, rater = self._plan(study), checked_name(rater)
        with self._database.reading() as connection:
            seconds = [row.seconds for row in RATINGS.latest(connection, study=study, rater=rater)]
        return Progress(len(seconds), len(plan.items), sum(seconds))

    def next_item(self, study: str, rater: str) -> str | None:
        """Return the first item in a rater's own order that this rater has not rated; None after the last."""
        plan, rater = self._plan(study), checked_name(rater)
        with self._database.reading() as connection:
            done = {row.item for row in RATINGS.latest(connection, study=study, rater=rater)}
        return next((name for name in order(plan, rater) if name not in done), None)

    def card(self, study: str, item: str) -> bytes:
        """Return an item's card: the JSON that a browser receives, see `plan.cards`."""
        self._require_item(study, item)
        query = sa.select(CARDS.c.card).where(CARDS.c.study == study, CARDS.c.item == item)
        with self._database.reading() as connection:
            return bytes(connection.execute(query).scalar_one())

    def rate(self, study: str, rating: Rating) -> None:
        """Save a rating. It is on the disk when this returns.

        Raises:
            RatedAlready: this rater has rated this item.
            StudyError: the study is closed, it has no such item, or a part of the rating has the wrong kind
                or length.
        """
        checked = checked_rating(rating)
        self._require_item(study, checked.item)
        key: dict[str, Any] = {"study": study, "rater": checked.rater, "item": checked.item}
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            if RATINGS.latest(connection, **key):
                raise RatedAlready(
                    "this item is rated already: undo that rating first, or continue with the next item"
                )
            RATINGS.append(
                connection, **key, verdict=checked.verdict, rule=checked.rule, confidence=checked.confidence,
                seconds=checked.seconds, hidden_seconds=checked.hidden_seconds,
            )  # fmt: skip

    def undo(self, study: str, rater: str) -> str | None:
        """Take back a rater's last rating.

        Returns:
            Its item; None without a rating.

        Raises:
            StudyError: the study is closed.
        """
        rater = checked_name(rater)
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            last = next(reversed(RATINGS.latest(connection, study=study, rater=rater)), None)
            if last is None:
                return None
            RATINGS.append(
                connection, study=study, rater=rater, item=last.item, verdict="", rule="", confidence=None,
                seconds=0.0, hidden_seconds=0.0,
            )  # fmt: skip
            return str(last.item)

    def unblind(self, study: str, by: str) -> None:
        """Close a study for good: it takes no more ratings, and its key can be read.

        Args:
            by: name of the person who unblinds.

        Raises:
            StudyError: the study is closed already, or the name is empty or too long.
        """
        name = checked_name(by)
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            connection.execute(CLOSINGS.insert().values(study=study, by=name, at=timestamp()))

    def key(self, study: str) -> list[Item]:
        """Return the items of an unblinded study, each with its neuron.

        Raises:
            StudyError: the study is not unblinded.
        """
        self.key_text(study)
        return list(self._plan(study).items)

    def key_text(self, study: str) -> bytes:
        """Return the key byte for byte; its SHA-256 is in the pre-registration.

        Raises:
            StudyError: the study is not unblinded.
        """
        if self.summary(study).closed is None:
            raise StudyError(f"study {study!r} is blind: unblind it first, which closes it")
        return self._texts(study)[1]

    def ratings(self, study: str) -> list[Rating]:
        """Return all raters' ratings in the order in which they were made, without those taken back."""
        self._texts(study)
        with self._database.reading() as connection:
            return [_rating(row) for row in RATINGS.latest(connection, study=study)]

    def checks_passed(self, study: str) -> dict[str, tuple[int, int]]:
        """Return, by rater, the attention checks answered as expected, and all that were answered.

        It can be shown before unblinding, since a check belongs to no model.
        """
        expected = {i.name: i.expected for i in self._plan(study).items if i.kind == "check"}
        by_rater: dict[str, tuple[int, int]] = {}
        for rating in self.ratings(study):
            passed, answered = by_rater.get(rating.rater, (0, 0))
            if rating.item in expected:
                passed, answered = passed + (rating.verdict == expected[rating.item]), answered + 1
            by_rater[rating.rater] = passed, answered
        return by_rater

    def _texts(self, study: str) -> tuple[bytes, bytes]:
        """Return pre-registration and key."""
        query = sa.select(STUDIES.c.public, STUDIES.c.key).where(STUDIES.c.study == _checked_id(study))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_such(study)
        return bytes(row.public), bytes(row.key)

    def _read_plan(self, study: str) -> Plan:
        return plan_of(*self._texts(study))

    def _require_item(self, study: str, item: str) -> None:
        if item not in {i.name for i in self._plan(study).items}:
            raise StudyError(f"study {study!r} has no item {item[:80]!r}: load the page again")

    def _lock_open(self, connection: sa.Connection, study: str) -> None:
        """Keep other writers out of a study until the transaction ends; refuse a closed one."""
        if not lock(connection, _checked_id(study)):
            raise _no_such(study)
        if is_closed(connection, study):
            raise StudyError(f"study {study!r} is closed: it was unblinded, and takes no more ratings")


def _no_such(study: str) -> StudyError:
    return StudyError(f"there is no study {study[:80]!r} here: `solu study status` lists the studies")


def _checked_id(study: str) -> str:
    """Return a study's id, if it has the form of one: ids come from addresses, which may hold anything."""
    if not _ID.fullmatch(study):
        raise _no_such(study)
    return study


_ID = re.compile("[a-z0-9-]{1,60}")


def _rating(row: sa.Row[Any]) -> Rating:
    return Rating(
        row.rater, row.item, row.verdict, row.rule, row.confidence, row.seconds, row.hidden_seconds,
        datetime.fromisoformat(row.at),
    )  # fmt: skip


def _summary(row: sa.Row[Any]) -> Summary:
    closed = datetime.fromisoformat(row.closed) if row.closed else None
    created = datetime.fromisoformat(row.created)
    return Summary(row.study, row.title, created, closed, row.n_items, row.n_raters, row.n_ratings)
