"""Whole contexts in a finished cache: the original text of the right examples, with nothing else changed."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cache.checking.verify import cache_problems
from cache.commands import app
from cache.format.schema import CONTEXTS, CacheError
from cache.reader import NeuronCache
from cache.storage.checksums import renew_checksum
from cache.writing.contexts import add_contexts
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.text.documents import read_documents
from solu_model.text.tokenizer import train_tokenizer

GOLDEN_V1 = Path(__file__).parents[2] / "golden/cache_v1"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_strongest_example_has_the_text_around_it(copy, tiny_model, corpus):
    tokenizer = load_tokenizer(tiny_model)
    before = files_of(copy)
    n = add_contexts(copy, [corpus], tokenizer, progress=False)
    cache = NeuronCache.open(copy)
    n_ctx = cache.manifest.model.n_ctx
    texts = {(d.source, d.origin): d.text for d in read_documents([corpus])}
    seen = set()
    for index in range(cache.d_mlp):
        for hook in cache.hooks:
            for example in cache.neuron(0, index).top(hook):
                whole = cache.context(example)
                text = texts[example.document.source, example.document.origin]
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                start = example.context_start
                assert whole.tolist() == ids[start : start + n_ctx - 1]
                assert whole[example.position - start] == example.tokens[example.peak]
                seen.add((example.document_index, start))
    assert n == len(seen)
    after = files_of(copy)
    assert {name for name in after if after[name] != before.get(name)} == {CONTEXTS, "checksums.sha256"}
    assert list(cache_problems(copy, model=tiny_model, data=[corpus])) == []


def test_the_first_ranks_alone(copy, tiny_model, corpus):
    assert NeuronCache.open(copy).contexts_kept is None
    add_contexts(copy, [corpus], load_tokenizer(tiny_model), n_ranks=1, progress=False)
    cache = NeuronCache.open(copy)
    kept = cache.contexts_kept
    assert (kept.kinds, kept.n_ranks) == (("top",), 1)
    assert [kept.of("top", 0), kept.of("top", 1), kept.of("range", 0)] == [True, False, False]
    examples = [e for i in range(cache.d_mlp) for h in cache.hooks for e in cache.neuron(0, i).bottom(h)]
    assert any(cache.context(e) is None for e in examples)
    add_contexts(copy, [corpus], load_tokenizer(tiny_model), kinds=["bottom"], progress=False)
    cache = NeuronCache.open(copy)
    assert cache.contexts_kept.kinds == ("bottom",)
    assert all(cache.context(e) is not None for e in examples)


def test_by_command(copy, tiny_model, corpus):
    arguments = ["contexts", str(copy), "--model", str(tiny_model), "--data", str(corpus), "--everything"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "contexts added" in done.output
    assert NeuronCache.open(copy).contexts_kept.kinds == ("top", "bottom", "range")
    assert list(cache_problems(copy)) == []


def test_another_text_changes_nothing(copy, tiny_model, tmp_path):
    before = files_of(copy)
    (tmp_path / "other.txt").write_text("Something else entirely.")
    with pytest.raises(CacheError, match=r"contexts are not in the text given"):
        add_contexts(copy, [tmp_path / "other.txt"], load_tokenizer(tiny_model), progress=False)
    assert files_of(copy) == before


def test_another_tokenizer_is_refused(copy, corpus):
    with pytest.raises(CacheError, match="this one has"):
        add_contexts(
            copy, [corpus], train_tokenizer((d.text for d in read_documents([corpus])), 290), progress=False
        )


def test_an_old_cache_is_refused(tmp_path, corpus, tiny_model):
    folder = Path(shutil.copytree(GOLDEN_V1, tmp_path / "old"))
    with pytest.raises(CacheError, match="of version 1"):
        add_contexts(folder, [corpus], load_tokenizer(tiny_model), progress=False)
    assert NeuronCache.open(folder).contexts_kept is None


def test_verify_finds_other_words_and_lost_ones(copy, tiny_model, corpus):
    add_contexts(copy, [corpus], load_tokenizer(tiny_model), progress=False)
    table = pq.read_table(copy / CONTEXTS)
    shifted = [[t[-1], *t[:-1]] for t in table["tokens"].to_pylist()]
    changed = table.set_column(2, table.schema.field("tokens"), pa.array(shifted, pa.list_(pa.int32())))
    pq.write_table(changed, copy / CONTEXTS)
    renew_checksum(copy, CONTEXTS)
    assert any("other tokens than" in problem for problem in cache_problems(copy))
    pq.write_table(table.slice(1), copy / CONTEXTS)
    renew_checksum(copy, CONTEXTS)
    assert any("lacks the contexts of" in problem for problem in cache_problems(copy))


def test_a_damaged_file_is_named(copy, tiny_model, corpus):
    add_contexts(copy, [corpus], load_tokenizer(tiny_model), progress=False)
    (copy / CONTEXTS).write_bytes(b"not Parquet")
    with pytest.raises(CacheError, match=r"contexts\.parquet is damaged"):
        _ = NeuronCache.open(copy).contexts_kept
    problems = "\n".join(cache_problems(copy))
    assert "contexts.parquet has changed since it was written" in problems
    assert "contexts.parquet is damaged" in problems
