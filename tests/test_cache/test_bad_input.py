"""Bad input gives a clear error or a defined result."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cache.building.build import build_cache, build_shard, write_complete_state
from cache.building.engine import Options
from cache.building.workers import DocumentWorkers
from cache.checking.verify import cache_problems
from cache.commands import app
from cache.format.schema import CacheError
from cache.reader import NeuronCache
from cache.shards.corpus import CorpusPart
from cache.shards.shard_file import load_state
from cache.shards.state import merged
from cache.storage.disk import NotWritten
from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import CheckpointError, load_tokenizer
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import read_documents
from solu_model.text.tokenizer import encode_texts, train_tokenizer

ROOT = Path(__file__).parents[2]
SOLU = [sys.executable, "-c", "from dashboard.cli import main; main()"]


def with_weights(source: Path, folder: Path, change) -> Path:
    """Return a copy of a checkpoint whose weights `change` has changed in place."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("neurons*"))
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def model_of(folder: Path, tiny_checkpoint: Path, **changes: int) -> Path:
    """Return a checkpoint like the tiny one, with another configuration."""
    torch.manual_seed(0)
    shape = {"d_vocab": 300, "n_ctx": 32, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 48}
    config = SoluConfig(**shape | changes, initializer_range=0.5)
    SoluForCausalLM(config).save_pretrained(folder)
    load_tokenizer(tiny_checkpoint).save_pretrained(folder)
    return folder


# NaN and infinite activations.


def test_neurons_with_nan_or_infinity_are_named_and_never_ranked(tiny_checkpoint, corpus, tmp_path):
    def spoil(weights):
        weights["blocks.0.mlp.ln.b"][5] = float("nan")
        weights["blocks.0.mlp.ln.b"][7] = float("inf")

    model = with_weights(tiny_checkpoint, tmp_path / "sick", spoil)
    arguments = ["build", "--model", str(model), "--data", str(corpus), "--out", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "warning: NaN or infinite activations" in done.stderr
    assert "2 neurons: L0/5, L0/7" in " ".join(done.stderr.split())
    cache = NeuronCache.open(tmp_path / "cache")
    n = cache.manifest.corpus.n_tokens
    assert [(x.neuron, x.hook, x.n_nan, x.n_inf) for x in cache.not_finite()] == [
        (5, "hook_post", n, 0),
        (7, "hook_post", 0, n),
    ]
    for index in (5, 7):
        neuron = cache.neuron(0, index)
        assert neuron.moments("hook_post").count == 0
        assert neuron.top("hook_post") == neuron.bottom("hook_post") == []
        assert [(r.count, r.examples) for r in neuron.ranges("hook_post")] == [(0, [])]
        assert neuron.moments("hook_mid").count == n
        assert len(neuron.top("hook_mid")) > 0
        assert all(index != i for t in range(300) for i, _ in cache.neurons_for(t, 0, "hook_post"))
    assert "2 neurons: L0/5, L0/7" in CliRunner().invoke(app, ["info", str(tmp_path / "cache")]).stdout
    assert list(cache_problems(tmp_path / "cache", model=model, data=[corpus])) == []


def test_a_healthy_model_is_warned_of_nothing(tiny_model):
    assert NeuronCache.open(tiny_model / "neurons").not_finite() == []
    assert "NaN" not in CliRunner().invoke(app, ["info", str(tiny_model / "neurons")]).stdout


# The disk is full.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system with room for one cache but not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_older_cache_and_says_what_to_do(tiny_checkpoint, corpus, small_disk):
    out = small_disk / "cache"
    build_cache(tiny_checkpoint, [corpus], out, Options(top_k=5), progress=False)
    before = bytes_of(out)
    with pytest.raises(
        NotWritten, match=r"No space left on device.*MB are free in.*run the same command again"
    ):
        build_cache(tiny_checkpoint, [corpus], out, progress=False)
    assert bytes_of(out) == before
    assert [p.name for p in small_disk.iterdir()] == ["cache"]
    with pytest.raises(NotWritten, match=r"cache\.state cannot be written.*It takes [\d.]+ MB"):
        build_cache(tiny_checkpoint, [corpus], out, Options(save_every=0), progress=False)
    assert bytes_of(out) == before
    assert [p.name for p in small_disk.iterdir()] == ["cache"]


def test_a_limit_on_files_is_one_message(tiny_checkpoint, corpus, tmp_path):
    """Limit files to 100 kB, which has the effect of a full disk."""
    program = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5)); " + SOLU[2]
    arguments = ["cache", "build", "--model", tiny_checkpoint, "--data", corpus, "--save-every", "0"]
    command = [sys.executable, "-c", program, *map(str, arguments), "--out", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    message = " ".join(done.stderr.split())
    assert "cache.state cannot be written" in message
    assert "then run the same command again" in message
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_read_is_kept_when_the_cache_finds_no_room(tiny_checkpoint, corpus, tmp_path, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("cache.writing.cache_folder._write_documents", full_disk)
        with pytest.raises(NotWritten, match=r"it resumes from .*cache\.state"):
            build_cache(tiny_checkpoint, [corpus], tmp_path / "cache", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["cache.state"]
    with monkeypatch.context() as idle:  # no document is read again
        idle.setattr(DocumentWorkers, "submit", full_disk)
        build_cache(tiny_checkpoint, [corpus], tmp_path / "cache", progress=False)
    build_cache(tiny_checkpoint, [corpus], tmp_path / "again", progress=False)
    assert bytes_of(tmp_path / "cache") == bytes_of(tmp_path / "again")


# States, shards and tokenizers that do not belong together.


@pytest.fixture(scope="module")
def shards(tiny_checkpoint: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    for k in range(2):
        build_shard(tiny_checkpoint, [corpus], folder / f"{k}", CorpusPart(k, 2), progress=False)
    return [folder / "0", folder / "1"]


def shift(weights: dict[str, torch.Tensor]) -> None:
    weights["blocks.0.mlp.b_in"][0] += 1


def test_a_state_of_another_checkpoint_is_not_gone_on_from(tiny_checkpoint, corpus, shards, tmp_path):
    other = with_weights(tiny_checkpoint, tmp_path / "other", shift)
    shutil.copy(shards[0], tmp_path / "cache.state")
    with pytest.raises(CacheError, match="an interrupted build with other settings"):
        build_cache(other, [corpus], tmp_path / "cache", progress=False)


@pytest.mark.parametrize("change", [lambda text: text.replace("lamp", "lantern"), lambda text: text[:1]])
def test_a_state_of_another_text_is_not_gone_on_from(tiny_checkpoint, tmp_path, change):
    text = tmp_path / "text.jsonl"
    lines = "".join(f'{{"text": "the lamp was lit {n} times"}}\n' for n in range(9))
    text.write_text(lines)
    build_shard(tiny_checkpoint, [text], tmp_path / "cache.state", CorpusPart(), progress=False)
    text.write_text('{"text": "l"}\n' if len(change(lines)) == 1 else change(lines))
    with pytest.raises(CacheError, match="the corpus has changed since"):
        build_cache(tiny_checkpoint, [text], tmp_path / "cache", progress=False)


def test_a_damaged_state_is_not_gone_on_from(tiny_checkpoint, corpus, shards, tmp_path):
    data = bytearray(shards[0].read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "cache.state").write_bytes(data)
    with pytest.raises(CacheError, match=r"cache\.state is damaged.*remove it and build again"):
        build_cache(tiny_checkpoint, [corpus], tmp_path / "cache", progress=False)


def test_shards_of_two_models_do_not_merge(tiny_checkpoint, corpus, shards, tmp_path):
    other = with_weights(tiny_checkpoint, tmp_path / "other", shift)
    build_shard(other, [corpus], tmp_path / "1", CorpusPart(1, 2), progress=False)
    with pytest.raises(CacheError, match=r"not parts of one cache: model: .*sha256"):
        merged(load_state(file) for file in (shards[0], tmp_path / "1"))


def test_shards_twice_missing_or_cut_otherwise_do_not_merge(tiny_checkpoint, corpus, shards, tmp_path):
    with pytest.raises(CacheError, match=r"part 0/2 of .*own.parquet is counted twice"):
        merged(load_state(file) for file in (shards[0], shards[0]))
    with pytest.raises(CacheError, match="counted twice: the whole corpus is there"):
        merged(load_state(file) for file in (*shards, shards[0]))
    with pytest.raises(CacheError, match="these parts are missing: 1/2"):
        write_complete_state(load_state(shards[0]), load_tokenizer(tiny_checkpoint), tmp_path / "cache")
    build_shard(tiny_checkpoint, [corpus], tmp_path / "3", CorpusPart(1, 3), progress=False)
    with pytest.raises(CacheError, match=r"part 1/3 of .* overlaps with its parts of 2"):
        merged(load_state(file) for file in (shards[0], tmp_path / "3"))


def test_a_tokenizer_of_another_vocabulary_is_refused(tiny_checkpoint, corpus, shards, tmp_path):
    documents = [d.text for d in read_documents([corpus])]
    train_tokenizer(iter(documents), 310).save_pretrained(tmp_path / "larger")
    with pytest.raises(CheckpointError, match="d_vocab = 300 with a tokenizer of 310 tokens"):
        build_cache(tiny_checkpoint, [corpus], tmp_path / "c", tokenizer_path=tmp_path / "larger")
    train_tokenizer(iter(documents), 290).save_pretrained(tmp_path / "smaller")
    whole = merged(load_state(file) for file in shards)
    with pytest.raises(CacheError, match=r"read with a tokenizer of SHA-256 .*give the one of the build"):
        write_complete_state(whole, load_tokenizer(tmp_path / "smaller"), tmp_path / "c")


# Empty, tiny and long texts.


def test_empty_documents_are_no_documents(tiny_checkpoint, tmp_path):
    (tmp_path / "some.jsonl").write_text('{"text": ""}\n{"text": "words"}\n{"text": ""}\n{"text": " "}\n')
    manifest = build_cache(tiny_checkpoint, [tmp_path / "some.jsonl"], tmp_path / "cache", progress=False)
    assert manifest.corpus.n_documents == 2
    assert list(cache_problems(tmp_path / "cache", data=[tmp_path / "some.jsonl"])) == []


def test_a_sample_with_no_document_is_refused(tiny_checkpoint, tmp_path):
    (tmp_path / "one.txt").write_text("a single document")
    options = Options(sample=1e-9)
    with pytest.raises(CacheError, match=r"holds no token: take a larger one"):
        build_cache(tiny_checkpoint, [tmp_path / "one.txt"], tmp_path / "cache", options, progress=False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("n_ctx", [2, 3, 32])
def test_documents_longer_than_the_context_are_cut(tiny_checkpoint, tmp_path, n_ctx):
    """Cut them into contexts, the shortest of a BOS and one token."""
    model = model_of(tmp_path / "model", tiny_checkpoint, n_ctx=n_ctx)
    text = "the lamp was lit and the captain spoke of the sea " * 7
    (tmp_path / "long.txt").write_text(text)
    build_cache(model, [tmp_path / "long.txt"], tmp_path / "cache", Options(batch_size=3), progress=False)
    cache = NeuronCache.open(tmp_path / "cache")
    (ids,) = encode_texts(load_tokenizer(model), [text])
    assert cache.manifest.corpus.n_tokens == len(ids)
    assert cache.manifest.corpus.n_contexts == -(-len(ids) // (n_ctx - 1))
    (example,) = cache.neuron(0, 3).top("hook_mid")
    assert example.context_start % (n_ctx - 1) == 0
    assert len(example.tokens) <= n_ctx - 1
    assert example.tokens[example.peak] == ids[example.position]
    sampled = cache.sample().to_pylist()
    assert sorted(t for row in sampled for t in row["tokens"]) == sorted(ids)
    assert list(cache_problems(tmp_path / "cache", model=model)) == []


def test_a_corpus_smaller_than_k_gives_all_that_there_is(tiny_checkpoint, tmp_path):
    (tmp_path / "some.jsonl").write_text('{"text": "one"}\n{"text": "two and"}\n{"text": "three"}\n')
    build_cache(tiny_checkpoint, [tmp_path / "some.jsonl"], tmp_path / "cache", progress=False)
    cache = NeuronCache.open(tmp_path / "cache")
    for j in range(cache.d_mlp):
        neuron = cache.neuron(0, j)
        top, bottom = neuron.top("hook_mid"), neuron.bottom("hook_mid")
        assert len(top) == len(bottom) == 3
        assert len({e.document_index for e in top}) == 3
        total = sum(r.count for r in neuron.ranges("hook_mid"))
        assert total == cache.manifest.corpus.n_tokens
        for interval in neuron.ranges("hook_mid"):
            assert len(interval.examples) == min(5, interval.count)


def test_contexts_longer_than_can_be_counted_are_refused(tiny_checkpoint, corpus, tmp_path):
    model = model_of(tmp_path / "model", tiny_checkpoint, n_ctx=2**16)
    with pytest.raises(CacheError, match="contexts of at most 65535 tokens can be counted, got 65536"):
        build_cache(model, [corpus], tmp_path / "cache", progress=False)


def test_counters_hold_the_longest_context():
    """Put all tokens of several contexts of the greatest length into one bin."""
    from cache.statistics.accumulator import MAX_CONTEXT, CpuAccumulator, prepare_context
    from cache.statistics.hook import HookStatistics, StatisticsOptions
    from cache.statistics.layer import LayerStatistics

    keep = StatisticsOptions(top_k=1, range_samples=1)
    hooks = [HookStatistics.empty(1, 1, 4, keep)]
    layer = LayerStatistics(hooks, seed=0, layer=0, options=keep)
    accumulator = CpuAccumulator(layer, 4)
    for n in range(3):
        tokens = np.ones(MAX_CONTEXT, dtype=np.int64)
        accumulator.add(prepare_context(n, 0, tokens), np.ones((1, MAX_CONTEXT, 1), dtype=np.float32), 0)
        accumulator.end_document()
    layer.flush()
    assert hooks[0].counts.max() == hooks[0].counts.sum() == 3 * (MAX_CONTEXT - 1)
