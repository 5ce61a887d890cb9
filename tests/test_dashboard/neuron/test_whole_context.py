"""Whole contexts: every value is the model's own, or said to be unknown."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.format.schema import CacheError
from cache.writing.contexts import add_contexts
from dashboard.neuron.whole_context import whole_context
from dashboard.shared import places, settings
from dashboard.shared.address import Address, AddressError
from dashboard.shared.catalog import WEIGHTS
from dashboard.shared.place import Place
from solu_model.loading.checkpoints import load_checkpoint, load_tokenizer


@pytest.fixture
def place(tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Neuron 7 of a copy of the tiny model, whose cache holds the contexts of its two strongest examples."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    add_contexts(folder / "tiny" / "neurons", [corpus], load_tokenizer(tiny_model), n_ranks=2, progress=False)
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    return places.find_place(Address(neuron=7))


def test_every_token_has_the_models_value(place: Place) -> None:
    example = place.cache.neuron(0, 7).top("hook_mid")[1]
    found = whole_context(place, "top-1").data
    model, _ = load_checkpoint(place.model.path)
    tokens = torch.tensor([[model.config.bos_token_id, *place.cache.context(example).tolist()]])
    _, activations = model.run_with_cache(tokens, [f"blocks.0.mlp.{hook}" for hook in place.cache.hooks])
    (row,) = found["examples"]
    text = place.cache.vocabulary.pieces(place.cache.context(example))
    assert [found["texts"][piece] for piece in row["pieces"]] == [piece.text for piece in text]
    assert found["entire"]
    assert row["begins_context"]
    for hook in place.cache.hooks:
        values = activations[f"blocks.0.mlp.{hook}"][0, 1:, 7].numpy()
        expected = [max(values[p.first : p.first + p.n_tokens], key=abs) for p in text]
        low, high, steps = row["activations"][hook]
        assert np.array(steps) / 255 * (high - low) + low == pytest.approx(expected, abs=(high - low) / 500)
    assert row["value"] == example.value


def test_without_weights_the_rest_is_unknown(place: Place) -> None:
    (place.model.path / WEIGHTS).unlink()
    found = whole_context(place, "top-0")
    assert "Only the values near the peak are known" in found.description
    example = place.cache.neuron(0, 7).top("hook_mid")[0]
    (row,) = found.data["examples"]
    known = [step >= 0 for step in row["activations"]["hook_mid"][2]]
    assert sum(known) >= 1
    assert known[row["peak"]]
    n_tokens = row.get("token_counts") or [1] * len(known)
    assert sum(n for n, k in zip(n_tokens, known, strict=True) if k) == len(example.tokens)


def test_what_is_not_kept_says_so(place: Place) -> None:
    with pytest.raises(CacheError, match="solu cache contexts"):
        whole_context(replace(place, view="bottom"), "top-3")
    with pytest.raises(AddressError):
        whole_context(place, "../../etc/passwd")
    with pytest.raises(CacheError, match="there is no example top-99"):
        whole_context(place, "top-99")
