"""Kept hypotheses and judgements by hand: nothing is lost, everything can be taken back, files round-trip."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.lab.hypothesis_files import from_json, to_json
from dashboard.lab.judgement_store import Idea, JudgementStore, blind_order
from dashboard.shared.annotations.append_only import Merged
from dashboard.shared.annotations.content import AnnotationError, Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.hypotheses import MAX_TEXT, Hypothesis, HypothesisStore

KEY = Key("ab" * 32, 0, 7)
IDEA = Idea(KEY, "ada", "base64")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    yield opened
    opened.close()


def test_a_hypothesis_is_kept_by_name_neuron_and_person(database: Database) -> None:
    store = HypothesisStore(database)
    store.save(KEY, "tiny", "ada", "hex", "/[0-9a-f]+/")
    store.save(KEY, "tiny", "bob", "hex", "/[0-9A-F]+/")
    store.save(replace(KEY, neuron=8), "tiny", "ada", "hex", "/x/")
    store.save(KEY, "tiny", "ada", "hex", "/[0-9a-f]{2}/")
    assert [(h.user, h.text) for h in HypothesisStore(database).of_neuron(KEY)] == [
        ("ada", "/[0-9a-f]{2}/"),
        ("bob", "/[0-9A-F]+/"),
    ]
    store.save(KEY, "tiny", "ada", "hex", "")
    assert [h.user for h in store.of_neuron(KEY)] == ["bob"]
    store.save(KEY, "tiny", "ada", "hex", "/[0-9a-f]{2}/")  # the deletion undone
    assert len(store.of_neuron(KEY)) == 2
    assert len(store.all()) == 3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("", "/x/", "name"),
        ("n" * 81, "/x/", "name"),
        ("n", "/" + "x" * MAX_TEXT, "text"),
        ("n\0", "/x/", "NUL"),
        ("n", "/\ud800/", "surrogate"),
    ],
)
def test_what_cannot_be_kept_is_refused(database: Database, name: str, text: str, said: str) -> None:
    store = HypothesisStore(database)
    with pytest.raises(AnnotationError, match=said):
        store.save(KEY, "tiny", "ada", name, text)
    assert store.all() == []


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80),
       text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))  # fmt: skip
def test_files_give_back_what_they_were_given(name: str, text: str) -> None:
    kept = Hypothesis(KEY, "tiny", "ada", name, text, datetime(2026, 1, 2, 3, 4, 5, 6, UTC))
    assert from_json(to_json([kept, kept]).encode()) == [kept, kept]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("solu-explorer", "other"), "expected {"),
        (lambda t: t.replace('"layer": 0', '"layer": -1'), "Hypothesis 1: key.layer"),
        (lambda t: t.replace('"user"', '"who"'), "Hypothesis 1: expected an object of"),
        (lambda t: t[:-3], "expected JSON"),
        (lambda _: "[" * 100_000, "expected JSON"),
        (lambda _: "null", "expected {"),
    ],
)
def test_a_broken_file_says_where(change, said: str) -> None:  # type: ignore[no-untyped-def]
    kept = Hypothesis(KEY, "tiny", "ada", "n", "/x/", datetime.now(UTC))
    with pytest.raises(AnnotationError, match=said):
        from_json(change(to_json([kept])).encode())


def test_of_two_of_one_name_the_newer_stays(database: Database) -> None:
    store = HypothesisStore(database)
    mine = store.save(KEY, "tiny", "ada", "n", "/mine/")
    older = replace(mine, text="/older/", changed=mine.changed - timedelta(seconds=1))
    newer = replace(mine, text="/newer/", changed=mine.changed + timedelta(seconds=1))
    other = replace(mine, name="o")
    assert store.merge([older]) == Merged(0, 0, 1)
    assert store.merge([newer, other, other, replace(other, name="p", text="")]) == Merged(1, 1, 2)
    assert {h.name: h.text for h in store.all()} == {"n": "/newer/", "o": "/mine/"}


def test_judgements_are_replaced_taken_back_and_resumed(database: Database) -> None:
    store = JudgementStore(database)
    store.judge(IDEA, (5713303362488049331, 4), "consistent")
    store.judge(IDEA, (2, 9), "inconsistent")
    store.judge(IDEA, (5713303362488049331, 4), "unsure")
    resumed = JudgementStore(database)
    assert list(resumed.judgements(IDEA).items()) == [
        ((2, 9), "inconsistent"),
        ((5713303362488049331, 4), "unsure"),
    ]
    assert resumed.undo(IDEA) == (5713303362488049331, 4)
    assert resumed.undo(IDEA) == (2, 9)
    assert resumed.undo(IDEA) is None
    assert store.judgements(IDEA) == {}
    assert store.ideas(KEY, "ada") == ["base64"]


def test_ideas_neurons_and_people_are_apart(database: Database) -> None:
    store = JudgementStore(database)
    store.judge(IDEA, (1, 1), "consistent")
    store.judge(replace(IDEA, idea="hex"), (1, 1), "inconsistent")
    store.judge(replace(IDEA, user="bob"), (1, 2), "unsure")
    assert store.judgements(IDEA) == {(1, 1): "consistent"}
    assert store.ideas(KEY, "ada") == ["hex", "base64"]
    assert store.judgements(replace(IDEA, key=replace(KEY, neuron=8))) == {}
    with pytest.raises(AnnotationError, match="idea"):
        store.judge(replace(IDEA, idea=""), (1, 1), "consistent")


def test_many_judge_at_once_and_nothing_is_lost(database: Database) -> None:
    store = JudgementStore(database)

    def judge(person: int) -> None:
        for position in range(20):
            store.judge(replace(IDEA, user=f"p{person}"), (1, position), "consistent")

    people = [threading.Thread(target=judge, args=(n,)) for n in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert [len(store.judgements(replace(IDEA, user=f"p{n}"))) for n in range(4)] == [20] * 4


def test_the_order_is_blind_and_stays() -> None:
    tokens = [(document, position) for document in range(10) for position in range(10)]
    order = blind_order(IDEA, tokens)
    assert order == blind_order(IDEA, tokens[::-1] + tokens)
    assert sorted(order) == tokens
    assert order != tokens
    assert order != blind_order(replace(IDEA, idea="hex"), tokens)
    ranks = [order.index(token) for token in tokens]  # no drift from first to last given
    drift = sum((i - 49.5) * (r - 49.5) for i, r in enumerate(ranks)) / sum(
        (i - 49.5) ** 2 for i in range(100)
    )
    assert abs(drift) < 0.3
