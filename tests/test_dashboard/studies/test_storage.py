"""Studies in SQLite and in PostgreSQL: what was acknowledged is there, once, whoever is killed when."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.design import StudyError, digest, order
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore
from tests.test_dashboard.studies.study_rater import blank_cards, small_plan

RATER = Path(__file__).with_name("study_rater.py")
ROOT = RATER.parent.parent.parent


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


@pytest.fixture
def store(url: str) -> Iterator[StudyStore]:
    database = Database(url)
    yield StudyStore(database)
    database.close()


def begun(store: StudyStore, **sizes: int) -> str:
    plan = small_plan(**sizes)
    return store.create(plan, blank_cards(plan))


def raters(url: str, study: str, *names: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(RATER), url, study, *names]
    return subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )


def test_a_study_is_rated_undone_closed_and_opened(store: StudyStore):
    plan = small_plan()
    study = store.create(plan, blank_cards(plan))
    assert store.preregistration(study) == plan.public()
    assert store.design(study) == plan.design
    sequence = order(plan, "Ann")
    assert store.next_item(study, "Ann") == sequence[0]
    assert store.undo(study, "Ann") is None
    store.rate(study, Rating("Ann", sequence[0], "not", seconds=3.0))
    store.rate(study, Rating("Ann", sequence[1], "interpretable", "“Go”, 'x'; --", 3, 4.5, 60.0))
    store.rate(study, Rating("Béla", order(plan, "Béla")[0], "not"))
    with pytest.raises(StudyError, match="rated already"):
        store.rate(study, Rating("Ann", sequence[0], "interpretable"))
    assert store.undo(study, "Ann") == sequence[1]
    assert store.next_item(study, "Ann") == sequence[1]
    assert store.undo(study, "Ann") == sequence[0]
    assert store.undo(study, "Ann") is None
    for item in sequence[1::-1]:
        store.rate(study, Rating("Ann", item, "interpretable", "again", 1, 2.0))
    kept = [(r.rater, r.item, r.verdict, r.rule, r.confidence, r.seconds) for r in store.ratings(study)]
    assert kept == [
        ("Béla", order(plan, "Béla")[0], "not", "", None, 0.0),
        ("Ann", sequence[1], "interpretable", "again", 1, 2.0),
        ("Ann", sequence[0], "interpretable", "again", 1, 2.0),
    ]
    progress = store.progress(study)
    assert [(n, p.done, p.total, p.seconds) for n, p in progress.items()] == [
        ("Ann", 2, 12, 4),
        ("Béla", 1, 12, 0),
    ]
    assert [(s.id, s.title, s.n_items, s.n_raters, s.n_ratings, s.closed) for s in store.studies()] == [
        (study, "Rules", 12, 2, 3, None)
    ]
    assert store.card(study, sequence[5]) == blank_cards(plan)[sequence[5]]
    with pytest.raises(StudyError, match="blind"):
        store.key(study)
    with pytest.raises(StudyError, match="blind"):
        store.key_text(study)
    store.unblind(study, "Ann")
    assert store.key(study) == list(plan.items)
    assert digest(store.key_text(study)).encode() in store.preregistration(study)
    assert store.summary(study).closed is not None
    for refused in (
        lambda: store.rate(study, Rating("Ann", sequence[7], "not")),
        lambda: store.undo(study, "Ann"),
        lambda: store.unblind(study, "Béla"),
    ):
        with pytest.raises(StudyError, match="closed"):
            refused()
    assert len(store.ratings(study)) == 3


HOSTILE = ["\0", "\ud800", "x" * 10_000_000, ""]


@pytest.mark.parametrize("text", HOSTILE, ids=["nul", "half", "10MB", "empty"])
def test_what_cannot_be_kept_is_refused_before_the_database(store: StudyStore, text: str):
    study = begun(store)
    item = store.next_item(study, "Ann")
    with pytest.raises(StudyError):
        store.rate(study, Rating(text, item, "not"))
    if text:
        with pytest.raises(StudyError):
            store.rate(study, Rating("Ann", item, "not", text))
    for wrong in (
        lambda: store.next_item(study, text),
        lambda: store.undo(study, text),
        lambda: store.unblind(study, text),
        lambda: store.next_item(text, "Ann"),
        lambda: store.summary(text),
        lambda: store.preregistration(text),
        lambda: store.rate(text, Rating("Ann", item, "not")),
        lambda: store.card(study, text),
        lambda: store.rate(study, Rating("Ann", text, "not")),
        lambda: small_plan(title=text),
    ):
        with pytest.raises(StudyError) as error:
            wrong()
        assert len(str(error.value)) < 1000
    assert store.ratings(study) == []


def test_text_comes_back_as_it_was(store: StudyStore):
    nasty = "<script>alert(1)</script> '); DROP TABLE studies; -- 漢字 🙂 \u202e %s {x}"
    plan = small_plan(title=nasty)
    study = store.create(plan, blank_cards(plan))
    assert store.studies()[0].title == store.design(study).title == nasty
    assert set(study) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    name = nasty[:80]
    store.rate(study, Rating(name, store.next_item(study, name), "not", nasty))
    assert [(r.rater, r.rule) for r in store.ratings(study)] == [(name, nasty)]


@pytest.mark.parametrize(
    "wrong",
    [{"verdict": ""}, {"verdict": "yes"}, {"confidence": 4}, {"seconds": -1.0}, {"seconds": float("nan")},
     {"hidden_seconds": float("inf")}, {"item": "f" * 16}],
)  # fmt: skip
def test_a_rating_that_is_none_is_refused(tmp_path: Path, wrong: dict):
    store = StudyStore(Database(f"sqlite:///{tmp_path}/s.sqlite"))
    study = begun(store)
    parts = {"rater": "Ann", "item": store.next_item(study, "Ann"), "verdict": "not"} | wrong
    with pytest.raises(StudyError):
        store.rate(study, Rating(**parts))
    assert store.ratings(study) == []


def test_cards_must_be_the_plans_and_of_one_size(tmp_path: Path):
    store = StudyStore(Database(f"sqlite:///{tmp_path}/s.sqlite"))
    plan = small_plan()
    cards = blank_cards(plan)
    name = plan.items[0].name
    for wrong in ({**cards, name: cards[name] + b" "}, {**cards, "f" * 16: cards[name]}, {}):
        with pytest.raises(StudyError, match="expected"):
            store.create(plan, wrong)
    assert store.studies() == []


def test_twenty_raters_at_once(url: str, store: StudyStore):
    study = begun(store)
    names = [f"rater{i}" for i in range(20)]
    processes = [raters(url, study, *names[i::4]) for i in range(4)]
    acknowledged = [
        line for process in processes for line in process.communicate(timeout=120)[0].splitlines()
    ]
    assert all(process.returncode == 0 for process in processes)
    assert Counter(acknowledged) == Counter(
        {f"{n} {item.name}": 1 for n in names for item in small_plan().items}
    )
    assert Counter(f"{r.rater} {r.item}" for r in store.ratings(study)) == Counter(acknowledged)
    assert {p.done for p in store.progress(study).values()} == {12}
    assert store.studies()[0].n_raters == 20


def test_one_person_in_eight_tabs_rates_an_item_once(store: StudyStore):
    study = begun(store)
    item = store.next_item(study, "Ann")
    together, outcomes = threading.Barrier(8), []

    def press() -> None:
        together.wait()
        try:
            store.rate(study, Rating("Ann", item, "not"))
            outcomes.append("kept")
        except StudyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"kept": 1, "refused": 7}
    assert len(store.ratings(study)) == 1


def test_nothing_is_taken_after_unblinding_however_close(url: str, store: StudyStore):
    study = begun(store, n_neurons=60)
    process = raters(url, study, "Ann", "Béla", "Cléo")
    acknowledged = [process.stdout.readline() for _ in range(5)]
    store.unblind(study, "me")
    held = {f"{r.rater} {r.item}\n" for r in store.ratings(study)}
    acknowledged += process.communicate(timeout=60)[0].splitlines(keepends=True)
    assert 5 <= len(acknowledged) == len(held) < 3 * len(store.key(study))
    assert set(acknowledged) == held == {f"{r.rater} {r.item}\n" for r in store.ratings(study)}


def test_a_killed_process_loses_nothing_acknowledged(
    url: str, store: StudyStore, capsys: pytest.CaptureFixture
):
    study = begun(store, n_neurons=200, n_repeats=50, n_checks=50)
    chance, acknowledged, kills, unsaid = random.Random(0), [], 0, 0
    for _ in range(8):
        process = raters(url, study, "Ann", "Béla")
        first = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        lines = (first + process.communicate(timeout=60)[0]).splitlines(keepends=True)
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed: ask for more items"
        kills += 1
        acknowledged += [line.strip() for line in lines if line.endswith("\n")]
        kept = Counter(f"{r.rater} {r.item}" for r in store.ratings(study))
        assert set(kept.values()) == {1}
        assert Counter(acknowledged) <= kept, "lost or said twice"
        unsaid = len(kept) - len(acknowledged)
        assert unsaid <= 2 * kills  # one a rater: kept, and killed before it was acknowledged
    with capsys.disabled():
        backend = sa.make_url(url).get_backend_name()
        sys.stdout.write(
            f"\n{backend}: {kills} SIGKILLs, {len(acknowledged)} ratings acknowledged, 0 of them lost, "
            f"{unsaid} kept without having been acknowledged\n"
        )


def test_a_database_that_cannot_be_used_is_named_without_its_password():
    with pytest.raises(AnnotationError, match=r"the database postgresql.* cannot be used") as error:
        StudyStore(Database("postgresql+psycopg://me:secret@127.0.0.1:1/none"))
    assert "secret" not in str(error.value)
