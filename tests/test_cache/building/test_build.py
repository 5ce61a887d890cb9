"""A cache of a small corpus against an exact brute-force computation in numpy."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from cache.building.build import build_cache
from cache.building.engine import Options
from cache.format.schema import CacheError
from cache.reader import NeuronCache
from cache.statistics.identity import document_digest, fingerprint
from solu_model import load_checkpoint
from solu_model.text.documents import CorpusError, Document, read_documents
from solu_model.text.tokenizer import encode_texts

HOOKS = ("hook_mid", "hook_post")


def name_of(document: Document) -> int:
    """Return the name of a document, as docs/cache_format.md defines it."""
    digest = document_digest(document.text.encode(), document.source, document.origin)
    return digest % 2**63


@pytest.fixture(scope="module")
def everything(tiny_model: Path, corpus: Path) -> dict[str, list[tuple[int, int, np.ndarray, np.ndarray]]]:
    """Every activation: by hook, (document, context start, tokens, acts `[T, M]`) of each context."""
    model, tokenizer = load_checkpoint(tiny_model)
    found: dict[str, list[tuple[int, int, np.ndarray, np.ndarray]]] = {hook: [] for hook in HOOKS}
    for document in read_documents([corpus]):
        index = name_of(document)
        (ids,) = encode_texts(tokenizer, [document.text])
        for start in range(0, len(ids), model.config.n_ctx - 1):
            row = [0, *ids[start : start + model.config.n_ctx - 1]]
            names = {hook: f"blocks.0.mlp.{hook}" for hook in HOOKS}
            _, acts = model.run_with_cache(torch.tensor([row]), names.values())
            for hook in HOOKS:
                found[hook].append((index, start, np.array(row), acts[names[hook]][0].numpy()))
    return found


@pytest.mark.parametrize("hook", HOOKS)
def test_top_examples_are_the_brute_force_ones(tiny_model, everything, hook):
    cache = NeuronCache.open(tiny_model / "neurons")
    for j in range(cache.d_mlp):
        best: dict[int, tuple[float, int, int, int]] = {}
        for document, start, row, acts in everything[hook]:
            t = int(acts[1:, j].argmax()) + 1
            candidate = (-float(acts[t, j]), document, start + t - 1, fingerprint(row, t))
            best[document] = min(best.get(document, candidate), candidate)
        ranked, seen = [], set()
        for value, document, position, key in sorted(best.values()):
            if key not in seen:
                ranked.append((-value, document, position))
            seen.add(key)
        ranked = ranked[:20]
        top = cache.neuron(0, j).top(hook)
        assert [e.document_index for e in top] == [d for _, d, _ in ranked]
        assert [e.position for e in top] == [p for _, _, p in ranked]
        np.testing.assert_allclose([e.value for e in top], [v for v, _, _ in ranked], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hook", HOOKS)
def test_windows_hold_the_text_and_both_hooks(tiny_model, everything, hook):
    cache = NeuronCache.open(tiny_model / "neurons")
    rows = {h: {(d, s): (row, acts) for d, s, row, acts in everything[h]} for h in HOOKS}
    for j in range(0, cache.d_mlp, 5):
        for example in cache.neuron(0, j).top(hook):
            key = (example.document_index, example.context_start)
            tokens = rows[hook][key][0]
            low = example.position - example.context_start + 1 - example.peak
            np.testing.assert_array_equal(example.tokens, tokens[low : low + len(example.tokens)])
            for h in HOOKS:
                truth = rows[h][key][1][low : low + len(example.tokens), j]
                step = (truth.max() - truth.min()) / 510
                np.testing.assert_allclose(example.activations[h], truth, atol=step * 1.01 + 1e-6)


@pytest.mark.parametrize("hook", HOOKS)
def test_histogram_and_moments_count_every_token_but_the_bos(tiny_model, everything, hook):
    cache = NeuronCache.open(tiny_model / "neurons")
    acts = np.concatenate([a[1:] for *_, a in everything[hook]]).astype(np.float64)
    for j in range(cache.d_mlp):
        neuron = cache.neuron(0, j)
        histogram, moments, x = neuron.histogram(hook), neuron.moments(hook), acts[:, j]
        assert histogram.total == moments.count == len(x) == cache.manifest.corpus.n_tokens
        # Activations recomputed in another batch shape may differ in the last bit and cross an edge.
        inner = histogram.edges[1:-1]
        truth = np.searchsorted(np.sort(x), inner)
        assert np.abs(np.cumsum(histogram.counts)[:-1] - truth).max() <= 1
        assert moments.max == pytest.approx(x.max(), rel=1e-5)
        assert moments.min == pytest.approx(x.min(), rel=1e-5)
        assert moments.mean == pytest.approx(x.mean(), rel=1e-5, abs=1e-7)
        assert moments.std == pytest.approx(x.std(), rel=1e-5)
        z = (x - x.mean()) / x.std()
        assert moments.skewness == pytest.approx((z**3).mean(), rel=1e-4, abs=1e-6)
        assert moments.kurtosis == pytest.approx((z**4).mean() - 3, rel=1e-4, abs=1e-4)


def test_the_table_agrees_with_the_neurons(tiny_model):
    cache = NeuronCache.open(tiny_model / "neurons")
    table = cache.table(0, "hook_mid").to_pylist()
    assert [row["neuron"] for row in table] == list(range(cache.d_mlp))
    for row in table[::7]:
        neuron = cache.neuron(0, row["neuron"])
        top = neuron.top("hook_mid")
        assert row["max"] == pytest.approx(top[0].value)
        assert row["peak_tokens"] == [int(e.tokens[e.peak]) for e in top[:8]]
        n, edge = neuron.histogram("hook_mid").count_from(row["max"] / 10)
        assert (row["density"], row["density_above"]) == (n / row["count"], edge)


@pytest.mark.parametrize("hook", HOOKS)
def test_ranges_hold_what_numpy_counts(tiny_model, everything, hook):
    cache = NeuronCache.open(tiny_model / "neurons")
    acts = np.concatenate([a[1:] for *_, a in everything[hook]])
    for j in range(0, cache.d_mlp, 5):
        found = cache.neuron(0, j).ranges(hook)
        assert sum(r.count for r in found) == len(acts)
        assert [r.low for r in found[1:]] == [r.high for r in found[:-1]]
        for r in found[1:]:
            # As with the histogram: a value at an edge may fall to either side when recomputed.
            inside = (acts[:, j] >= r.low) & ((acts[:, j] < r.high) | (r is found[-1]))
            assert abs(int(inside.sum()) - r.count) <= 1
            assert len(r.examples) == min(r.count, 5)
            assert all(r.low <= e.value <= r.high for e in r.examples)
            assert all(e.activations[hook][e.peak] == pytest.approx(e.value, abs=0.1) for e in r.examples)


def test_tokens_and_sources_agree_with_numpy(tiny_model, everything):
    cache = NeuronCache.open(tiny_model / "neurons")
    acts = np.concatenate([a[1:] for *_, a in everything["hook_post"]]).astype(float)
    tokens = np.concatenate([row[1:] for _, _, row, _ in everything["hook_post"]])
    counts = np.bincount(tokens, minlength=300)
    for j in range(0, cache.d_mlp, 9):
        means = np.bincount(tokens, acts[:, j], 300) / np.maximum(counts, 1)
        found = cache.neuron(0, j).tokens("hook_post")
        best = np.sort(means[counts >= 10])[::-1][: len(found)]
        assert len(found) == 20
        np.testing.assert_allclose([t.mean for t in found], best, atol=1e-5)
        assert [t.count for t in found] == [counts[t.token] for t in found]
        assert sum(s.share for s in cache.neuron(0, j).sources("hook_post")) == pytest.approx(1)
    token = int(counts.argmax())
    of_token = np.array([acts[tokens == token, j].mean() for j in range(cache.d_mlp)])
    best_neuron, mean = cache.neurons_for(token, 0, "hook_post")[0]
    assert best_neuron == int((of_token / acts.max(axis=0)).argmax())
    assert mean == pytest.approx(of_token[best_neuron], rel=1e-4)


def test_the_sample_of_contexts_is_text_of_the_corpus(tiny_checkpoint, corpus, everything, tmp_path):
    build_cache(tiny_checkpoint, [corpus], tmp_path / "c", Options(sample_tokens=500), progress=False)
    cache = NeuronCache.open(tmp_path / "c")
    rows = {(d, s): row for d, s, row, _ in everything["hook_mid"]}
    sample = cache.sample().to_pylist()
    assert 470 < sum(len(context["tokens"]) for context in sample) <= 500
    for context in sample:
        assert context["tokens"] == rows[context["document"], context["context_start"]][1:].tolist()
        assert context["document"] in cache.documents()


def test_provenance_is_kept(tiny_model, corpus):
    cache = NeuronCache.open(tiny_model / "neurons")
    documents = {name_of(d): d for d in read_documents([corpus])}
    for example in cache.neuron(0, 3).top("hook_post"):
        original = documents[example.document_index]
        assert example.document.licence == "CC0-1.0"
        assert (example.document.source, example.document.origin) == (original.source, original.origin)


def test_a_sample_is_the_same_every_time_and_smaller(tiny_checkpoint, corpus, tmp_path):
    first = build_cache(tiny_checkpoint, [corpus], tmp_path / "a", Options(sample=0.4), progress=False)
    second = build_cache(tiny_checkpoint, [corpus], tmp_path / "b", Options(sample=0.4), progress=False)
    other = build_cache(
        tiny_checkpoint, [corpus], tmp_path / "c", Options(sample=0.4, seed=1), progress=False
    )
    assert first.corpus == second.corpus
    assert first.corpus.sha256 != other.corpus.sha256
    assert 0 < first.corpus.n_documents < 40


def test_a_model_without_the_extra_norm_has_hook_post_alone(tiny_checkpoint, corpus, tmp_path):
    from solu_model import SoluForCausalLM

    model, tokenizer = load_checkpoint(tiny_checkpoint)
    config = type(model.config).from_dict(model.config.to_dict() | {"act_fn": "gelu"})
    SoluForCausalLM(config).save_pretrained(tmp_path / "gelu")
    tokenizer.save_pretrained(tmp_path / "gelu")
    build_cache(tmp_path / "gelu", [corpus], tmp_path / "cache", progress=False)
    cache = NeuronCache.open(tmp_path / "cache")
    assert cache.hooks == ["hook_post"]
    assert set(cache.neuron(0, 0).top("hook_post")[0].activations) == {"hook_post"}
    with pytest.raises(CacheError, match="not 'hook_mid'"):
        cache.neuron(0, 0).histogram("hook_mid")


def test_provenance_of_documents_that_nothing_came_from_is_forgotten(tiny_checkpoint, tmp_path, monkeypatch):
    rows = "".join(f'{{"text": "document number {n}", "origin": "o{n}"}}\n' for n in range(3000))
    (tmp_path / "many.jsonl").write_text(rows)
    monkeypatch.setattr("cache.building.build._MAX_DOCUMENTS_HELD", 500)
    options = Options(top_k=2, range_samples=1, sample_tokens=100)
    build_cache(tiny_checkpoint, [tmp_path / "many.jsonl"], tmp_path / "c", options, progress=False)
    cache = NeuronCache.open(tmp_path / "c")
    assert cache.manifest.corpus.n_documents == 3000
    assert len(cache.documents()) < 2500
    for example in cache.neuron(0, 0).top("hook_mid"):
        number = int(example.document.origin.removeprefix("o"))
        assert cache.vocabulary.pieces(example.tokens)[0].text.startswith("d")
        assert 0 <= number < 3000


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
def test_other_peoples_models_are_cached_alike(kind, tiny_checkpoint, corpus, tmp_path):
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
    shape |= {"intermediate_size": 24, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    model = {
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=300, n_positions=32, bos_token_id=0)
        ),
        "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**shape)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
    }[kind]()
    model.save_pretrained(tmp_path / "model")
    _, tokenizer = load_checkpoint(tiny_checkpoint)
    tokenizer.save_pretrained(tmp_path / "model")
    build_cache(tmp_path / "model", [corpus], tmp_path / "model/neurons", progress=False)
    cache = NeuronCache.open(tmp_path / "model/neurons")
    assert (cache.layers, cache.hooks) == ([0, 1], ["hook_post"])
    example = cache.neuron(1, 3).top("hook_post")[0]
    document = next(d for d in read_documents([corpus]) if name_of(d) == example.document_index)
    (ids,) = encode_texts(tokenizer, [document.text])
    row = torch.tensor([[0, *ids[example.context_start : example.context_start + 31]]])
    reads = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "llama": "down_proj"}[kind]
    seen = []
    blocks = model.base_model.h if kind == "gpt2" else model.base_model.layers
    getattr(blocks[1].mlp, reads).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.train(False)(row)
    assert float(seen[0][0, 1:, 3].detach().max()) == pytest.approx(example.value, rel=1e-4)


def test_fewer_documents_than_examples(tiny_checkpoint, tmp_path):
    (tmp_path / "one.txt").write_text("only one document here")
    build_cache(tiny_checkpoint, [tmp_path / "one.txt"], tmp_path / "cache", progress=False)
    top = NeuronCache.open(tmp_path / "cache").neuron(0, 0).top("hook_mid")
    assert len(top) == 1
    assert top[0].document.source == "one"


def test_nan_activations_are_counted_and_never_ranked(tiny_checkpoint, corpus, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "sick"
    folder.mkdir()
    for file in tiny_checkpoint.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(tiny_checkpoint / "model.safetensors")
    weights["blocks.0.mlp.ln.b"][5] = float("nan")
    save_file(weights, folder / "model.safetensors")
    build_cache(folder, [corpus], tmp_path / "cache", progress=False)
    cache = NeuronCache.open(tmp_path / "cache")
    moments = cache.neuron(0, 5).moments("hook_post")
    assert (moments.count, moments.n_nan) == (0, cache.manifest.corpus.n_tokens)
    assert cache.neuron(0, 5).top("hook_post") == []
    assert cache.neuron(0, 4).moments("hook_post").n_nan == 0


def test_an_empty_corpus_is_refused_and_nothing_is_written(tiny_checkpoint, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(CorpusError, match="no text in"):
        build_cache(tiny_checkpoint, [tmp_path / "empty.txt"], tmp_path / "cache", progress=False)
    assert not (tmp_path / "cache").exists()


def test_a_failed_build_leaves_the_older_cache(tiny_checkpoint, corpus, tmp_path, monkeypatch):
    out = tmp_path / "cache"
    build_cache(tiny_checkpoint, [corpus], out, progress=False)
    before = (out / "checksums.sha256").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("cache.writing.cache_folder._write_documents", full_disk)
    with pytest.raises(CacheError, match="No space"):
        build_cache(tiny_checkpoint, [corpus], out, Options(sample=0.5), progress=False)
    assert (out / "checksums.sha256").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "cache.state"]


def test_activation_by_token_can_be_left_out(tiny_checkpoint, corpus, tmp_path):
    build_cache(tiny_checkpoint, [corpus], tmp_path / "c", Options(by_token=False), progress=False)
    cache = NeuronCache.open(tmp_path / "c")
    assert cache.manifest.by_token is False
    assert cache.neuron(0, 3).tokens("hook_mid") == []
    assert cache.neurons_for(5, 0, "hook_mid") == []
    assert cache.neuron(0, 3).ranges("hook_mid")


def test_what_does_not_fit_in_memory_is_refused_before_anything_is_read(
    tiny_checkpoint, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(
        CacheError, match=r"GB of memory, but 0\.0 GB are free: read fewer layers .*--no-by-token"
    ):
        build_cache(tiny_checkpoint, [corpus], tmp_path / "c", progress=False)
