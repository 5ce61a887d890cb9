"""Judgements of examples: replaced, taken back, resumed, and in an order that hides the activations."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.lab.judgement_store import Idea, JudgementStore, blind_order
from dashboard.shared.annotations.content import AnnotationError, Key
from dashboard.shared.annotations.database import Database

KEY = Key("ab" * 32, 0, 7)
IDEA = Idea(KEY, "ada", "base64")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    yield opened
    opened.close()


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
