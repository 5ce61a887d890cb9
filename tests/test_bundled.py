"""What ships in models/: it loads, its cache is of its weights, and its numbers come out again."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cache.format.schema import part_name
from cache.reader import NeuronCache
from solu_model import load_checkpoint
from solu_model.loading.checkpoint_files import weights_hash

MODELS = Path(__file__).parent.parent / "models"
FOLDERS = sorted(p.parent for p in MODELS.glob("*/config.json"))


def test_there_is_a_model():
    assert FOLDERS


def stored_rows(folder, cache, layer, neuron, hook):
    """The strongest examples' rows, read without our reader."""
    part = part_name(layer, neuron, cache.manifest.neurons_per_part)
    own = [("neuron", "=", neuron), ("hook", "=", hook), ("kind", "=", "top")]
    return pq.read_table(folder / "neurons/examples" / part, filters=own).to_pylist()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_stored_activations_are_recomputed(folder):
    cache = NeuronCache.open(folder / "neurons")
    assert cache.manifest.model.sha256 == weights_hash(folder)
    model, tokenizer = load_checkpoint(folder)
    checked = 0
    places = [(layer, neuron) for layer in cache.layers for neuron in range(0, cache.d_mlp, 16)]
    for (layer, neuron), hook in product(places, cache.hooks):
        rows = stored_rows(folder, cache, layer, neuron, hook)
        for example, row in zip(cache.neuron(layer, neuron).top(hook), rows, strict=True):
            if example.position - example.peak != example.context_start:
                continue  # the window does not show all that the model saw before the peak
            tokens = torch.tensor([[tokenizer.bos_token_id, *example.tokens.tolist()]])
            names = {h: f"blocks.{layer}.mlp.{h}" for h in cache.hooks}
            _, acts = model.run_with_cache(tokens, names.values())
            again = acts[names[hook]][0, 1 + example.peak, neuron]
            assert float(again) == pytest.approx(example.value, rel=1e-4, abs=1e-5)
            for h, name in names.items():
                stored, now = example.activations[h], acts[name][0, 1:, neuron].numpy()
                step = (row[f"high_{h}"] - row[f"low_{h}"]) / 255
                np.testing.assert_allclose(stored, now, atol=0.51 * step + 1e-5, rtol=1e-4)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_every_text_has_its_source_and_licence(folder):
    documents = NeuronCache.open(folder / "neurons").documents()
    assert documents
    assert all(d.source and d.licence and d.origin for d in documents.values())
    listed = (MODELS / "DATA.md").read_text(encoding="utf-8")
    assert {d.licence for d in documents.values() if d.licence not in listed} == set()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_the_card_says_what_was_measured(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    training, losses = (json.loads((folder / f"{n}.json").read_text()) for n in ("training", "evaluation"))
    manifest = NeuronCache.open(folder / "neurons").manifest
    assert f"| {training['tokens']:,}, in {training['steps']:,} steps" in card
    for source, loss in losses.items():
        name = "**all**" if source == "all" else source
        row = (
            f"| {name} | {loss['n_tokens']:,} | {loss['nats_per_token']:.3f} | {loss['bits_per_byte']:.3f} |"
        )
        assert row in card
    assert f"| {manifest.corpus.n_tokens:,} tokens of {manifest.corpus.n_documents:,} documents" in card
    assert manifest.corpus.n_tokens >= 20_000_000
    kept = f"--top-k {manifest.top_k} --range-samples {manifest.range_samples} "
    kept += f"--window {manifest.window_before} {manifest.window_after} "
    kept += f"--sample-window {manifest.sample_window_before} {manifest.sample_window_after}"
    assert kept in card
    rate = pq.read_table(folder / "curve.parquet")["tokens_per_s"].to_numpy()
    minutes = (training["recipe"]["log_every"] * training["recipe"]["batch_tokens"] / rate).sum() / 60
    assert f", {minutes:.0f} minutes with other work beside" in card
    if folder.name.startswith("gelu-") and not folder.name.startswith("gelu-ln"):
        return
    baseline = MODELS / f"gelu-{folder.name.rpartition('-')[2]}"
    others = json.loads((baseline / "evaluation.json").read_text())
    for source, loss in losses.items():
        name = "**all**" if source == "all" else source
        gap = loss["nats_per_token"] - others[source]["nats_per_token"]
        assert re.search(rf"^\| {re.escape(name)} \|.*\| {re.escape(f'{gap:+.3f}')} \|$", card, re.MULTILINE)


def test_pairs_saw_the_same_text_with_the_same_seed():
    said = {f.name: json.loads((f / "training.json").read_text()) for f in FOLDERS}
    same = ("data", "data_tokens", "data_documents", "data_bytes")
    assert all(s[name] == said["solu-1l"][name] for s in said.values() for name in same)
    for name, one in said.items():
        other = said[f"solu-{name.rpartition('-')[2]}"]  # of as many layers
        assert all(one[what] == other[what] for what in ("steps", "tokens"))
        recipes = [{k: v for k, v in s["recipe"].items() if k != "save_every"} for s in (one, other)]
        assert recipes[0] == recipes[1]
    tokenizers = {NeuronCache.open(f / "neurons").manifest.model.tokenizer for f in FOLDERS}
    assert len(tokenizers) == 1
