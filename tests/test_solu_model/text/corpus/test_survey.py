"""`solu data` shows what the other commands read."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model.text.corpus.survey import survey_corpus
from solu_model.text.documents import DEFAULT_OPTIONS, CorpusOptions, read_documents


def shown(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A fetched data set with a picture, an empty row and a link."""
    folder = tmp_path / "mixed"
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        rows = pa.table(
            {"text": [f"{split} one", None, f"{split} two"], "source": ["s", "s", "t"], "n": [1, 2, 3]}
        )
        pq.write_table(rows, folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("# Card")
    (folder / "image.PNG").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("hidden")
    return folder


def test_the_survey_is_of_what_is_read(mixed):
    survey = survey_corpus([mixed], DEFAULT_OPTIONS, seconds=None)
    documents = list(read_documents([mixed]))
    assert (survey.n_documents, survey.is_exact, survey.n_empty) == (len(documents), True, 1)
    assert survey.n_text_bytes == sum(len(d.text.encode()) for d in documents)
    assert survey.sources == {"s": 1, "t": 1}
    assert survey.columns == {"text": "string", "source": "string", "n": "int64"}
    assert survey.first_lines == [("data/train-00000-of-00001.parquet", "train one")]
    other = survey_corpus([mixed], CorpusOptions(split="test"), seconds=None)
    assert other.first_lines[0][1] == "test one"


def test_the_command_says_what_is_left_out_and_why(mixed):
    output = shown(mixed)
    assert "1 (1 parquet)" in output
    assert "1 rows, which are skipped" in output
    assert "data/train-00000-of-00001.parquet: train one" in output
    assert "of the splits test, train, train is read (--split chooses another)" in output
    assert "README.md (describes the data set)" in output
    assert "image.PNG (ends in .png, which is no kind of text that is read)" in output
    assert "1 hidden files or folders are not looked at" in output


def test_json_for_programs(mixed):
    record = json.loads(shown(mixed, "--json"))
    assert record["n_documents"] == 2
    assert record["files"] == {"parquet": 1}


def test_problems_are_shown_with_the_columns_there_are(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "content": "x"}\n')
    (tmp_path / "b.csv").write_text("id;body\n1;y\n")
    output = shown(tmp_path, code=1)
    assert "id (number), content (string), body (string)" in output
    assert "a.jsonl, line 1 has no text in its column 'text'" in output
    assert "b.csv has no text in its column 'text': expected a string, found columns id, body" in output
    assert "does not exist" in shown(tmp_path / "nowhere", code=1)


def test_a_large_corpus_is_estimated_from_a_part(tmp_path):
    lines = "".join(json.dumps({"text": f"text number {n}, of some length"}) + "\n" for n in range(4_000))
    for k in range(3):
        (tmp_path / f"{k}.jsonl").write_text(lines)
    survey = survey_corpus([tmp_path], DEFAULT_OPTIONS, seconds=0.002)
    assert not survey.is_exact
    assert survey.n_documents == pytest.approx(12_000, rel=0.6)
    exact = json.loads(shown(tmp_path, "--json", "--count"))
    assert (exact["n_documents"], exact["is_exact"]) == (12_000, True)


def test_names_and_texts_that_cannot_be_printed_are_escaped(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "a.txt").write_text("\x1b[31mred [bold]not markup[/bold]\x07\n")
    output = shown(folder)
    assert "\x1b[31m" not in output
    assert "\\xff/a.txt: \\x1b[31mred [bold]not markup[/bold]\\x07" in output


def test_a_separator_and_a_column_are_as_for_other_commands(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n\nthree")
    (tmp_path / "b.jsonl").write_text('{"content": "four"}')
    record = json.loads(shown(tmp_path, "--json", "--separator", r"\n\n", "--column", "content"))
    assert record["n_documents"] == 4
    assert "the separator does not occur" in shown(tmp_path, "--separator", "###", "--column", "content")


def test_files_given_twice_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    assert "1 files are given more than once and read each time" in shown(tmp_path, tmp_path / "a.txt")
