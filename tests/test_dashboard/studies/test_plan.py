"""Designs, the sealed key, orders, what is drawn from caches, and cards that are all alike."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from cache.format.vocabulary import Vocabulary
from cache.reader import NeuronCache
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import (
    INSTRUCTION,
    Design,
    Plan,
    StudyError,
    canonical,
    design_of,
    digest,
    new_design,
    order,
    plan_of,
)
from dashboard.studies.plan.sampling import draw, live_neurons, require_same_text, side_of
from dashboard.studies.plan.snippets import Snippet, card_snippet, steps_of
from tests.test_dashboard.studies.study_rater import SALT, small_plan

SIZES = {"n_neurons": 5, "n_repeats": 3, "n_checks": 4, "n_snippets": 4, "n_before": 3, "n_after": 2}


@pytest.fixture(scope="module")
def caches(two_models: Path) -> list[NeuronCache]:
    return [NeuronCache.open(two_models / name / "neurons") for name in ("tiny", "other")]


@pytest.fixture(scope="module")
def design(caches: list[NeuronCache]) -> Design:
    sides = tuple(side_of(c.manifest.model.name, c, "hook_post") for c in caches)
    return new_design(title="Which rules?", sides=sides, **SIZES)


@pytest.fixture(scope="module")
def plan(design: Design, caches: list[NeuronCache]) -> Plan:
    return draw(design, caches, SALT)


@pytest.fixture(scope="module")
def cards(plan: Plan, caches: list[NeuronCache]) -> dict[str, bytes]:
    return make_cards(plan, caches)


def test_the_instruction_is_the_papers():
    quoted = "80% or more of the strongest firings can be explained by a single rule or category"
    assert quoted in INSTRUCTION
    assert "NOT INTERPRETABLE otherwise" in INSTRUCTION


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 121}, "title"),
        ({"title": "\ud800"}, "surrogate"),
        ({"n_neurons": 0}, "n_neurons"),
        ({"n_neurons": 2.5}, "n_neurons"),
        ({"n_repeats": 6}, "at most 5 repeats"),
        ({"n_neurons": 2000, "n_checks": 1000, "n_repeats": 1000}, "at most 5,000 items"),
        ({"min_firing": float("nan")}, "min_firing"),
        ({"threshold": 0}, "threshold"),
        ({"seed": -1}, "seed"),
        ({"salt": "x"}, "salt"),
        ({"sides": ()}, "sides"),
    ],
)
def test_designs_out_of_their_limits_are_refused(design: Design, wrong: dict, message: str):
    with pytest.raises(StudyError, match=message):
        new_design(**{**asdict(design), **wrong})


def test_a_model_against_itself_needs_another_hook(design: Design):
    side = design.sides[0]
    with pytest.raises(StudyError, match="differ in model or hook"):
        new_design(title="x", sides=(side, replace(side, model="another name")))
    assert new_design(title="x", sides=(side, replace(side, hook="hook_mid"))).n_items == 132


def test_what_is_registered_reads_back(plan: Plan):
    assert plan_of(plan.public(), plan.key()) == plan
    assert design_of(plan.public()) == plan.design
    assert plan.public() == canonical(json.loads(plan.public()))
    assert json.loads(plan.public())["commitment"] == digest(plan.key())


def test_the_registration_says_nothing_of_the_key(plan: Plan, design: Design, caches: list[NeuronCache]):
    public = plan.public().decode()
    assert plan.salt not in public
    for item in plan.items:
        assert item.name not in public
    registered = json.loads(public)
    assert sorted(registered) == ["commitment", "design", "format", "left_out", "n_items", "version"]
    assert set(registered["design"]) == set(asdict(design))
    other = draw(design, caches, "00" * 32)  # the same neurons under another salt
    salted = json.loads(other.public())
    assert salted.pop("commitment") != registered.pop("commitment")
    assert salted == registered
    assert {i.name for i in other.items}.isdisjoint(i.name for i in plan.items)


def test_a_changed_key_does_not_fit(plan: Plan):
    for i in range(len(plan.items)):
        item = plan.items[i]
        other = replace(item, layer=1 - (item.layer or 0))
        forged = replace(plan, items=(*plan.items[:i], other, *plan.items[i + 1 :]))
        with pytest.raises(StudyError, match="expected a key with SHA-256"):
            plan_of(plan.public(), forged.key())
    with pytest.raises(StudyError, match="expected a key"):
        plan_of(plan.public(), plan.key() + b" ")
    for damaged in (b"", b"[]", b"\xff", b"{}"):
        with pytest.raises(StudyError):
            design_of(damaged)
        with pytest.raises(StudyError):
            plan_of(damaged, plan.key())


def test_the_same_seed_draws_the_same_another_seed_others(
    plan: Plan, design: Design, caches: list[NeuronCache]
):
    assert draw(design, caches, SALT) == plan
    assert draw(design, caches).salt != plan.salt
    shown = [(i.side, i.layer, i.neuron) for i in plan.items]
    assert [(i.side, i.layer, i.neuron) for i in draw(design, caches).items] == shown
    elsewhere = draw(replace(design, seed=1), caches, SALT)
    assert [(i.side, i.layer, i.neuron) for i in elsewhere.items] != shown


def test_each_rater_has_an_order_of_their_own():
    plan = small_plan(n_neurons=30, n_repeats=20, n_checks=10)
    names = sorted(item.name for item in plan.items)
    orders = {rater: order(plan, rater) for rater in ("Ann", "Béla", "ann", "", "Ann ")}
    assert all(sorted(sequence) == names for sequence in orders.values())
    assert len({tuple(sequence) for sequence in orders.values()}) == len(orders)
    assert order(plan, "Ann") == orders["Ann"]
    assert order(replace(plan, salt="00" * 32), "Ann") != orders["Ann"]


@pytest.mark.parametrize("sizes", [(1, 1, 0), (2, 2, 0), (5, 5, 1), (30, 30, 0), (60, 6, 6), (1, 0, 0)])
def test_a_repeat_is_far_from_its_first_showing(sizes: tuple[int, int, int]):
    plan = small_plan(*sizes)
    for rater in map(str, range(50)):
        place = {name: i for i, name in enumerate(order(plan, rater))}
        gaps = [abs(place[i.name] - place[i.repeat_of]) for i in plan.items if i.repeat_of]
        assert min(gaps, default=len(place)) > len(place) / 3 - 1


def test_sides_do_not_gather_anywhere_in_the_order():
    """Over many raters, every place holds either side about as often."""
    plan = small_plan(n_neurons=20, n_repeats=0, n_checks=0)
    side = {item.name: item.side for item in plan.items}
    places = np.array([[side[name] for name in order(plan, str(r))] for r in range(400)])
    assert np.abs(places.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(400)


def test_neurons_are_drawn_evenly_once_each_and_repeated_evenly(plan: Plan, design: Design):
    neurons = [i for i in plan.items if i.kind == "neuron"]
    assert Counter(i.side for i in neurons) == {0: 5, 1: 5}
    assert len({(i.side, i.layer, i.neuron) for i in neurons}) == len(neurons)
    for side, which in zip(design.sides, range(2), strict=True):
        by_layer = Counter(i.layer for i in neurons if i.side == which)
        assert set(by_layer) <= set(side.layers)
        assert max(by_layer.values()) - min(by_layer.get(x, 0) for x in side.layers) <= 1
    repeats = [i for i in plan.items if i.kind == "repeat"]
    assert sorted(Counter(i.side for i in repeats).values()) == [1, 2]
    by_name = {i.name: i for i in neurons}
    for repeat in repeats:
        first = by_name[repeat.repeat_of]
        assert (repeat.side, repeat.layer, repeat.neuron) == (first.side, first.layer, first.neuron)
    assert [i.expected for i in plan.items if i.kind == "check"] == ["interpretable", "not"] * 2


def test_dead_neurons_are_never_drawn(monkeypatch: pytest.MonkeyPatch, caches: list[NeuronCache]):
    """Neurons are declared dead until few live, and those few are what is drawn."""
    cache = caches[1]
    d_mlp, living = cache.d_mlp, {3, 7, 11, 19}
    frame = cache.table(0, "hook_post").to_pandas()
    dead = [0.0, -2.0, np.nan, np.inf]
    frame["max"] = [1.0 if i in living else dead[i % 4] for i in range(d_mlp)]
    frame.loc[2, "max"] = 0.005
    frame.loc[19, "n_nan"] = 1
    monkeypatch.setattr(cache, "table", lambda *_: frame)
    assert live_neurons(cache, 0, "hook_post", 0.01) == [3, 7, 11]
    assert live_neurons(cache, 0, "hook_post", 0.0) == [2, 3, 7, 11]
    sides = tuple(side_of(str(i), c, "hook_post") for i, c in enumerate(caches))
    few = new_design(title="x", sides=sides, **SIZES | {"n_neurons": 6, "n_repeats": 0})
    plan = draw(few, caches)
    drawn = {(i.layer, i.neuron) for i in plan.items if i.side == 1}
    assert drawn == {(layer, n) for layer in (0, 1) for n in (3, 7, 11)}
    assert (plan.left_out[1].n_dead, plan.left_out[1].n_live) == (2 * d_mlp - 6, 6)
    with pytest.raises(StudyError, match="found 3 among 3 that are not dead"):
        draw(replace(few, n_neurons=8), caches)


def test_every_card_has_the_same_size_and_shape(cards: dict[str, bytes], plan: Plan):
    assert set(cards) == {item.name for item in plan.items}
    assert len({len(card) for card in cards.values()}) == 1
    for item in plan.items:
        card = json.loads(cards[item.name])
        assert sorted(card) == ["item", "snippets"]
        assert card["item"] == item.name
        assert [sorted(s) for s in card["snippets"]] == [["s", "t"]] * 4
        assert {(len(s["t"]), len(s["s"])) for s in card["snippets"]} == {(6, 6)}
        steps = [step for s in card["snippets"] for step in s["s"]]
        assert all(type(step) is int for step in steps)
        assert (min(steps) >= 0, max(steps)) == (True, 15)


def test_a_neurons_card_is_its_strongest_examples(
    plan: Plan, cards: dict[str, bytes], caches: list[NeuronCache]
):
    compared = 0
    for item in plan.items:
        if item.kind == "check":
            continue
        cache = caches[item.side]
        top = [e for e in cache.neuron(item.layer, item.neuron).top("hook_post") if len(e.tokens) >= 6][:4]
        texts, values = [], []
        for e in top:
            first = e.peak - 3  # where there is room for 3 tokens before and 2 after
            first = 0 if first < 0 else len(e.tokens) - 6 if e.peak + 2 >= len(e.tokens) else first
            texts.append([cache.vocabulary.text(t) for t in e.tokens[first : first + 6]])
            values.append(e.activations["hook_post"][first : first + 6].astype(float))
        wanted = np.maximum(values, 0) / np.max(values) * 15
        for snippet, text, steps in zip(json.loads(cards[item.name])["snippets"], texts, wanted, strict=True):
            if not any("\\x" in part for part in text):  # every token is characters by itself
                assert snippet["t"] == text
                assert np.abs(np.array(snippet["s"]) - steps).max() <= 0.5 + 1e-6
                compared += 1
    assert compared > 20


def test_tokens_that_share_a_character_keep_their_places():
    vocabulary = Vocabulary([b"a", "é".encode()[:1], "é".encode()[1:], b"b"])
    card = card_snippet(vocabulary, np.array([0, 1, 2, 3]), np.array([1, 4, 9, 2]))
    assert card == {"t": ["a", "é", "", "b"], "s": [1, 9, 9, 2]}


def test_steps_are_of_the_largest_and_never_below_zero():
    rows = [[-9.0, 0.0, 1.0], [3.0, 0.09, 0.11]]
    snippets = [Snippet(np.arange(3), np.array(row, dtype=np.float32), 0) for row in rows]
    assert steps_of(snippets, "magnitude").tolist() == [[0, 0, 5], [15, 0, 1]]
    scaled = [replace(s, activations=s.activations * np.float32(2**60)) for s in snippets]
    assert steps_of(scaled, "magnitude").tolist() == steps_of(snippets, "magnitude").tolist()
    silent = [Snippet(np.arange(2), np.array([-1.0, -2.0], dtype=np.float32), 0)]
    assert steps_of(silent, "magnitude").tolist() == [[0, 0]]


def test_a_repeat_looks_as_it_did(plan: Plan, cards: dict[str, bytes]):
    for item in plan.items:
        if item.repeat_of:
            again, first = (json.loads(cards[name])["snippets"] for name in (item.name, item.repeat_of))
            assert again == first


def test_a_plain_check_shades_one_token_and_the_other_none(plan: Plan, cards: dict[str, bytes]):
    for item in plan.items:
        if item.kind != "check":
            continue
        snippets = json.loads(cards[item.name])["snippets"]
        strong = [{t for t, s in zip(w["t"], w["s"], strict=True) if s > 2} for w in snippets]
        common = set.intersection(*strong)
        if item.expected == "interpretable":
            assert len(common) == 1
            assert set.union(*strong) == common
        else:
            assert not common


def test_windows_that_no_text_is_long_enough_for(design: Design, caches: list[NeuronCache]):
    with pytest.raises(StudyError, match="a window of at most 6 tokens before and 3 after"):
        draw(replace(design, n_before=7), caches)
    with pytest.raises(StudyError, match=r"found \d+ among \d+ that are not dead"):
        draw(replace(design, n_snippets=100), caches)


def test_another_cache_than_the_designs_is_refused(design: Design, caches: list[NeuronCache]):
    with pytest.raises(StudyError, match="not the one in the design"):
        draw(design, caches[::-1])
    with pytest.raises(StudyError, match="holds hook_post, not 'hook_mid'"):
        side_of("other", caches[1], "hook_mid")
    with pytest.raises(StudyError, match="not 9"):
        side_of("other", caches[1], "", [0, 9])


def test_different_texts_are_refused(caches: list[NeuronCache]):
    require_same_text(caches)
    cache, manifest = caches[1], caches[1].manifest
    for part, changed in (("corpus", {"sha256": "0" * 64}), ("model", {"tokenizer": "0" * 64})):
        record = getattr(manifest, part).model_copy(update=changed)
        other = NeuronCache(cache.path, manifest.model_copy(update={part: record}), cache.files)
        with pytest.raises(StudyError, match="over one text with one tokenizer"):
            require_same_text([caches[0], other])


def test_the_draw_is_uniform_over_what_lives(design: Design, caches: list[NeuronCache]):
    """Every live neuron that can be shown is drawn about as often, whatever its activation."""
    one = replace(design, n_neurons=2, n_repeats=0, n_checks=0)
    counts = Counter(
        (i.side, i.layer, i.neuron)
        for seed in range(300)
        for i in draw(replace(one, seed=seed), caches).items
    )
    possible = sum(len(live_neurons(caches[1], layer, "hook_post", 0.01)) for layer in caches[1].layers)
    other = [n for (side, _, _), n in counts.items() if side == 1]
    expected = 600 / possible
    assert len(other) <= possible
    assert max(other) < expected + 6 * np.sqrt(expected)
