"""Annotations: nothing that was acknowledged is lost, whoever writes at once and whatever is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import dashboard
from dashboard.labels.files import from_file, to_csv
from dashboard.shared.annotations import database as database_module
from dashboard.shared.annotations.append_only import Merged
from dashboard.shared.annotations.content import (
    AnnotationError,
    Content,
    Key,
    database_url,
)
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.store import AnnotationStore

KEY = Key("ab" * 32, 0, 7)
ROOT = Path(dashboard.__file__).parent.parent


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'labels.sqlite'}"


@pytest.fixture
def store(url: str) -> Iterator[AnnotationStore]:
    database = Database(url)
    yield AnnotationStore(database)
    database.close()


def test_what_is_saved_is_read_part_by_part(store: AnnotationStore) -> None:
    store.save(KEY, "tiny", "ada", label="commas")
    store.save(KEY, "tiny", "ada", star=True, verdict="unsure")
    assert [a.content for a in store.of_neuron(KEY)] == [Content("commas", "", True, "unsure")]
    assert store.of_neuron(replace(KEY, neuron=8)) == []
    assert [a.key for a in store.of_layer(KEY.model_sha256, 0)] == [KEY]
    assert store.of_layer(KEY.model_sha256, 1) == store.of_layer("cd" * 32, 0) == []


def test_two_people_have_a_row_each(store: AnnotationStore) -> None:
    store.save(KEY, "tiny", "ada", label="commas")
    store.save(KEY, "tiny", "bob", label="lists")
    store.save(KEY, "tiny", "ada", label="commas in lists")
    assert {a.user: a.content.label for a in store.of_neuron(KEY)} == {
        "ada": "commas in lists",
        "bob": "lists",
    }
    changes = [(r.annotation.user, r.before.label, r.annotation.content.label) for r in store.history(KEY)]
    assert changes == [("ada", "commas", "commas in lists"), ("bob", "", "lists"), ("ada", "", "commas")]


def test_saving_the_same_again_is_no_change(store: AnnotationStore) -> None:
    assert store.save(KEY, "tiny", "ada", label="") is None
    store.save(KEY, "tiny", "ada", label="x")
    store.save(KEY, "tiny", "ada", label="x")
    assert len(store.history(KEY)) == 1


def test_undo_walks_back_through_ones_own_changes(store: AnnotationStore) -> None:
    for label in ("a", "b"):
        store.save(KEY, "tiny", "ada", label=label)
    store.save(KEY, "tiny", "bob", label="z")
    assert (restored := store.undo(KEY, "ada")) is not None
    assert restored.content.label == "a"
    store.save(KEY, "tiny", "ada", label="c")
    labels = []
    while store.last_change(KEY, "ada"):
        undone = store.undo(KEY, "ada")
        assert undone is not None
        labels.append(undone.content.label)
    assert labels == ["a", ""]
    assert store.undo(KEY, "ada") is None
    assert [(a.user, a.content.label) for a in store.of_neuron(KEY)] == [("bob", "z")]
    assert len(store.history(KEY)) == 7  # nothing is forgotten


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": "x" * 201}, "content.label"),
        ({"note": "a\0b"}, "NUL"),
        ({"note": "\ud800"}, "surrogate"),
        ({"verdict": "surely"}, "'interpretable', 'unsure' or 'not interpretable'"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    store: AnnotationStore, changes: dict[str, str], expected: str
) -> None:
    with pytest.raises(AnnotationError, match=expected):
        store.save(KEY, "tiny", "ada", **changes)
    with pytest.raises(AnnotationError, match="user"):
        store.save(KEY, "tiny", "", label="x")
    assert store.history(KEY) == []


def test_text_is_data(store: AnnotationStore) -> None:
    text = "'; drop table revisions; -- \" % _ \\ 漢字 🙂\r\n\t"
    store.save(KEY, "tiny", text[:80], label=text, note=text)
    assert store.of_neuron(KEY)[0].content == Content(text, text)


WRITER = """
import sys
import time
from dashboard.shared.annotations.content import Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.store import AnnotationStore
store = AnnotationStore(Database(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(10_000):
    store.save(Key("ab" * 32, 0, n % 50), "tiny", sys.argv[2], label=f"{n}")
    print(n, flush=True)
    time.sleep(0.002)  # SQLite's lock is not fair to those who wait
"""


def writer(url: str, user: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, url, user]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def test_two_processes_write_at_once_and_one_is_killed(url: str) -> None:
    """Every write that was acknowledged is there, in the order it was made, and the survivor goes on."""
    people = {name: writer(url, name) for name in ("ada", "bob")}
    for process in people.values():  # both have opened it before either writes
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in people.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    acknowledged: dict[str, list[int]] = {}
    for name, process in people.items():  # bob still writes when ada is killed, somewhere in a write
        assert process.stdout is not None
        acknowledged[name] = [int(process.stdout.readline()) for _ in range(30)]
        process.send_signal(signal.SIGKILL)
    for name, process in people.items():
        assert process.stdout is not None
        assert process.stdin is not None
        *whole, _ = process.stdout.read().split("\n")
        acknowledged[name] += map(int, whole)
        process.stdin.close()
        process.stdout.close()
        assert process.wait(60) == -signal.SIGKILL
    database = Database(url)
    store = AnnotationStore(database)
    for name, numbers in acknowledged.items():
        kept = sorted(
            int(r.annotation.content.label)
            for neuron in range(50)
            for r in store.history(replace(KEY, neuron=neuron))
            if r.annotation.user == name
        )
        assert kept[: len(numbers)] == numbers
        assert len(kept) <= len(numbers) + 1  # one may be written and not yet acknowledged
    database.close()


def test_a_new_database_that_another_is_just_setting_up_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses the write-ahead log at once while another holds the right to write."""
    other = sqlite3.connect(tmp_path / "new.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.execute, ["COMMIT"])
    done.start()
    database = Database(f"sqlite:///{tmp_path}/new.sqlite")
    assert AnnotationStore(database).save(KEY, "tiny", "ada", label="x")
    database.close()
    done.join()
    other.close()


def test_a_locked_database_says_so_and_readers_go_on(
    url: str, store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT", 0.1)
    database = Database(url)
    impatient = AnnotationStore(database)
    store.save(KEY, "tiny", "ada", label="x")
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AnnotationError, match="another program is writing"):
        impatient.save(KEY, "tiny", "bob", label="y")
    assert impatient.of_neuron(KEY)[0].content.label == "x"
    other.execute("ROLLBACK")
    other.close()
    assert impatient.save(KEY, "tiny", "bob", label="y")
    database.close()


def test_a_place_that_cannot_be_written_names_the_next_step(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no database, and no folder")
    for url in (f"sqlite:///{file}/labels.sqlite", "no url", "nosuch://x"):
        with pytest.raises(AnnotationError, match="SOLU_ANNOTATIONS"):
            AnnotationStore(Database(url))
    with pytest.raises(AnnotationError, match="it is damaged"):
        AnnotationStore(Database(f"sqlite:///{file}"))
    assert file.read_text() == "no database, and no folder"


def test_a_password_in_the_address_is_never_said() -> None:
    with pytest.raises(AnnotationError) as error:
        Database("mysql+nosuch://me:secret@host/labels")
    assert "secret" not in str(error.value)


def test_the_database_is_where_the_environment_says() -> None:
    assert database_url({"SOLU_ANNOTATIONS": "sqlite:///x"}) == "sqlite:///x"
    assert database_url({"XDG_DATA_HOME": "/data"}) == "sqlite:////data/solu-explorer/annotations.sqlite"
    assert database_url({}) == f"sqlite:///{Path.home()}/.local/share/solu-explorer/annotations.sqlite"


def test_a_merge_adds_changes_and_skips(store: AnnotationStore, tmp_path: Path) -> None:
    store.save(KEY, "tiny", "ada", label="mine")
    (mine,) = store.all()
    newer = replace(mine, content=Content("newer"), changed=mine.changed + timedelta(seconds=1))
    older = replace(mine, content=Content("older"), changed=mine.changed - timedelta(seconds=1))
    fresh = replace(mine, user="bob")
    assert store.merge([older, mine]) == Merged(0, 0, 2)
    assert store.merge([newer, fresh, newer]) == Merged(1, 1, 1)
    database = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    other = AnnotationStore(database)
    assert other.merge(from_file(to_csv(store.all()).encode())) == Merged(2, 0, 0)
    assert {a.user: a for a in other.all()} == {"ada": newer, "bob": fresh}
    assert [r.before.label for r in store.history(KEY) if r.annotation == newer] == ["mine"]
    database.close()
