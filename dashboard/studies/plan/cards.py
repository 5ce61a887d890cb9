"""Cards: all that a browser gets of an item, and no more.

A card is JSON, `{"item": NAME, "snippets": [{"t": [TEXT, ...], "s": [STEP, ...]}, ...]}`: the strongest
snippet first, as many of them and as many tokens in each for every item of a study; steps 0 to 15 of the
activation above 0, in units of the largest on the card. Blanks at the end make all cards of a study equally
long. No value, document, position, source, layer or model is in it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache as kept
from typing import Any

from cache.reader import NeuronCache
from dashboard.studies.plan.checks import Sample, Shading
from dashboard.studies.plan.design import Item, Plan, canonical
from dashboard.studies.plan.snippets import drawn, snippets_of, steps_of

Card = dict[str, Any]

_BLOCK = 1_024
"""Bytes: the size of a study's cards is a multiple of it."""


def make_cards(
    plan: Plan, caches: Sequence[NeuronCache], done: Callable[[int], object] = lambda _: None
) -> dict[str, bytes]:
    """Every item's card, all of one size; the same plan gives the same.

    Args:
        caches: of the sides, in their order.
        done: told 1 after each card.

    Raises:
        StudyError: the caches' samples of text are too small for the checks.
    """
    design = plan.design
    neurons = [item for item in plan.items if item.kind == "neuron"]
    sample = kept(lambda which: Sample(caches[which], design.n_tokens))
    cards: dict[str, Card] = {}
    for item in plan.items:
        if item.kind == "check":
            chance = random.Random(f"{plan.salt} {item.name}")
            which = chance.randrange(len(caches))
            worn = _of_neuron(plan, caches, chance.choice(neurons))[1]
            make = sample(which).with_word if item.expected == "interpretable" else sample(which).without_rule
            windows, shading = make(worn, chance)
        else:
            which = item.side or 0
            windows, shading = _of_neuron(plan, caches, item)
        rows = zip(windows, shading.steps, strict=True)
        snippets = [drawn(caches[which].vocabulary, tokens, steps) for tokens, steps in rows]
        cards[item.name] = {"item": item.name, "snippets": snippets}
        done(1)
    return one_size(cards)


def one_size(cards: Mapping[str, Card]) -> dict[str, bytes]:
    """Cards as JSON with blanks at the end, so that all are equally long."""
    texts = {name: canonical(card) for name, card in cards.items()}
    size = -(-max(map(len, texts.values())) // _BLOCK) * _BLOCK
    return {name: text.ljust(size) for name, text in texts.items()}


def _of_neuron(plan: Plan, caches: Sequence[NeuronCache], item: Item) -> tuple[list[Any], Shading]:
    """The windows of a neuron, and their shading."""
    which, layer, neuron = item.side or 0, item.layer or 0, item.neuron or 0
    hook = plan.design.sides[which].hook
    snippets = snippets_of(caches[which], layer, neuron, hook, plan.design)
    steps = steps_of(snippets, plan.design.shading)
    shading = Shading(steps, [s.peak for s in snippets], by_rank=plan.design.shading == "rank")
    return [s.tokens for s in snippets], shading
