"""Studies in a database: plan and cards are written once, ratings only added, each in its own transaction.

A rating is on disk when `rate` returns. Taking one back is a row too, and so is the closing of a study.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.design import Design, Item, Plan, StudyError, design_of, order, plan_of
from dashboard.studies.storage import tables
from dashboard.studies.storage.ratings import (
    Progress,
    RatedAlready,
    Rating,
    Summary,
    checked_name,
    checked_rating,
)


class StudyStore:
    """The studies of a database, which other things are kept in as well.

    Every method raises StudyError for a study that is not there, and AnnotationError where the database
    cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        tables.create(database)
        self._plan = lru_cache(maxsize=8)(self._read_plan)

    def create(self, plan: Plan, cards: Mapping[str, bytes]) -> str:
        """Keep a study; on disk when this returns.

        Args:
            cards: of every item, all of one size.

        Returns:
            Its id: of the title and of chance, safe in an address.

        Raises:
            StudyError: the cards are not the plan's, or differ in size.
        """
        names = {item.name for item in plan.items}
        if set(cards) != names or len(names) != len(plan.items):
            raise StudyError(f"expected a card for each of {len(plan.items)} items, found {len(cards)}")
        if len({len(card) for card in cards.values()}) != 1:
            raise StudyError("expected cards of one size, which tells nothing: make them with cards.one_size")
        slug = re.sub("[^a-z0-9]+", "-", plan.design.title.lower())[:40].strip("-") or "study"
        study = f"{slug}-{secrets.token_hex(4)}"
        row = {"study": study, "title": plan.design.title, "created": _now(), "n_items": len(plan.items)}
        texts = {"public": plan.public(), "key": plan.key()}
        rows = [{"study": study, "item": name, "card": cards[name]} for name in sorted(cards)]
        with self._database.writing() as connection:
            connection.execute(tables.STUDIES.insert().values(**row, **texts))
            connection.execute(tables.CARDS.insert(), rows)
        return study

    def studies(self) -> list[Summary]:
        """All of them, the newest first."""
        with self._database.reading() as connection:
            return [_summary(row) for row in connection.execute(tables.summaries())]

    def summary(self, study: str) -> Summary:
        """One of them."""
        query = tables.summaries().where(tables.STUDIES.c.study == _id(study))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_such(study)
        return _summary(row)

    def preregistration(self, study: str) -> bytes:
        """What was registered before the first rating, to the byte."""
        return self._texts(study)[0]

    def design(self, study: str) -> Design:
        """What was decided before the first rating."""
        return design_of(self.preregistration(study))

    def progress(self, study: str) -> dict[str, Progress]:
        """Of everyone who has begun, by name."""
        total = len(self._plan(study).items)
        found: dict[str, Progress] = {}
        for rating in self.ratings(study):
            before = found.get(rating.rater, Progress(0, total, 0.0))
            found[rating.rater] = replace(
                before, done=before.done + 1, seconds=before.seconds + rating.seconds
            )
        return dict(sorted(found.items()))

    def progress_of(self, study: str, rater: str) -> Progress:
        """Of one rater, begun or not."""
        plan, rater = self._plan(study), checked_name(rater)
        with self._database.reading() as connection:
            seconds = [row.seconds for row in tables.standing(connection, study, rater)]
        return Progress(len(seconds), len(plan.items), sum(seconds))

    def next_item(self, study: str, rater: str) -> str | None:
        """The first item in a rater's own order that the rater has not rated; None after the last."""
        plan, rater = self._plan(study), checked_name(rater)
        with self._database.reading() as connection:
            done = {r.item for r in tables.standing(connection, study, rater)}
        return next((name for name in order(plan, rater) if name not in done), None)

    def card(self, study: str, item: str) -> bytes:
        """What the browser gets of an item: JSON, see `cards`."""
        if item not in {i.name for i in self._plan(study).items}:
            raise StudyError(f"study {study!r} has no item {item[:80]!r}: load the page again")
        where = (tables.CARDS.c.study == study) & (tables.CARDS.c.item == item)
        with self._database.reading() as connection:
            return bytes(connection.execute(sa.select(tables.CARDS.c.card).where(where)).scalar_one())

    def rate(self, study: str, rating: Rating) -> None:
        """Keep a rating; on disk when this returns.

        Raises:
            RatedAlready: by this rater.
            StudyError: the study is closed, the item is not its, or a part of the rating is of the wrong
                kind or length.
        """
        checked = checked_rating(rating)
        if checked.item not in {item.name for item in self._plan(study).items}:
            raise StudyError(f"study {study!r} has no item {checked.item!r}: load the page again")
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            if any(r.item == checked.item for r in tables.standing(connection, study, checked.rater)):
                raise RatedAlready("this item is rated already: undo that rating first, or go on to the next")
            tables.add_rating(
                connection, study=study, rater=checked.rater, item=checked.item, verdict=checked.verdict,
                rule=checked.rule, confidence=checked.confidence, seconds=checked.seconds,
                hidden_seconds=checked.hidden_seconds, at=_now(),
            )  # fmt: skip

    def undo(self, study: str, rater: str) -> str | None:
        """Take a rater's last rating that holds back.

        Returns:
            The item that it was of; None where there was none.

        Raises:
            StudyError: the study is closed.
        """
        rater = checked_name(rater)
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            last = next(reversed(tables.standing(connection, study, rater)), None)
            if last is None:
                return None
            tables.add_rating(
                connection, study=study, rater=rater, item=last.item, verdict="", rule="", confidence=None,
                seconds=0.0, hidden_seconds=0.0, at=_now(),
            )  # fmt: skip
            return str(last.item)

    def unblind(self, study: str, by: str) -> None:
        """Close a study for good: no rating is taken any more, and its key can be read.

        Raises:
            StudyError: it is closed already, or the name is none.
        """
        name = checked_name(by)
        with self._database.writing() as connection:
            self._lock_open(connection, study)
            connection.execute(tables.CLOSINGS.insert().values(study=study, by=name, at=_now()))

    def key(self, study: str) -> list[Item]:
        """Which item is which neuron.

        Raises:
            StudyError: the study is not unblinded.
        """
        self.key_text(study)
        return list(self._plan(study).items)

    def key_text(self, study: str) -> bytes:
        """The key to the byte, whose SHA-256 the pre-registration holds; else as `key`."""
        if self.summary(study).closed is None:
            raise StudyError(f"study {study!r} is blind: unblind it first, which closes it")
        return self._texts(study)[1]

    def ratings(self, study: str) -> list[Rating]:
        """Those that hold, of all raters, in the order in which they were made."""
        self._texts(study)
        with self._database.reading() as connection:
            return [_rating(row) for row in tables.standing(connection, study)]

    def checks_passed(self, study: str) -> dict[str, tuple[int, int]]:
        """By rater, the attention checks answered as expected, and those answered; nothing of a model."""
        expected = {i.name: i.expected for i in self._plan(study).items if i.kind == "check"}
        found: dict[str, tuple[int, int]] = {}
        for rating in self.ratings(study):
            right, n = found.get(rating.rater, (0, 0))
            if rating.item in expected:
                right, n = right + (rating.verdict == expected[rating.item]), n + 1
            found[rating.rater] = right, n
        return found

    def _texts(self, study: str) -> tuple[bytes, bytes]:
        """Pre-registration and key."""
        query = sa.select(tables.STUDIES.c.public, tables.STUDIES.c.key)
        query = query.where(tables.STUDIES.c.study == _id(study))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _no_such(study)
        return bytes(row.public), bytes(row.key)

    def _read_plan(self, study: str) -> Plan:
        return plan_of(*self._texts(study))

    def _lock_open(self, connection: sa.Connection, study: str) -> None:
        """Hold the right to change a study, until the transaction ends; refuse a closed one."""
        if not tables.lock(connection, _id(study)):
            raise _no_such(study)
        if tables.is_closed(connection, study):
            raise StudyError(f"study {study!r} is closed: it was unblinded, and takes no more ratings")


def _no_such(study: str) -> StudyError:
    return StudyError(f"there is no study {study[:80]!r} here: `solu study status` lists those that are")


def _id(study: str) -> str:
    """A study's id, if it can be one; a database may be asked for no other text."""
    if not _ID.fullmatch(study):
        raise _no_such(study)
    return study


_ID = re.compile("[a-z0-9-]{1,60}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _rating(row: Any) -> Rating:
    return Rating(
        row.rater, row.item, row.verdict, row.rule, row.confidence, row.seconds, row.hidden_seconds,
        datetime.fromisoformat(row.at),
    )  # fmt: skip


def _summary(row: Any) -> Summary:
    closed = datetime.fromisoformat(row.closed) if row.closed else None
    created = datetime.fromisoformat(row.created)
    return Summary(row.study, row.title, created, closed, row.n_items, row.n_raters, row.n_ratings)
