"""A neuron's effect on the output, against the same computed from the weights and by running the model."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.token_effects import (
    correlation,
    effect_bars,
    effects_of_tokens,
    find_tokens,
    most_promoted,
    most_suppressed,
    percentile_rank,
    tokens_in_bar,
)
from cache.format.vocabulary import Vocabulary
from dashboard.neuron.ablation import ablation
from dashboard.neuron.effects_chart import effect_map
from dashboard.shared import places, settings
from dashboard.shared.address import Address
from dashboard.shared.catalog import WEIGHTS, ModelError
from dashboard.shared.components.bar_list import Column, Row, _clicked_address, bar_list_data
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line
from dashboard.shared.running import logit_effects as effects
from solu_model.loading.checkpoints import load_checkpoint

WORDS = Vocabulary([b"the", b" the", b"The", b" them", b"bathe", b"\n", b" ", b"\xe2", b"<b>x</b>", b""])


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the tiny model, the only one that is found."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    return folder


@pytest.fixture
def place(models: Path) -> Place:
    """Neuron 7 of the tiny model."""
    return places.find_place(Address(neuron=7))


def by_hand(folder: Path, fold: bool) -> np.ndarray:
    """The direct effects of all neurons of the tiny model, `[M, V]`, in float64."""
    weights = {n: p.detach().double().numpy() for n, p in load_checkpoint(folder)[0].named_parameters()}
    rows = weights["blocks.0.mlp.W_out"]
    if fold:
        rows = rows * weights["blocks.0.mlp.ln.w"][:, None]
    rows = rows - rows.mean(1, keepdims=True)
    found = (rows * weights["ln_final.w"]) @ weights["unembed.W_U"]
    return found - found.mean(1, keepdims=True)


@pytest.mark.parametrize("fold", [False, True])
def test_direct_effects(place: Place, models: Path, fold: bool) -> None:
    want = by_hand(models / "tiny", fold)
    np.testing.assert_allclose(effects.of_neuron(place, fold=fold), want[7], atol=1e-5)
    for token in (0, 123, 299):
        np.testing.assert_allclose(effects.of_token(place, token, fold=fold), want[:, token], atol=1e-5)


@pytest.mark.parametrize("replacement", ["zero", "mean"])
@pytest.mark.parametrize("view", ["top", "ranges", "bottom"])
def test_ablation_is_the_model_without_the_neurons_row(
    place: Place, models: Path, monkeypatch: pytest.MonkeyPatch, view: str, replacement: str
) -> None:
    monkeypatch.setattr("dashboard.neuron.ablation._replacement", lambda: replacement)
    found = ablation(place, view)
    whole, without = (load_checkpoint(models / "tiny")[0].double() for _ in range(2))
    neuron = place.cache.neuron(0, 7)
    with torch.no_grad():
        mlp = without.blocks[0].mlp
        if replacement == "mean":
            mlp.b_out += neuron.moments("hook_post").mean * mlp.W_out[7]
        mlp.W_out[7] = 0
    examples = {
        "top": lambda: neuron.top("hook_mid"),
        "bottom": lambda: neuron.bottom("hook_mid"),
        "ranges": lambda: [e for r in reversed(neuron.ranges("hook_mid")) for e in r.examples],
    }[view]()
    assert len(found.changes) == len(found.following) == len(found.percentiles) == len(examples) > 0
    peaks = []
    for k, example in enumerate(examples):
        tokens = example.tokens.tolist()
        with torch.no_grad():
            a, b = (m(torch.tensor([[0, *tokens]])).logits[0] for m in (whole, without))
        for t, following in enumerate(tokens[1:]):
            want = a.log_softmax(-1)[t + 1, following] - b.log_softmax(-1)[t + 1, following]
            assert found.changes[k][t] == pytest.approx(want.item(), abs=2e-5)
        assert len(found.changes[k]) == len(tokens)
        assert math.isnan(found.changes[k][-1])
        peak = (a - b)[example.peak + 1].numpy()
        peaks.append(peak - peak.mean())
        if example.peak + 1 == len(tokens):
            assert found.following[k] is None
            assert math.isnan(found.percentiles[k])
        else:
            came = tokens[example.peak + 1]
            assert found.following[k] == came
            below = float((peak < peak[came]).sum()) / 299
            assert found.percentiles[k] == pytest.approx(below, abs=0.01)
    np.testing.assert_allclose(found.at_peaks, np.mean(peaks, axis=0), atol=2e-5)
    assert found.n_cut == 0  # a context of 31 tokens fits in a window


def test_at_a_held_scale_the_change_is_the_direct_effect(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.neuron.ablation._replacement", lambda: "held")
    direct, measured = effects.of_neuron(place), ablation(place, "top").at_peaks
    assert correlation(direct, measured) == pytest.approx(1, abs=1e-4)
    monkeypatch.setattr("dashboard.neuron.ablation._replacement", lambda: "zero")
    assert correlation(direct, ablation(place, "top").at_peaks) < 0.9999


def test_a_missing_model_and_another_tokenizer_are_said(place: Place, models: Path) -> None:
    file = models / "tiny" / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    changed = text.replace('"dropout": null', '"dropout": 0.5')
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(ModelError, match="built with a tokenizer of SHA-256"):
        effects.of_neuron(place)
    file.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        ablation(place, "top")
    (models / "tiny" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"has no {WEIGHTS}"):
        effects.of_token(place, 0)


def test_the_strongest_and_ranks() -> None:
    values = np.array([0.5, -2, 3, 0.5, 0, -1, 0.25, 0.5, 1, -3], dtype=np.float32)
    assert [t.token for t in most_promoted(values, 3, WORDS)] == [2, 8, 0]
    assert [(t.token, t.effect) for t in most_suppressed(values, 2, WORDS)] == [(9, -3.0), (1, -2.0)]
    assert [t.rank for t in effects_of_tokens(values, [2, 0, 3, 7, 9], WORDS)] == [1, 3, 3, 3, 10]
    assert [t.text for t in effects_of_tokens(values, [1, 5, 6, 7, 9], WORDS)] == [
        "·the",
        "↵",
        "·",
        "\\xe2",
        "",
    ]
    assert len(most_promoted(values, 99, WORDS)) == 10


def test_percentiles_count_ties_half() -> None:
    values = np.array([1, 2, 2, 3, 0], dtype=np.float32)
    assert [percentile_rank(values, t) for t in range(5)] == [0.25, 0.625, 0.625, 1.0, 0.0]
    assert percentile_rank(np.zeros(7, dtype=np.float32), 3) == 0.5
    assert percentile_rank(np.zeros(1, dtype=np.float32), 0) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the", [0, 2, 1, 3, 4]),
        (" the", [1, 3]),
        ("·the", [1, 3]),
        ("The", [2]),
        ("\n", [5]),
        ("↵", [5]),
        ("<b>", [8]),
        ("\\xe2", [7]),
        ("", []),
        ("nothing", []),
    ],
)
def test_tokens_are_found_by_their_text(text: str, expected: list[int]) -> None:
    assert find_tokens(WORDS, text) == expected
    assert find_tokens(WORDS, text, 1) == expected[:1]


def test_bars_and_correlation_of_effects() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500)).astype(np.float32)
    bars = effect_bars(a)
    assert bars.counts.sum() == 500
    assert bars.counts[3] == ((a >= bars.edges[3]) & (a < bars.edges[4])).sum()
    assert correlation(a, a + b) == pytest.approx(np.corrcoef(a, a + b)[0, 1])
    assert math.isnan(correlation(a, np.zeros(500, dtype=np.float32)))
    assert effect_bars(np.zeros(5, dtype=np.float32)).counts.sum() == 5


@pytest.mark.parametrize("n", [1, 2, 9, 500])
def test_every_token_is_in_the_bar_that_lists_it(n: int) -> None:
    effects = np.random.default_rng(n).normal(size=n).astype(np.float32)
    bars = effect_bars(effects)
    middles = (bars.edges[:-1] + bars.edges[1:]) / 2
    listed = [tokens_in_bar(effects, bars, value) for value in middles]
    assert [len(tokens) for tokens in listed] == bars.counts.tolist()
    assert sorted(token for tokens in listed for token in tokens) == list(range(n))
    for tokens in listed:
        strengths = np.abs(effects[tokens]).tolist()
        assert strengths == sorted(strengths, reverse=True)
    assert tokens_in_bar(effects, bars, 1e9) == listed[-1]
    assert tokens_in_bar(effects, bars, -1e9) == listed[0]


def test_token_text_is_no_markup_in_a_figure() -> None:
    values = np.arange(10, dtype=np.float32)
    figure = effect_map(values, values**2, effects_of_tokens(values, [8], WORDS))
    assert list(figure.data[1].x) == [8]
    assert list(figure.data[1].y) == [64]
    assert "&lt;b&gt;x" in figure.data[1].customdata[0]
    assert np.nansum(figure.data[0].customdata) == 10


def test_rows_become_shares_of_the_longest_bar() -> None:
    address = Address("a&b", 1, 2, "hook_mid")
    rows = [Row("<i>", 2.0, "2"), Row("x", -4.0, "-4", "d", address)]
    first, second = bar_list_data([Column("t", rows)])["columns"][0]["rows"]
    assert (first["label"], first["share"], first["query"]) == ("<i>", 0.5, None)
    assert (second["share"], second["query"]) == (-1.0, "model=a%26b&layer=1&neuron=2&hook=hook_mid")
    assert bar_list_data([Column("t", [Row("x", 0.0, "0")])])["columns"][0]["rows"][0]["share"] == 0


@pytest.mark.parametrize(
    "query", [None, 3, [0, 0], {}, "", "x", "neuron=-1", "view=<b>", "a=%ff&&==", "\0" * 9]
)
def test_a_click_that_names_no_address_leads_nowhere(query: object) -> None:
    assert _clicked_address(query) is None


def test_a_click_leads_where_its_row_says() -> None:
    address = Address("a&b =1", 1, 2, "hook_mid", "top", "similar")
    query = bar_list_data([Column("", [Row("x", 1.0, "1", "", address)])])["columns"][0]["rows"][0]["query"]
    assert _clicked_address(query) == address


def test_underlines_are_given_by_piece(place: Place) -> None:
    examples = place.cache.neuron(0, 7).top("hook_mid")[:2]
    changes = [np.linspace(-1, 2, len(e.tokens), dtype=np.float32) for e in examples]
    for change in changes:
        change[-1] = np.nan
    vocabulary, hooks = place.cache.vocabulary, place.cache.hooks
    data = token_view_data([Group("", examples)], vocabulary, hooks, "hook_mid", "1", changes=changes)
    assert data["largest_change"] == pytest.approx(max(float(np.nanmax(c)) for c in changes), rel=0.01)
    for example, change, drawn in zip(examples, changes, data["examples"], strict=True):
        values = drawn["changes"]
        assert len(values) == len(drawn["pieces"])
        for piece, value in zip(vocabulary.pieces(example.tokens), values, strict=True):
            there = [x for x in change[piece.first : piece.first + piece.n_tokens] if not math.isnan(x)]
            assert (value is None) == (not there)
            if there:
                assert value == pytest.approx(max(there, key=abs), rel=0.01, abs=1e-6)
    plain = token_view_data([Group("", examples)], vocabulary, hooks, "hook_mid", "1")
    assert plain["largest_change"] is None
    assert all("changes" not in drawn for drawn in plain["examples"])


def test_the_line_of_provenance_says_what_a_figure_is_of(place: Place) -> None:
    line = provenance_line(place)
    manifest = place.cache.manifest
    for part in (
        manifest.model.sha256[:12],
        "hook_mid",
        "neuron 7",
        f"{manifest.corpus.n_tokens:,}",
        "float32",
    ):
        assert part in line
