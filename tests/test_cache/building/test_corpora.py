"""Builds of corpora as they are found: the same options select text in build, verify and contexts."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cache.building.build import build_cache
from cache.building.engine import Options
from cache.checking.verify import cache_problems
from cache.reader import NeuronCache
from cache.shards.corpus import Corpus
from dashboard.cli import app
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.text.documents import CorpusError, CorpusOptions, in_batches, read_documents
from solu_model.text.tokenization import Tokenization


def solu(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exception is None or isinstance(done.exception, SystemExit | ValueError), done.exc_info
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


@pytest.fixture
def stories(tmp_path: Path, corpus: Path) -> Path:
    """The corpus in a folder whose name is not UTF-8: half as one text file, half as rows."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run[1]\xff"))
    folder.mkdir()
    texts = [d.text.strip("\n") for d in read_documents([corpus])]
    (folder / "a.txt").write_text("\n<|endoftext|>\n".join(texts[:20]))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"content": t, "license": ["MIT"]}) + "\n" for t in texts[20:])
    )
    return folder


def test_a_cache_of_selected_text_is_verified_with_the_same_options(tiny_checkpoint, stories, tmp_path):
    out = tmp_path / "cache"
    selected = ("--separator", r"\n<|endoftext|>\n", "--column", "content")
    code, output = solu(
        "cache", "build", "--model", tiny_checkpoint, "--data", stories, "--out", out, *selected
    )
    assert code == 0, output
    cache = NeuronCache.open(out)
    assert cache.manifest.corpus.n_documents == 40
    (name,) = cache.manifest.corpus.names
    assert name.endswith(r"/run[1]\xff (column content, separator \n<|endoftext|>\n)")
    assert {d.licence for d in cache.documents().values()} == {"", "MIT"}
    data = ("--model", tiny_checkpoint, "--data", stories)
    assert solu("cache", "verify", out, *data, *selected)[0] == 0
    assert solu("cache", "verify", out, *data, "--column", "content")[0] == 1
    assert solu("cache", "contexts", out, *data, *selected, "--ranks", 1)[0] == 0
    assert solu("cache", "info", out)[0] == 0
    assert solu("cache", "sources", out)[0] == 0


def test_a_wrong_file_ends_a_build_before_the_model_is_loaded(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n')
    (tmp_path / "b.jsonl").write_text('{"tokens": [1, 2]}\n')
    with pytest.raises(CorpusError, match=r"b.jsonl, line 1 has no text .* found columns tokens"):
        build_cache(tmp_path / "no model", [tmp_path], tmp_path / "cache", progress=False)


def test_names_of_a_corpus_are_without_the_folders_of_this_machine(tmp_path):
    corpus = Corpus([tmp_path / "b" / "c", "name:config", tmp_path / "a" / "b.txt"])
    assert corpus.names == ["a/b.txt", "b/c", "name:config"]
    assert Corpus(["x/y"], text=CorpusOptions(split="test")).names == ["x/y (split test)"]


def test_long_documents_are_tokenized_few_at_a_time():
    texts = ["a" * n for n in (5, 2_000_000, 2_000_000, 1, 1, 1, 1)]
    assert [[len(t) for t in group] for group in in_batches(texts, 3, str)] == [
        [5, 2_000_000], [2_000_000, 1, 1], [1, 1],
    ]  # fmt: skip


def test_the_documents_of_a_copy_are_those_of_the_corpus(tiny_checkpoint, corpus, tmp_path):
    shutil.copy(corpus, tmp_path / "own.parquet")
    build_cache(tiny_checkpoint, [corpus], tmp_path / "cache", Options(sample_tokens=100), progress=False)
    assert list(cache_problems(tmp_path / "cache", data=[tmp_path / "own.parquet"])) == []
    tokenization = Tokenization.for_training(load_tokenizer(tiny_checkpoint))
    tokens = [len(d.tokens) for d in Corpus([corpus]).documents(tokenization)]
    assert sum(tokens) == NeuronCache.open(tmp_path / "cache").manifest.corpus.n_tokens
