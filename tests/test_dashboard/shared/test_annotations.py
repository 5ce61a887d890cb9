"""Labels: nothing said is lost, by whomever and however it ends; files give back what they were given."""

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dashboard
from analysis.spreadsheet import guarded, unguarded
from dashboard.labels.files import COLUMNS, from_file, to_csv, to_json
from dashboard.shared.annotations import database as database_module
from dashboard.shared.annotations.append_only import Merged
from dashboard.shared.annotations.content import (
    VERDICTS,
    Annotation,
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
    said = [(r.annotation.user, r.before.label, r.annotation.content.label) for r in store.history(KEY)]
    assert said == [("ada", "commas", "commas in lists"), ("bob", "", "lists"), ("ada", "", "commas")]


def test_saving_the_same_again_is_no_change(store: AnnotationStore) -> None:
    assert store.save(KEY, "tiny", "ada", label="") is None
    store.save(KEY, "tiny", "ada", label="x")
    store.save(KEY, "tiny", "ada", label="x")
    assert len(store.history(KEY)) == 1


def test_undo_walks_back_through_ones_own_changes(store: AnnotationStore) -> None:
    for label in ("a", "b"):
        store.save(KEY, "tiny", "ada", label=label)
    store.save(KEY, "tiny", "bob", label="z")
    assert (found := store.undo(KEY, "ada")) is not None
    assert found.content.label == "a"
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
    said: dict[str, list[int]] = {}
    for name, process in people.items():  # bob still writes when ada is killed, somewhere in a write
        assert process.stdout is not None
        said[name] = [int(process.stdout.readline()) for _ in range(30)]
        process.send_signal(signal.SIGKILL)
    for name, process in people.items():
        assert process.stdout is not None
        assert process.stdin is not None
        *whole, _ = process.stdout.read().split("\n")
        said[name] += map(int, whole)
        process.stdin.close()
        process.stdout.close()
        assert process.wait(60) == -signal.SIGKILL
    database = Database(url)
    store = AnnotationStore(database)
    for name, acknowledged in said.items():
        kept = sorted(
            int(r.annotation.content.label)
            for neuron in range(50)
            for r in store.history(replace(KEY, neuron=neuron))
            if r.annotation.user == name
        )
        assert kept[: len(acknowledged)] == acknowledged
        assert len(kept) <= len(acknowledged) + 1  # one may be written and not yet acknowledged
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


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
annotations = st.builds(
    Annotation,
    st.builds(
        Key, st.sampled_from(["ab" * 32, "09" * 32]), st.integers(0, 3), st.integers(0, 2**31 - 1)
    ),
    texts,
    texts.filter(bool),
    st.builds(
        Content, texts | st.sampled_from(["=1+1", "'=x", "''@y", "-3", "+a\r\n", "\t"]), texts,
        st.booleans(), st.sampled_from(["", *VERDICTS]),
    ),
    st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip


@given(st.lists(annotations, max_size=5))
def test_files_give_back_what_they_were_given(found: list[Annotation]) -> None:
    assert from_file(to_json(found).encode()) == found
    assert from_file(to_csv(found).encode()) == found
    assert from_file(b"\xef\xbb\xbf" + to_csv(found).encode()) == found  # as spreadsheets save it


@given(texts | st.from_regex(r"\A'*[=+\-@\t\r]?.*\Z"))
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text
    try:
        float(cell)
    except ValueError:
        assert cell[:1] not in set("=+-@\t\r")


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


def broken(**changes: object) -> bytes:
    good = Annotation(KEY, "tiny", "ada", Content("x"), datetime(2026, 1, 1, tzinfo=UTC))
    row = json.loads(to_json([good]))["annotations"][0] | changes
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerow(json.loads(to_json([good]))["annotations"][0] | {"note": "two\nlines"})
    writer.writerow(row)
    return out.getvalue().encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "line 1: expected the columns model_sha256"),
        (b"\x89PNG\n\x1a", "line 1: expected text in UTF-8"),
        (b'{"format": "other"}', "line 1: expected .*solu-explorer-annotations"),
        (b'{\n"format": nonsense}', "line 2: not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (to_json([]).replace("[\n\n]", '[{"x": 1}]').encode(), "annotation 1: expected an object of"),
        (broken(layer=-1), "line 4: key.layer"),
        (broken(layer="one"), "line 4: key.layer"),
        (broken(model_sha256="../x"), "line 4: key.model_sha256"),
        (broken(user=""), "line 4: user"),
        (broken(verdict="surely"), "line 4: content.verdict"),
        (broken(changed="2026-01-01"), "line 4: changed"),
        (broken(label="x" * 201), "line 4: content.label"),
        (broken() + b'"a","b"\n', "line 5: expected 10 cells, found 2"),
        (broken() + b'"a', "not valid CSV"),
    ],
)
def test_a_malformed_file_is_refused_and_says_where(data: bytes, expected: str) -> None:
    with pytest.raises(AnnotationError, match=expected):
        from_file(data)
