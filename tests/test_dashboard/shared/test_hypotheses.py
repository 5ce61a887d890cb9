"""Saved hypotheses: nothing is lost, and everything can be taken back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dashboard.shared.annotations.append_only import Merged
from dashboard.shared.annotations.content import AnnotationError, Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.hypotheses import MAX_TEXT, HypothesisStore

KEY = Key("ab" * 32, 0, 7)


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
    ("name", "text", "message"),
    [
        ("", "/x/", "name"),
        ("n" * 81, "/x/", "name"),
        ("n", "/" + "x" * MAX_TEXT, "text"),
        ("n\0", "/x/", "NUL"),
        ("n", "/\ud800/", "surrogate"),
    ],
)
def test_what_cannot_be_kept_is_refused(database: Database, name: str, text: str, message: str) -> None:
    store = HypothesisStore(database)
    with pytest.raises(AnnotationError, match=message):
        store.save(KEY, "tiny", "ada", name, text)
    assert store.all() == []


def test_of_two_of_one_name_the_newer_stays(database: Database) -> None:
    store = HypothesisStore(database)
    mine = store.save(KEY, "tiny", "ada", "n", "/mine/")
    older = replace(mine, text="/older/", changed=mine.changed - timedelta(seconds=1))
    newer = replace(mine, text="/newer/", changed=mine.changed + timedelta(seconds=1))
    other = replace(mine, name="o")
    assert store.merge([older]) == Merged(0, 0, 1)
    assert store.merge([newer, other, other, replace(other, name="p", text="")]) == Merged(1, 1, 2)
    assert {h.name: h.text for h in store.all()} == {"n": "/newer/", "o": "/mine/"}
