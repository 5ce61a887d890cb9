"""What ships in models/: it loads, its cache is of its weights, and its numbers come out again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cache.reader import NeuronCache
from solu_model import load_checkpoint
from solu_model.files import weights_hash

MODELS = Path(__file__).parent.parent / "models"
FOLDERS = sorted(p.parent for p in MODELS.glob("*/config.json"))


def test_there_is_a_model():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_stored_activations_are_recomputed(folder):
    cache = NeuronCache.open(folder / "neurons")
    assert cache.manifest.model.sha256 == weights_hash(folder)
    model, tokenizer = load_checkpoint(folder)
    checked = 0
    for neuron in range(0, cache.d_mlp, 48):
        for hook in cache.hooks:
            for example in cache.neuron(0, neuron).top(hook):
                if example.position - example.peak != example.context_start:
                    continue  # the window does not show all that the model saw before the peak
                tokens = torch.tensor([[tokenizer.bos_token_id, *example.tokens.tolist()]])
                names = {h: f"blocks.0.mlp.{h}" for h in cache.hooks}
                _, acts = model.run_with_cache(tokens, names.values())
                again = acts[names[hook]][0, 1 + example.peak, neuron]
                assert float(again) == pytest.approx(example.value, rel=1e-4, abs=1e-5)
                for h, name in names.items():
                    stored, now = example.activations[h], acts[name][0, 1:, neuron].numpy()
                    np.testing.assert_allclose(stored, now, atol=(np.ptp(now) + 1e-6) / 500, rtol=1e-4)
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_every_text_has_its_source_and_licence(folder):
    documents = NeuronCache.open(folder / "neurons").documents()
    assert documents
    assert all(d.source and d.licence and d.origin for d in documents.values())
    listed = (MODELS / "DATA.md").read_text(encoding="utf-8")
    assert {d.licence for d in documents.values() if d.licence not in listed} == set()
