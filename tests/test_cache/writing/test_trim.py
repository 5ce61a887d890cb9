"""A trimmed cache equals a build with the smaller sizes, and passes verification."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cache.building.build import build_cache
from cache.building.engine import Options
from cache.checking.verify import cache_problems
from cache.commands import app
from cache.format import schema
from cache.format.schema import CacheError
from cache.reader import NeuronCache
from cache.statistics.example_lists import Window
from cache.storage.checksums import renew_checksum
from cache.writing.cache_folder import write_cache
from cache.writing.contexts import add_contexts
from cache.writing.trim import Sizes, trim
from solu_model.loading.checkpoints import load_tokenizer
from tests.test_cache import synthetic
from tests.test_cache.synthetic import corpus_of, state_of
from tests.test_cache.test_law import bytes_of

GOLDEN = Path(__file__).parents[2] / "golden"
TOKENS = [bytes([65 + i]) for i in range(synthetic.V)]
SMALL = Sizes(5, 2, Window(6, 3), Window(4, 1), 60)
OPTIONS = {"top_k": 5, "range_samples": 2, "sample_tokens": 60}
OTHER_FILES = {schema.DOCUMENTS, schema.CHECKSUMS}
"""Files that may differ: a build samples bins, not intervals, so it may name more documents."""


@pytest.fixture(scope="module")
def trimmed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trim") / "small"
    trim(tiny_model / "neurons", out, SMALL, progress=False)
    return out


@pytest.fixture(scope="module")
def built(tiny_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a cache of the small sizes."""
    out = tmp_path_factory.mktemp("built") / "small"
    windows = {"window": Window(6, 3), "sample_window": Window(4, 1)}
    build_cache(tiny_model, [corpus], out, Options(**OPTIONS, **windows), progress=False)
    return out


def without_levels(file: Path) -> list[dict[str, object]]:
    table = pq.read_table(file)
    drop = [name for name in table.column_names if name.startswith(("levels_", "low_", "high_"))]
    return table.drop_columns(drop).to_pylist()


def test_it_is_whole_and_of_its_model_and_text(trimmed, tiny_model, corpus):
    assert list(cache_problems(trimmed, model=tiny_model, data=[corpus])) == []


def test_all_but_the_levels_is_what_a_smaller_build_writes(trimmed, built):
    one, other = bytes_of(trimmed), bytes_of(built)
    assert one.keys() == other.keys()
    examples = {name for name in one if name.startswith(schema.EXAMPLES)}
    assert {n for n in one if one[n] != other[n]} <= OTHER_FILES | examples
    for name in examples:
        assert without_levels(trimmed / name) == without_levels(built / name)


def test_activations_are_those_of_the_longer_window(trimmed, tiny_model):
    small, large = NeuronCache.open(trimmed), NeuronCache.open(tiny_model / "neurons")
    seen = 0
    for index in range(small.d_mlp):
        for hook in small.hooks:
            for one, whole in zip(
                small.neuron(0, index).top(hook), large.neuron(0, index).top(hook), strict=False
            ):
                first = whole.peak - one.peak
                part = slice(first, first + len(one.tokens))
                assert one.tokens.tolist() == whole.tokens[part].tolist()
                assert one.position == whole.position
                for h in small.hooks:
                    np.testing.assert_array_equal(one.activations[h], whole.activations[h][part])
                seen += len(one.tokens) < len(whole.tokens)
    assert seen > 100


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_documents=st.integers(1, 14),
    top_k=st.integers(1, 3),
    range_samples=st.integers(1, 2),
    sample_tokens=st.integers(0, 20),
)
def test_shorter_lists_are_the_bytes_of_a_smaller_build(
    tmp_path_factory, seed, n_documents, top_k, range_samples, sample_tokens
):
    folder = tmp_path_factory.mktemp("law")
    documents = corpus_of(seed, n_documents)
    fewer = {"top_k": top_k, "range_samples": range_samples, "sample_tokens": sample_tokens}
    write_cache(folder / "large", state_of(documents, synthetic.settings(synthetic.FLAVOURS)), TOKENS)
    small = state_of(documents, synthetic.settings(synthetic.FLAVOURS, **fewer))
    write_cache(folder / "small", small, TOKENS)
    trim(folder / "large", folder / "cut", Sizes(**fewer), progress=False)
    one, other = bytes_of(folder / "cut"), bytes_of(folder / "small")
    assert {n for n in one.keys() | other.keys() if one.get(n) != other.get(n)} <= OTHER_FILES
    assert list(cache_problems(folder / "cut")) == []


def test_nothing_named_changes_nothing(tiny_model, tmp_path):
    trim(tiny_model / "neurons", tmp_path / "same", Sizes(), progress=False)
    one, other = bytes_of(tmp_path / "same"), bytes_of(tiny_model / "neurons")
    assert {n for n in one if one[n] != other.get(n)} <= OTHER_FILES


def test_in_place_with_its_contexts_and_by_command(tiny_model, corpus, tmp_path):
    folder = Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))
    add_contexts(folder, [corpus], load_tokenizer(tiny_model), n_ranks=4, progress=False)
    arguments = ["trim", str(folder), "--out", str(folder), "--top-k", "2", "--range-samples", "1"]
    done = CliRunner().invoke(app, [*arguments, "--window", "3", "2"])
    assert done.exit_code == 0, done.output
    assert " MB of " in done.output
    cache = NeuronCache.open(folder)
    assert (cache.manifest.top_k, cache.manifest.window_before, cache.manifest.window_after) == (2, 3, 2)
    assert (
        cache.manifest.sample_window_before
        == NeuronCache.open(tiny_model / "neurons").manifest.sample_window_before
    )
    assert cache.contexts_kept.n_ranks == 2
    examples = [e for i in range(cache.d_mlp) for h in cache.hooks for e in cache.neuron(0, i).top(h)]
    contexts = {(e.document_index, e.context_start) for e in examples}
    assert len(pq.read_table(folder / schema.CONTEXTS)) == len(contexts)
    assert all(cache.context(e) is not None for e in examples)
    assert list(cache_problems(folder, model=tiny_model, data=[corpus])) == []
    assert {p.name for p in tmp_path.iterdir()} == {"neurons"}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (Sizes(top_k=21), "top_k: expected 1 to 20"),
        (Sizes(top_k=0), "top_k: expected 1 to 20"),
        (Sizes(range_samples=6), "range_samples: expected 1 to 5"),
        (Sizes(window=Window(10, 33)), "window_after: expected 0 to 32"),
        (Sizes(sample_window=Window(-1, 3)), "sample_window_before: expected 0 to 47"),
        (Sizes(sample_tokens=2_000_000), "sample_tokens: expected 0 to 1,000,000"),
    ],
)
def test_more_than_there_is_is_refused(tiny_model, tmp_path, sizes, message):
    with pytest.raises(CacheError, match=message):
        trim(tiny_model / "neurons", tmp_path / "out", sizes, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_not_passed_on_as_whole(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))
    content = bytearray((folder / schema.TOKENS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / schema.TOKENS).write_bytes(content)
    with pytest.raises(CacheError, match=r"tokens\.parquet has changed since it was written: copy .* again"):
        trim(folder, tmp_path / "out", SMALL, progress=False)
    assert not (tmp_path / "out").exists()


def test_an_old_cache_is_refused(tmp_path):
    with pytest.raises(CacheError, match="is of version 2, expected 3 to 4: build it again"):
        trim(GOLDEN / "cache_v2", tmp_path / "out", SMALL, progress=False)


def test_one_hook_is_cut_too(two_models, tmp_path):
    trim(two_models / "other" / "neurons", tmp_path / "out", Sizes(window=Window(2, 1)), progress=False)
    assert list(cache_problems(tmp_path / "out", model=two_models / "other")) == []
    cache = NeuronCache.open(tmp_path / "out")
    examples = [
        e for layer in cache.layers for i in range(20) for e in cache.neuron(layer, i).top("hook_post")
    ]
    assert max(len(e.tokens) for e in examples) == 4


def test_nothing_but_a_cache_is_replaced(tiny_model, tmp_path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    before = bytes_of(model)
    for out, message in [
        (model, "is inside .* or contains it"),
        (model / "neurons" / "small", "is inside .* or contains it"),
        (tmp_path, "is inside .* or contains it"),
    ]:
        with pytest.raises(CacheError, match=message):
            trim(model / "neurons", out, SMALL, progress=False)
    with pytest.raises(CacheError, match="holds no neuron cache: it would be replaced"):
        trim(tiny_model / "neurons", model, SMALL, progress=False)
    with pytest.raises(CacheError, match="holds no neuron cache: it would be replaced"):
        build_cache(tiny_model, [tmp_path], model, Options(), progress=False)
    assert bytes_of(model) == before
    (tmp_path / "empty").mkdir()
    trim(tiny_model / "neurons", tmp_path / "empty", SMALL, progress=False)
    assert NeuronCache.open(tmp_path / "empty").manifest.top_k == 5


@pytest.mark.parametrize("column", ["peak", "levels_hook_mid"])
def test_files_that_were_made_wrong_are_named(tiny_model, tmp_path, column):
    folder = Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))
    name = "examples/0000/00000.parquet"
    table = pq.read_table(folder / name)
    wrong = pa.array([-1 if column == "peak" else b"short"] * len(table), table.schema.field(column).type)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.schema.field(at), wrong), folder / name)
    renew_checksum(folder, name)
    with pytest.raises(CacheError, match=r"00000\.parquet is damaged"):
        trim(folder, tmp_path / "out", SMALL, progress=False)
    assert not (tmp_path / "out").exists()
