"""The text of a run: never other text than its tokens were packed from, and no more than it needs."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from solu_model.text.documents import CorpusError, CorpusOptions, Document, read_documents
from solu_model.text.token_file import TokenFile
from solu_model.training import TrainingError, train
from solu_model.training import run as run_module
from tests.test_solu_model.training.test_training import CONFIG, RECIPE

SHORT = replace(RECIPE, n_tokens=2 * 64, warmup_steps=None)


@pytest.fixture
def texts(tmp_path: Path, corpus: Path) -> Path:
    """The corpus as text files, two of each kind."""
    folder = tmp_path / "a" / "texts"
    folder.mkdir(parents=True)
    for n, document in enumerate(read_documents([corpus])):
        (folder / f"{n:02d}.txt").write_text(document.text * 3)
    return folder


def trained(texts: Path, out: Path, **options: object) -> None:
    train(CONFIG, SHORT, [texts], out, progress=False, **options)  # type: ignore[arg-type]


def test_a_corpus_that_changed_is_refused_and_a_copy_is_not(texts, tmp_path, caplog):
    out = tmp_path / "run"
    trained(texts, out)
    trained(texts, out)
    shutil.copytree(texts, tmp_path / "b" / "a" / "texts", copy_function=shutil.copy)
    trained(tmp_path / "b" / "a" / "texts", out)
    (tmp_path / "b" / "a" / "texts" / "05.txt").write_text("other text in a folder of the same name")
    with pytest.raises(
        TrainingError, match=r"packed from other text .*changed: a/texts/05.txt. Give the text"
    ):
        trained(tmp_path / "b" / "a" / "texts", out)
    (texts / "new.txt").write_text("more")
    with pytest.raises(TrainingError, match=r"packed from other text .*new: a/texts/new.txt"):
        trained(texts, out)
    with pytest.raises(TrainingError, match=r"packed from other text .*new: a/texts/new.txt"):
        trained(texts, tmp_path / "second", packed=out / "tokens", tokenizer=out)
    assert not caplog.records or all("packed" not in record.message for record in caplog.records)


def test_other_options_are_another_run(texts, tmp_path):
    trained(texts, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"separator "):
        trained(texts, tmp_path / "run", text=CorpusOptions(separator="\n"))


def test_tokens_of_an_earlier_version_are_taken_with_a_warning(texts, tmp_path, caplog):
    trained(texts, tmp_path / "run")
    (tmp_path / "run" / "tokens" / "corpus.json").unlink()
    (texts / "new.txt").write_text("more")
    with caplog.at_level(logging.WARNING, "solu_model.training.run"):
        trained(texts, tmp_path / "second", packed=tmp_path / "run" / "tokens", tokenizer=tmp_path / "run")
    assert [r.message for r in caplog.records if "an earlier version wrote it" in r.message] != []


def test_a_wrong_file_is_refused_before_anything_is_written(texts, tmp_path):
    (texts / "zz.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(CorpusError, match=r"zz.jsonl, line 1 has no text in its column 'text'"):
        trained(texts, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    (texts / "zz.jsonl").unlink()
    with pytest.raises(CorpusError, match=r"held/out does not exist"):
        trained(texts, tmp_path / "run", held_out=["./held/out"])
    assert not (tmp_path / "run" / "run.json").exists()


def test_of_a_data_set_of_a_hub_only_what_the_run_needs_is_read(corpus, tmp_path, monkeypatch):
    texts = [d.text for d in read_documents([corpus])]
    n_read = 0

    def endless(paths: object, options: object = None) -> Iterator[Document]:
        nonlocal n_read
        while True:
            n_read += 1
            yield Document(texts[n_read % len(texts)], source="hub")

    monkeypatch.setattr(run_module, "read_documents", endless)
    monkeypatch.setattr(run_module, "_LEAST_SAMPLE", 20_000)
    train(CONFIG, SHORT, ["some/name"], tmp_path / "run", progress=False)
    tokens = TokenFile(tmp_path / "run" / "tokens")
    assert SHORT.n_tokens < tokens.meta.n_tokens < 3000
    assert n_read < 700  # a sample for the tokenizer, and a batch of documents to pack
    identity = tokens.corpus()
    assert identity is not None
    assert identity.data_sets == ["some/name"]
    before = n_read
    train(CONFIG, SHORT, ["some/name"], tmp_path / "run", progress=False)  # the same command again
    assert n_read == before
