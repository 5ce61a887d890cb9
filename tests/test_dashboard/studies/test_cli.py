"""`solu study`: a study made, looked at, unblinded and exported from the command line."""

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cache.reader import NeuronCache
from dashboard.shared.annotations.database import Database
from dashboard.studies.cli import app
from dashboard.studies.plan.design import StudyError
from dashboard.studies.storage.export import files
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore
from solu_model.targets import TargetError

SMALL = ["--neurons", "3", "--repeats", "2", "--checks", "2", "--snippets", "3", "--window", "3", "2"]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_models: Path) -> str:
    monkeypatch.setenv("SOLU_MODELS", str(two_models))
    return f"sqlite:///{tmp_path}/studies.sqlite"


def solu(*arguments: str, answers: str = "") -> str:
    done = CliRunner().invoke(app, list(arguments), input=answers, env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_study_from_the_command_line(url: str, tmp_path: Path, two_models: Path):
    at = ["--annotations", url]
    assert "none yet" in solu("status", *at)
    models = ["--model", "tiny:hook_mid", "--model", str(two_models / "other")]
    output = solu(
        "create", "[red]Which <b>rules</b>?", *models, *SMALL, "--out", str(tmp_path / "plan.json"), *at
    )
    registered = (tmp_path / "plan.json").read_bytes()
    assert hashlib.sha256(registered).hexdigest() in output
    store = StudyStore(Database(url))
    study = store.studies()[0].id
    assert f"/rate?study={study}" in output
    assert "[red]Which <b>rules</b>?" in solu("status", *at)
    assert "10" in solu("status", *at)
    assert [s.hook for s in store.design(study).sides] == ["hook_mid", "hook_post"]

    rules = ["=HYPERLINK(1)", "“a”, 'b'\nc", ""]
    for rule in rules:
        store.rate(study, Rating("@Ann", store.next_item(study, "@Ann"), "not", rule, 2, 60.0))
    assert "@Ann" in solu("status", study, *at)
    assert "3.0" in solu("status", study, *at)

    solu("export", study, "--out", str(tmp_path / "blind"), *at)
    assert sorted(f.name for f in (tmp_path / "blind").iterdir()) == [
        "preregistration.json", "ratings.csv", "ratings.json",
    ]  # fmt: skip
    ratings = (tmp_path / "blind" / "ratings.csv").read_text() + (
        tmp_path / "blind" / "ratings.json"
    ).read_text()
    assert not any(word in ratings for word in ("tiny", "other", "hook_", "neuron", "layer", "check"))

    assert "cannot be undone" in solu("unblind", study, *at, answers="n\n")
    assert store.summary(study).closed is None
    solu("unblind", study, "--by", "Ann", "--yes", *at)
    solu("export", study, "--out", str(tmp_path / "open"), *at)
    key = (tmp_path / "open" / "key.json").read_bytes()
    assert (tmp_path / "open" / "preregistration.json").read_bytes() == registered
    assert json.loads(registered)["commitment"] == hashlib.sha256(key).hexdigest()
    by_name = {item["name"]: item for item in json.loads(key)["items"]}
    rows = json.loads((tmp_path / "open" / "ratings.json").read_text())
    assert [row["rule"] for row in rows] == rules
    for row in rows:
        item = by_name[row["item"]]
        assert (row["kind"], row["layer"], row["neuron"]) == (item["kind"], item["layer"], item["neuron"])
        model = None if item["side"] is None else ["tiny", "other"][item["side"]]
        assert row["model"] == model
    table = list(csv.DictReader(io.StringIO((tmp_path / "open" / "ratings.csv").read_text())))
    assert [row["rule"] for row in table] == ["'=HYPERLINK(1)", rules[1], ""]
    assert {row["rater"] for row in table} == {"'@Ann"}
    assert set(files(store, study)) == {f.name for f in (tmp_path / "open").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tiny"], "at least 2 items"),
        (["--model", "tiny", "--model", "nobody"], "found 'nobody'"),
        (["--model", "tiny", "--model", "tiny:hook_post", "--layers", "9"], "not 9"),
        (["--model", "tiny", "--model", "other:hook_mid"], "holds hook_post, not 'hook_mid'"),
        (["--model", "tiny", "--model", "other", "--neurons", "1000"], "that are not dead"),
    ],
)
def test_what_cannot_be_studied_is_refused_and_nothing_is_saved(url: str, arguments: list[str], message: str):
    with pytest.raises(StudyError, match=message):
        solu("create", "x", *SMALL, *arguments, "--annotations", url)
    assert StudyStore(Database(url)).studies() == []


def test_other_texts_only_when_asked_for(url: str, monkeypatch: pytest.MonkeyPatch):
    opened = NeuronCache.open

    def elsewhere(path: Path) -> NeuronCache:
        cache = opened(path)
        if path.parent.name == "other":
            corpus = cache.manifest.corpus.model_copy(update={"sha256": "0" * 64})
            cache.manifest = cache.manifest.model_copy(update={"corpus": corpus})
        return cache

    monkeypatch.setattr(NeuronCache, "open", elsewhere)
    create = ["create", "x", "--model", "tiny", "--model", "other", *SMALL, "--annotations", url]
    with pytest.raises(StudyError, match="--different-corpora"):
        solu(*create)
    assert "rate at" in solu(*create, "--different-corpora")


def test_no_file_of_something_else_is_replaced(url: str, tmp_path: Path):
    at = ["--annotations", url]
    create = ["create", "x", "--model", "tiny", "--model", "other", *SMALL, *at]
    (tmp_path / "notes.json").write_text("mine")
    with pytest.raises(TargetError, match=r"notes\.json exists"):
        solu(*create, "--out", str(tmp_path / "notes.json"))
    assert StudyStore(Database(url)).studies() == []
    solu(*create)
    solu(*create)
    one, two = (study.id for study in StudyStore(Database(url)).studies())
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "other.txt").write_text("mine")  # in nobody's way
    (folder / "ratings.csv").write_text("mine")
    with pytest.raises(TargetError, match=r"ratings\.csv exists and holds no export of this study"):
        solu("export", one, "--out", str(folder), *at)
    assert sorted(p.name for p in folder.iterdir()) == ["other.txt", "ratings.csv"]
    (folder / "ratings.csv").unlink()
    solu("export", one, "--out", str(folder), *at)
    solu("export", one, "--out", str(folder), *at)  # with new ratings, say
    with pytest.raises(TargetError, match="holds no export of this study"):
        solu("export", two, "--out", str(folder), *at)
