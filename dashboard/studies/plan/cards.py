"""Cards: everything that a rater's browser receives about an item.

A card is JSON, `{"item": NAME, "snippets": [{"t": [TEXT, ...], "s": [STEP, ...]}, ...]}`, with the strongest
snippet first. `t` holds the texts of the tokens. `s` holds their shades, 0 to 15: the activation above 0 in
units of the largest on the card. All cards of a study have the same numbers of snippets and tokens, and
blanks at the end make them equally long. A card holds no activation, document, position, source, layer or
model.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from cache.reader import NeuronCache
from dashboard.studies.plan.checks import Sample, Shading
from dashboard.studies.plan.design import Item, Plan, canonical
from dashboard.studies.plan.snippets import card_snippet, snippets_of, steps_of

Card = dict[str, Any]

_BLOCK = 1_024
"""Bytes. The size of a study's cards is a multiple of it."""


def make_cards(
    plan: Plan, caches: Sequence[NeuronCache], done: Callable[[int], object] = lambda _: None
) -> dict[str, bytes]:
    """Make the card of every item, by the item's name. The same plan gives the same cards.

    Args:
        caches: of the sides, in their order.
        done: called with 1 after each card.

    Raises:
        StudyError: the caches' samples of text are too small for the checks.
    """
    design = plan.design
    neurons = [item for item in plan.items if item.kind == "neuron"]
    # Read at its first use: a study without checks needs none.
    sample = lru_cache(maxsize=None)(lambda side: Sample(caches[side], design.n_tokens))
    cards: dict[str, Card] = {}
    for item in plan.items:
        if item.kind == "check":
            chance = random.Random(f"{plan.salt} {item.name}")
            side = chance.randrange(len(caches))
            _, borrowed = _of_neuron(plan, caches, chance.choice(neurons))
            make = sample(side).with_word if item.expected == "interpretable" else sample(side).without_rule
            windows, shading = make(borrowed, chance)
        else:
            side = item.side or 0
            windows, shading = _of_neuron(plan, caches, item)
        rows = zip(windows, shading.steps, strict=True)
        snippets = [card_snippet(caches[side].vocabulary, tokens, steps) for tokens, steps in rows]
        cards[item.name] = {"item": item.name, "snippets": snippets}
        done(1)
    return one_size(cards)


def one_size(cards: Mapping[str, Card]) -> dict[str, bytes]:
    """Return cards as JSON with blanks at the end, so that all are equally long."""
    texts = {name: canonical(card) for name, card in cards.items()}
    size = -(-max(map(len, texts.values())) // _BLOCK) * _BLOCK
    return {name: text.ljust(size) for name, text in texts.items()}


def _of_neuron(plan: Plan, caches: Sequence[NeuronCache], item: Item) -> tuple[list[Any], Shading]:
    """Return a neuron's windows of text and their shading."""
    side, layer, neuron = item.side or 0, item.layer or 0, item.neuron or 0
    hook = plan.design.sides[side].hook
    snippets = snippets_of(caches[side], layer, neuron, hook, plan.design)
    steps = steps_of(snippets, plan.design.shading)
    shading = Shading(steps, [s.peak for s in snippets], by_rank=plan.design.shading == "rank")
    return [s.tokens for s in snippets], shading
