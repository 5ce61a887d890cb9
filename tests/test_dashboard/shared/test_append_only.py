"""Tables of rows that are only added: newest row, history, merge, and the databases that people have."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.lab.judgement_store import Idea, JudgementStore
from dashboard.shared.annotations.append_only import AppendOnlyTable, Merged, time_column, timestamp
from dashboard.shared.annotations.content import Content, Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.hypotheses import HypothesisStore
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.studies.storage.store import StudyStore

OLD = Path(__file__).with_name("database_0_1.sql")
"""A database written by version 0.1.0."""

START = datetime(2026, 1, 1, tzinfo=UTC)


def word_table() -> AppendOnlyTable:
    """A table of a word for each place and person."""
    return AppendOnlyTable(
        "words",
        [
            sa.Column("place", sa.Integer, nullable=False),
            sa.Column("person", sa.String(10), nullable=False),
            sa.Column("word", sa.String(10), nullable=False),
            sa.Column("flag", sa.Boolean, nullable=False),
            time_column("at"),
        ],
        key=("place", "person"),
        content={"word": "", "flag": False},
        time="at",
        index="words_by_place",
    )


def row(place: int, person: str, word: str, second: int = 0, flag: bool = False) -> dict[str, Any]:
    at = timestamp(START + timedelta(seconds=second))
    return {"place": place, "person": person, "word": word, "flag": flag, "at": at}


@pytest.fixture
def table() -> AppendOnlyTable:
    return word_table()


@pytest.fixture
def database(empty_database: str, table: AppendOnlyTable) -> Iterator[Database]:
    opened = Database(empty_database)
    opened.create_tables(table.metadata)
    yield opened
    opened.close()


def words(rows: list[sa.Row[Any]]) -> list[str]:
    return [r.word for r in rows]


def test_the_newest_row_of_each_key_is_in_force(database: Database, table: AppendOnlyTable) -> None:
    with database.writing() as connection:
        for values in (
            row(1, "ada", "a", 5),
            row(1, "bob", "b", 9),
            row(2, "ada", "c", 1),
            row(1, "ada", "d", 3),
        ):
            table.append(connection, **values)
    with database.reading() as connection:
        assert words(table.latest(connection)) == ["b", "c", "d"]
        assert words(table.latest(connection, newest_first=True)) == ["b", "d", "c"]
        assert words(table.latest(connection, place=1)) == ["b", "d"]
        assert words(table.latest(connection, place=1, person="ada")) == ["d"]
        assert words(table.history(connection, person="ada")) == ["a", "c", "d"]
        assert table.values(connection, "person", place=1) == ["ada", "bob"]


def test_an_empty_row_takes_back_and_stays_in_the_history(database: Database, table: AppendOnlyTable) -> None:
    with database.writing() as connection:
        for values in (row(1, "ada", "a"), row(1, "ada", ""), row(2, "ada", "", flag=True)):
            table.append(connection, **values)
    with database.reading() as connection:
        assert [r.place for r in table.latest(connection)] == [2]  # the flag alone is content
        assert [r.place for r in table.latest(connection, with_empty=True)] == [1, 2]
        assert words(table.history(connection, place=1)) == ["a", ""]


def test_a_row_without_a_time_gets_the_present_one(database: Database, table: AppendOnlyTable) -> None:
    before = timestamp()
    with database.writing() as connection:
        table.append(connection, place=1, person="ada", word="a", flag=False)
        (held,) = table.latest(connection)
    assert before <= held.at <= timestamp()


def test_a_row_can_be_selected_by_its_key_alone(database: Database, table: AppendOnlyTable) -> None:
    with database.reading() as connection, pytest.raises(ValueError, match=r"place, person, found word"):
        table.latest(connection, word="a")


def test_a_merge_keeps_the_newer(database: Database, table: AppendOnlyTable) -> None:
    with database.writing() as connection:
        table.append(connection, **row(1, "ada", "a", 5))
        merged = table.merge(
            connection,
            [
                row(1, "ada", "older", 4),
                row(1, "ada", "as old", 5),
                row(1, "ada", "a", 6),  # the same content
                row(2, "ada", "", 9),  # takes back what is not here
                row(1, "ada", "newer", 7),
                row(3, "bob", "new", 1),
                row(3, "bob", "newer", 2),
                row(3, "bob", "new", 1),
            ],
        )
        assert merged == Merged(added=1, changed=2, skipped=5)
        assert words(table.latest(connection)) == ["newer", "newer"]
        assert words(table.history(connection, place=1)) == ["a", "newer"]


rows = st.builds(
    lambda place, person, second: row(place, person, f"w{second}", second),
    st.integers(0, 1), st.sampled_from(["ada", "bob"]), st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(rows, max_size=8, unique_by=lambda r: (r["place"], r["person"], r["at"])), st.randoms())
def test_merges_in_any_order_end_alike(values: list[dict[str, Any]], chance: random.Random) -> None:
    """Where times and contents differ and nothing is empty, the outcome depends on the rows alone."""
    table = word_table()

    def merged(order: list[dict[str, Any]]) -> set[tuple[object, ...]]:
        engine = sa.create_engine("sqlite://")  # in memory
        with engine.begin() as connection:
            table.metadata.create_all(connection)
            middle = chance.randint(0, len(order))
            for part in (order[:middle], order[middle:]):
                table.merge(connection, part)
            held = {(r.place, r.person, r.word) for r in table.latest(connection)}
        engine.dispose()
        return held

    newest: dict[tuple[int, str], dict[str, Any]] = {}
    for value in sorted(values, key=lambda r: r["at"]):
        newest[value["place"], value["person"]] = value
    expected = {(r["place"], r["person"], r["word"]) for r in newest.values()}
    assert merged(values) == merged(values[::-1]) == expected


def test_several_that_create_the_tables_at_once(empty_database: str) -> None:
    """PostgreSQL lets two pass IF NOT EXISTS and refuses one of them."""
    together, errors = threading.Barrier(4), []

    def start() -> None:
        database = Database(empty_database)
        together.wait()
        try:
            database.create_tables(word_table().metadata)
        except Exception as error:
            errors.append(error)
        database.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_every_store_works_in_one_database(empty_database: str) -> None:
    database = Database(empty_database)
    key = Key("ab" * 32, 0, 7)
    annotations = AnnotationStore(database)
    annotations.save(key, "tiny", "ada", label="commas")
    annotations.save(key, "tiny", "ada", star=True)
    annotations.undo(key, "ada")
    assert [a.content for a in annotations.all()] == [Content("commas")]
    hypotheses = HypothesisStore(database)
    hypotheses.save(key, "tiny", "ada", "hex", "/x/")
    assert hypotheses.merge(hypotheses.all()) == Merged(0, 0, 1)
    judgements, idea = JudgementStore(database), Idea(key, "ada", "base64")
    judgements.judge(idea, (5713303362488049331, 4), "consistent")
    judgements.judge(idea, (2, 9), "unsure")
    assert judgements.undo(idea) == (2, 9)
    assert judgements.ideas(key, "ada") == ["base64"]
    assert StudyStore(database).studies() == []
    database.close()


def schema(file: Path) -> set[str]:
    """The statements that create a database's tables and indexes."""
    with sqlite3.connect(file) as connection:
        return {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def test_an_old_database_reads_the_same_and_goes_on(tmp_path: Path) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    with sqlite3.connect(old) as connection:
        connection.executescript(OLD.read_text())
    stores = []
    for file in (old, new):
        database = Database(f"sqlite:///{file}")
        stores.append(
            [kind(database) for kind in (AnnotationStore, HypothesisStore, JudgementStore, StudyStore)]
        )
    assert schema(old) == schema(new)
    annotations, hypotheses, judgements, studies = stores[0]
    key = Key("ab" * 32, 0, 7)
    assert [(a.user, a.content) for a in annotations.of_neuron(key)] == [
        ("bob", Content(verdict="unsure")),
        ("ada", Content("commas")),
    ]
    assert [(r.annotation.user, r.undoes) for r in annotations.history(key)] == [
        ("bob", None), ("ada", 2), ("ada", None), ("ada", None),
    ]  # fmt: skip
    assert annotations.undo(key, "ada") is not None
    assert [a.user for a in annotations.all()] == ["bob"]
    assert [(h.user, h.name, h.text) for h in hypotheses.all()] == [("ada", "hex", "/x/")]
    idea = Idea(key, "ada", "base64")
    assert judgements.judgements(idea) == {(5713303362488049331, 4): "consistent"}
    (study,) = studies.studies()
    assert (study.title, study.n_items, study.n_raters, study.n_ratings) == ("Rules", 2, 1, 1)
    assert study.closed is not None
    assert study.closed.isoformat() in OLD.read_text()
    (rating,) = studies.ratings(study.id)
    assert (rating.rater, rating.verdict, rating.rule, rating.confidence) == ("Ann", "not", "r", 2)
    assert [item.kind for item in studies.key(study.id)] == ["neuron", "neuron"]
