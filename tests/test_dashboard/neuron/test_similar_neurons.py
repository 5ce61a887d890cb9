"""Similar neurons and examples run again, against numpy's own definitions and a model run by hand."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from analysis.similarity import PeakCounts, correlations, cosines, standardize, take_contexts, top_neurons
from dashboard.neuron import similar_neurons as similar
from dashboard.neuron.ablation import begins_its_context
from dashboard.neuron.recompute import recomputed
from dashboard.shared import places, settings
from dashboard.shared.address import Address
from dashboard.shared.catalog import ModelError
from dashboard.shared.place import Place
from solu_model.loading.checkpoints import load_checkpoint


@pytest.fixture
def place(two_models: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Neuron 7 of the tiny model."""
    monkeypatch.setattr(settings, "model_roots", lambda: [two_models])
    return places.find_place(Address(model="tiny", neuron=7))


@pytest.fixture
def other(place: Place) -> Place:
    """Layer 1 of the other model."""
    return places.find_place(Address(model="other", layer=1, neuron=3))


def nothing(_share: float) -> None:
    """Not interested in how far the model has come."""


def by_hand(checkpoint: Path, place: Place, layer: int, hook: str, n_tokens: int) -> np.ndarray:
    """Activations of a layer over the sample of a place's cache, each context cut at the model's n_ctx."""
    model = load_checkpoint(checkpoint)[0].double()
    rows = []
    for tokens in take_contexts(place.cache.sample(), n_tokens):
        step = model.config.n_ctx - 1
        for first in range(0, len(tokens), step):
            row = torch.tensor([[0, *tokens[first : first + step].tolist()]])
            with torch.no_grad():
                _, taken = model.run_with_cache(row, [f"blocks.{layer}.mlp.{hook}"])
            rows.append(taken[f"blocks.{layer}.mlp.{hook}"][0, 1:].numpy())
    return np.concatenate(rows)


@pytest.mark.parametrize("hook", ["hook_mid", "hook_post"])
def test_correlation_on_the_same_tokens(two_models: Path, place: Place, other: Place, hook: str) -> None:
    place = replace(place, hook=hook)
    mine = by_hand(two_models / "tiny", place, 0, hook, 20_000)
    want = np.corrcoef(mine.T)[7]
    np.testing.assert_allclose(similar.scores(place, "activation", place, nothing), want, atol=2e-3)
    theirs = by_hand(two_models / "other", place, 1, "hook_post", 20_000)
    assert len(mine) == len(theirs) == sum(len(t) for t in place.cache.sample()["tokens"].to_pylist())
    want = [np.corrcoef(mine[:, 7], theirs[:, m])[0, 1] for m in range(20)]
    np.testing.assert_allclose(similar.scores(place, "activation", other, nothing), want, atol=2e-3)


def test_the_model_runs_once_and_says_how_far_it_is(place: Place) -> None:
    shares: list[float] = []
    fresh = replace(place, hook="hook_post", neuron=1)
    similar._held.clear()
    first = similar.scores(fresh, "activation", fresh, shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] < 1
    n = len(shares)
    again = similar.scores(replace(fresh, neuron=2), "activation", fresh, shares.append)
    assert len(shares) == n
    assert first[1] == pytest.approx(1, abs=1e-3)
    assert again[1] == pytest.approx(first[2], abs=1e-3)


@pytest.mark.parametrize("measure", ["out", "in"])
def test_cosines_of_weights(two_models: Path, other: Place, measure: str) -> None:
    mlps = [block.mlp for block in load_checkpoint(two_models / "other")[0].double().blocks]
    rows = [(mlp.W_out if measure == "out" else mlp.W_in.T).detach().numpy() for mlp in mlps]
    own = rows[1][3] / np.linalg.norm(rows[1][3])
    for layer in (0, 1):
        want = [own @ row / np.linalg.norm(row) for row in rows[layer]]
        found = similar.scores(other, measure, replace(other, layer=layer), nothing)
        np.testing.assert_allclose(found, want, atol=1e-6)


def test_overlap_of_the_tokens_at_the_peaks(place: Place, other: Place) -> None:
    def peaks(p: Place) -> list[Counter[int]]:
        return [Counter(t) for t in p.cache.table(p.layer, p.hook)["peak_tokens"].to_pylist()]

    mine = peaks(place)[7]
    for there in (place, other):
        want = [(mine & c).total() / max(mine.total(), c.total()) for c in peaks(there)]
        np.testing.assert_allclose(similar.scores(place, "tokens", there, nothing), want)


def test_models_that_read_the_same_tokens_are_offered(two_models: Path, place: Place) -> None:
    assert [(p.model.name, p.hook) for p in similar.comparable_models(place)] == [("other", "hook_post")]
    manifest = two_models / "other" / "neurons" / "cache.json"
    text = manifest.read_text(encoding="utf-8")
    sha256 = place.cache.manifest.model.tokenizer
    try:
        manifest.write_text(text.replace(sha256, "0" * 64), encoding="utf-8")
        assert similar.comparable_models(place) == []
        manifest.write_text("damaged", encoding="utf-8")
        assert similar.comparable_models(place) == []
    finally:
        manifest.write_text(text, encoding="utf-8")


def test_a_cache_without_sample_cannot_be_compared(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    similar._held.clear()
    empty = pa.table({"tokens": pa.array([], pa.list_(pa.int32()))})
    monkeypatch.setattr(type(place.cache), "sample", lambda _cache: empty)
    with pytest.raises(ModelError, match="no sample of whole contexts"):
        similar.scores(place, "activation", place, nothing)


def test_a_neuron_that_never_changes_is_like_no_other() -> None:
    values = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    values[:, 1] = 3.0
    values[:, 2] = 0
    values[7, 2] = 1e30  # one spike
    values[5, 3] = np.nan
    found = standardize(values)
    assert np.isfinite(found).all()
    assert (found[:, 1] == 0).all()
    assert correlations(found[:, 2], found)[2] == pytest.approx(1, abs=2e-3)
    assert correlations(found[:, 1], found).tolist() == [0, 0, 0, 0]
    rows = np.array([[1, 0], [0, 0], [-2, 0]], dtype=np.float32)
    assert cosines(rows[0], rows).tolist() == [1, 0, -1]
    assert cosines(rows[1], rows).tolist() == [0, 0, 0]


def test_neurons_without_peaks_overlap_with_none() -> None:
    counts = PeakCounts.from_column(pa.chunked_array([[[5, 5, 9], []], [[9]]], pa.list_(pa.int32())))
    assert counts.neuron_counts(0) == {5: 2, 9: 1}
    assert counts.overlaps({5: 1, 9: 3}).tolist() == [0.5, 0, 0.25]
    assert counts.overlaps({}).tolist() == [0, 0, 0]


def test_the_best_leave_the_neuron_itself_out() -> None:
    scores = np.array([0.1, 1.0, 0.5, -0.3])
    assert top_neurons(scores, 2, without=1) == [2, 0]
    assert top_neurons(scores, 2) == [1, 2]
    assert top_neurons(scores, 2, without=3, lowest=True) == [0, 2]
    assert top_neurons(scores, 9, without=0) == [1, 2, 3]


def test_contexts_are_whole_until_the_tokens_run_out() -> None:
    rows = [list(range(n, 2 * n)) for n in (5, 7, 1, 9)]
    sample = pa.table({"tokens": pa.array(rows, pa.list_(pa.int32()))})
    everything = [t.tolist() for t in take_contexts(sample, 1000)]
    assert sorted(everything) == sorted(rows)
    some = [t.tolist() for t in take_contexts(sample, 10)]
    assert sum(map(len, some)) == 10
    assert some[:-1] == everything[: len(some) - 1]
    assert some[-1] == everything[len(some) - 1][: len(some[-1])]


def test_examples_run_again_agree_where_their_text_is_whole(place: Place, other: Place) -> None:
    for view in ("top", "ranges", "bottom"):
        again = recomputed(replace(place, view=view))
        assert again
        assert all(f.whole and f.agrees for f in again), view
    cut = [f for neuron in range(20) for f in recomputed(replace(other, neuron=neuron))]
    assert all(f.agrees for f in cut if f.whole)
    assert any(not f.whole and not f.agrees for f in cut)
    assert any(f.whole for f in cut)


def test_a_window_that_begins_later_than_its_context_is_told(other: Place) -> None:
    examples = other.cache.neuron(1, 3).top("hook_post")
    for example in examples:
        before = example.position - example.context_start  # tokens of the context before the peak
        assert begins_its_context(example) == (before == example.peak) == (before <= 6)
