"""A corpus is the same text in a copy with other times, and another text after any change."""

import os
import shutil
from pathlib import Path

import pytest

from solu_model.text.corpus import identity
from solu_model.text.corpus.identity import corpus_differences, identify_corpus
from solu_model.text.documents import DEFAULT_OPTIONS, CorpusOptions


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "here" / "corpus"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "b.txt").write_text("two")
    return folder


def test_a_copy_with_other_times_is_the_same_text(texts, tmp_path):
    then = identify_corpus([texts], DEFAULT_OPTIONS)
    copy = tmp_path / "there" / "here" / "corpus"
    shutil.copytree(texts, copy, copy_function=shutil.copy)
    for file in copy.iterdir():
        os.utime(file, (1, 1))
    assert corpus_differences(then, identify_corpus([copy], DEFAULT_OPTIONS, then)) == ""


def test_files_that_nobody_touched_are_not_read_again(texts, monkeypatch):
    then = identify_corpus([texts], DEFAULT_OPTIONS)
    read: list[Path] = []
    monkeypatch.setattr(identity, "sha256_of", lambda file: read.append(file) or "0")
    (texts / "b.txt").write_text("too")
    assert corpus_differences(then, identify_corpus([texts], DEFAULT_OPTIONS, then)) == (
        "changed: here/corpus/b.txt"
    )
    assert read == [texts / "b.txt"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda f: (f / "a.txt").write_text("One"), "changed: here/corpus/a.txt"),
        (lambda f: (f / "c.txt").write_text("three"), "new: here/corpus/c.txt"),
        (lambda f: (f / "a.txt").unlink(), "missing: here/corpus/a.txt"),
        (lambda f: (f / "a.txt").rename(f / "c.txt"), "new: here/corpus/c.txt; missing: here/corpus/a.txt"),
    ],
)
def test_a_change_is_named(texts, change, difference):
    then = identify_corpus([texts], DEFAULT_OPTIONS)
    change(texts)
    assert corpus_differences(then, identify_corpus([texts], DEFAULT_OPTIONS, then)) == difference


def test_other_options_or_order_are_other_text(texts):
    then = identify_corpus([texts], DEFAULT_OPTIONS)
    other = identify_corpus([texts], CorpusOptions(column="content", separator="\n\n"))
    assert "column content, separator \\n\\n" in corpus_differences(then, other)
    files = [texts / "a.txt", texts / "b.txt"]
    assert corpus_differences(
        identify_corpus(files, DEFAULT_OPTIONS), identify_corpus(files[::-1], DEFAULT_OPTIONS)
    ) == "its files are in another order"  # fmt: skip
    assert "its data sets were none, and are some/name now" in corpus_differences(
        then, identify_corpus([texts, "some/name"], DEFAULT_OPTIONS)
    )


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [tmp_path / top / "run" / "data" for top in ("first", "second")]
    for folder, text in zip(folders, ("one", "two"), strict=True):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(text)
        os.utime(folder / "a.txt", (1, 1))
    then = identify_corpus(folders, DEFAULT_OPTIONS)

    def difference(*paths: Path) -> str:
        return corpus_differences(then, identify_corpus(paths, DEFAULT_OPTIONS, then))

    assert difference(*folders) == ""
    assert difference(*folders[::-1]) == "its files are in another order"
    assert difference(folders[0]) == "missing: run/data/a.txt (2)"
    assert difference(folders[0], folders[0]) == "changed: run/data/a.txt (2)"
