"""Caches of models with any tokenizer and BOS: against a brute-force run of the model itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cache.building.build import build_cache, build_shard, write_complete_state
from cache.building.engine import Options
from cache.building.workers import DocumentWorkers
from cache.checking.verify import cache_problems, shard_problems
from cache.format.schema import CacheError, Manifest
from cache.reader import NeuronCache
from cache.shards.corpus import CorpusPart
from cache.shards.shard_file import load_merged, load_state, save_state
from cache.writing.contexts import add_contexts
from cache.writing.trim import Sizes, trim
from solu_model import Tokenization, load_tokenizer
from solu_model.text.tokenizer_error import TokenizerError
from tests.tokenizer_kinds import KINDS, tokenizer_of

TEXTS = [
    "Reading one neuron at a time. " * 3,
    "the lamps and the lights of the sea, isn't it",
    "Café 🙂",
    "x",
]
D_VOCAB, N_CTX = 420, 16


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "some.jsonl"
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama without a tokenizer, whose configuration names no BOS."""
    folder = tmp_path_factory.mktemp("llama") / "llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=16, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=N_CTX, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        initializer_range=0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def model_with(weights: Path, folder: Path, kind: str, bos: str | None = "[BOS]", **config: object) -> Path:
    """A copy of the model with a tokenizer and other fields in its configuration."""
    shutil.copytree(weights, folder)
    tokenizer_of(kind, bos).save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


def brute_force(folder: Path, tokenization: Tokenization) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of the text, `[N]`, and the input of the down projection on them, `[N, M]`."""
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    seen: list[torch.Tensor] = []
    model.model.layers[0].mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens, rows = [], []
    for ids in tokenization.encode(TEXTS):
        room = tokenization.n_ctx - (tokenization.bos_id is not None)
        for start in range(0, len(ids), room):
            part = ids[start : start + room]
            lead = [] if tokenization.bos_id is None else [tokenization.bos_id]
            with torch.inference_mode():
                model(torch.tensor([lead + part]))
            tokens += part
            rows.append(seen.pop()[0, len(lead) :].numpy())
    return np.array(tokens), np.concatenate(rows)


@pytest.mark.parametrize(
    ("bos", "n_ctx"), [("none", None), ("none", 1), ("none", 7), ("1", None), ("0", 7), (None, None)]
)
def test_statistics_are_those_of_contexts_with_this_bos_and_length(weights, text, tmp_path, bos, n_ctx):
    folder = model_with(weights, tmp_path / "m", "byte-level")
    manifest = build_cache(
        folder, [text], tmp_path / "c", Options(bos=bos, n_ctx=n_ctx, token_min_count=1), progress=False
    )
    expected_bos = {"none": None, None: 1}.get(bos, bos)
    assert manifest.version == 4
    assert manifest.tokenization is not None
    assert manifest.tokenization.bos_id == (None if expected_bos is None else int(expected_bos))
    assert manifest.n_ctx == (n_ctx or N_CTX)
    tokenization = Tokenization.by_tokenizer(load_tokenizer(folder), D_VOCAB, N_CTX)
    tokenization = tokenization.with_bos(manifest.tokenization.bos_id, n_ctx)
    tokens, acts = brute_force(folder, tokenization)
    cache = NeuronCache.open(tmp_path / "c")
    table = cache.table(0, "hook_post")
    assert manifest.corpus.n_tokens == len(tokens)
    np.testing.assert_allclose(table["max"].to_numpy(), acts.max(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["min"].to_numpy(), acts.min(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["mean"].to_numpy(), acts.mean(0), rtol=1e-4, atol=1e-5)
    assert set(table["count"].to_pylist()) == {len(tokens)}
    best = cache.neuron(0, 3).top("hook_post")[0]
    assert best.tokens[best.peak] == tokens[acts[:, 3].argmax()]
    assert cache.neuron(0, 3).tokens("hook_post")[0].mean == pytest.approx(
        max(acts[tokens == t, 3].mean() for t in set(tokens.tolist())), rel=1e-4, abs=1e-5
    )
    assert list(cache_problems(tmp_path / "c", model=folder, data=[text])) == []


def test_statistics_on_a_device_leave_nothing_out_without_a_bos(weights, text, tmp_path):
    folder = model_with(weights, tmp_path / "m", "byte-level")
    from cache.building.engine import Engine
    from cache.shards.corpus import Corpus
    from cache.shards.state import BuildState

    engine = Engine(folder, Options(bos="none", n_ctx=7, batch_size=3))
    states = [BuildState.empty(engine.settings) for _ in range(2)]
    for state, on_device in zip(states, (False, True), strict=True):
        workers = DocumentWorkers(engine, state, on_device=on_device)
        for document in Corpus([text]).documents(engine.tokenization):
            workers.submit(document)
        workers.flush()
        workers.close()
        state.canonicalize()
    one, other = (state.layers[0][0].arrays() for state in states)
    for name in ("counts", "extremes"):
        np.testing.assert_array_equal(one[name], other[name])
    assert states[0].sample.contexts == states[1].sample.contexts


@pytest.mark.parametrize("kind", KINDS)
def test_examples_read_as_text_with_any_tokenizer(weights, text, tmp_path, kind):
    folder = model_with(weights, tmp_path / "m", kind)
    build_cache(folder, [text], tmp_path / "c", progress=False)
    cache = NeuronCache.open(tmp_path / "c")
    longest = max(cache.sample()["tokens"].to_pylist(), key=len)
    shown = "".join(p.text for p in cache.vocabulary.pieces(longest)).lower()
    assert "one neuron" in shown or "lamps and" in shown
    assert "##" not in shown
    assert "▁" not in shown
    assert list(cache_problems(tmp_path / "c", model=folder, data=[text])) == []


@pytest.mark.parametrize(
    "stored",
    [
        {"truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}},
        {
            "padding": {
                "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1,
                "pad_type_id": 0, "pad_token": "[BOS]",
            }
        },
    ],
    ids=["truncation", "padding"],
)  # fmt: skip
def test_truncation_and_padding_that_a_file_asks_for_change_no_byte(weights, text, tmp_path, stored):
    for name in ("plain", "stored"):
        folder = model_with(weights, tmp_path / name / "m", "byte-level")
        if name == "stored":
            file = folder / "tokenizer.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | stored))
        build_cache(folder, [text], tmp_path / name / "c", progress=False)
    files = [f for f in (tmp_path / "plain/c").rglob("*") if f.is_file()]
    assert files
    for file in files:
        other = tmp_path / "stored/c" / file.relative_to(tmp_path / "plain/c")
        assert file.read_bytes() == other.read_bytes(), file.name


@pytest.mark.parametrize(
    ("bos", "config", "message"),
    [
        (None, {}, "neither the tokenizer nor config.json names a BOS.*--bos none"),
        ("[BOS]", {"bos_token_id": 5}, r"tokenizer's BOS is token 1 .* bos_token_id = 5 .*--bos"),
    ],
)
def test_a_bos_that_is_not_determined_is_refused_before_the_text_is_read(
    weights, text, tmp_path, monkeypatch, bos, config, message
):
    folder = model_with(weights, tmp_path / "m", "byte-level", bos, **config)
    monkeypatch.delattr("cache.building.build.read_corpus")
    with pytest.raises(TokenizerError, match=message):
        build_cache(folder, [text], tmp_path / "c", progress=False)


def test_parts_with_other_tokens_are_not_merged(weights, text, tmp_path):
    folder = model_with(weights, tmp_path / "m", "byte-level")
    build_shard(folder, [text], tmp_path / "0", CorpusPart(0, 2), Options(bos="none"), progress=False)
    build_shard(folder, [text], tmp_path / "1", CorpusPart(1, 2), Options(n_ctx=8), progress=False)
    with pytest.raises(CacheError, match=r"not parts of one cache: tokenization: .*'bos_id': None"):
        load_merged([tmp_path / "0", tmp_path / "1"])
    assert any("tokenization" in p for p in shard_problems([tmp_path / "0", tmp_path / "1"], model=folder))
    (tmp_path / "1").unlink()
    build_shard(folder, [text], tmp_path / "1", CorpusPart(1, 2), Options(bos="none"), progress=False)
    whole = load_merged([tmp_path / "0", tmp_path / "1"])
    write_complete_state(whole, load_tokenizer(folder), tmp_path / "merged")
    build_cache(folder, [text], tmp_path / "c", Options(bos="none"), progress=False)
    for file in (f for f in (tmp_path / "c").rglob("*") if f.is_file()):
        other = tmp_path / "merged" / file.relative_to(tmp_path / "c")
        assert file.read_bytes() == other.read_bytes(), file.name


def test_whole_contexts_and_smaller_copies_keep_the_tokenization(weights, text, tmp_path):
    folder = model_with(weights, tmp_path / "m", "llama-like")
    build_cache(folder, [text], tmp_path / "c", Options(bos="none", n_ctx=9), progress=False)
    add_contexts(tmp_path / "c", [text], load_tokenizer(folder), progress=False)
    cache = NeuronCache.open(tmp_path / "c")
    for example in cache.neuron(0, 2).top("hook_post"):
        context = cache.context(example)
        assert context is not None
        assert len(context) <= 9
        assert context[example.position - example.context_start] == example.tokens[example.peak]
    manifest = trim(tmp_path / "c", tmp_path / "small", Sizes(top_k=2), progress=False)
    assert manifest.tokenization == cache.manifest.tokenization
    assert list(cache_problems(tmp_path / "small", model=folder, data=[text])) == []


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"bos_id": None, "n_ctx": 16}, "not cut as cache.json says"),
        ({"bos_id": 1, "n_ctx": 9}, "not cut as cache.json says"),
        ({"bos_id": 1, "n_ctx": 17}, "contexts of 17 tokens, of a model that reads at most 16"),
        ({"bos_id": 420, "n_ctx": 16}, "the BOS is token 420 of 420"),
        (None, "tokenization"),
    ],
)
def test_verify_compares_the_manifest_with_the_contexts(weights, text, tmp_path, record, message):
    folder = model_with(weights, tmp_path / "m", "byte-level")
    build_cache(folder, [text], tmp_path / "c", progress=False)
    file = tmp_path / "c/cache.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenization": record}))
    problems = list(cache_problems(tmp_path / "c", model=folder))
    assert any(message in problem for problem in problems)


def test_a_manifest_of_an_earlier_version_has_no_new_field():
    golden = Path(__file__).parents[2] / "golden/cache_v3/cache.json"
    manifest = Manifest.model_validate_json(golden.read_bytes())
    assert manifest.tokenization is None
    assert json.loads(manifest.to_json()) == json.loads(golden.read_bytes())
    assert "tokenization" not in manifest.model_dump()
    assert manifest.n_ctx == manifest.model.n_ctx


def test_a_build_that_an_earlier_program_began_is_resumed(weights, text, tmp_path):
    folder = model_with(weights, tmp_path / "m", "byte-level")
    from cache.building.build import Stopped

    def stops() -> bool:
        return True

    with pytest.raises(Stopped):
        build_cache(folder, [text], tmp_path / "c", progress=False, stop=stops)
    saved = tmp_path / "c.state"
    state = load_state(saved)
    state.settings = state.settings.model_copy(update={"tokenization": None})
    save_state(state, saved)
    with pytest.raises(CacheError, match="an interrupted build with other settings"):
        build_cache(folder, [text], tmp_path / "c", Options(bos="none"), progress=False)
    manifest = build_cache(folder, [text], tmp_path / "c", progress=False)
    assert manifest.tokenization is not None
    assert manifest.tokenization.bos_id == 1
