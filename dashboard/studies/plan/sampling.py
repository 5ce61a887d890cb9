"""Draw the items of a study from caches: neurons, repeats and checks. No model is run."""

import random
import secrets
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cache.reader import NeuronCache
from dashboard.shared.annotations.content import validation_message
from dashboard.studies.plan.design import (
    Design,
    Item,
    LeftOut,
    Plan,
    Side,
    StudyError,
    Verdict,
    item_name,
)
from dashboard.studies.plan.snippets import snippets_of


def side_of(model: str, cache: NeuronCache, hook: str = "", layers: Sequence[int] = ()) -> Side:
    """Return a model as a side of a study.

    Args:
        model: its name.
        hook: without one, the first of the cache.
        layers: without any, all of the cache.

    Raises:
        StudyError: the cache does not hold that hook or a layer.
    """
    manifest = cache.manifest
    if hook and hook not in cache.hooks:
        held = " and ".join(cache.hooks)
        raise StudyError(f"the cache of {model} holds {held}, not {hook!r}: name one that it holds")
    if missing := [layer for layer in layers if layer not in cache.layers]:
        raise StudyError(
            f"the cache of {model} holds layers {', '.join(map(str, cache.layers))}, not {missing[0]}: "
            "name others, or build its cache again with that one"
        )
    parts = {
        "model": model,
        "model_sha256": manifest.model.sha256,
        "corpus": manifest.corpus.sha256,
        "hook": hook or cache.hooks[0],
        "layers": tuple(layers or cache.layers),
    }
    try:
        return TypeAdapter(Side).validate_python(parts)
    except ValidationError as error:
        raise StudyError(f"{model} cannot be studied: {validation_message(error)}") from error


def require_same_text(caches: Sequence[NeuronCache]) -> None:
    """Refuse caches over different texts or tokenizers, which would tell the models apart.

    Raises:
        StudyError: two differ in text or tokenizer.
    """
    texts = {(c.manifest.corpus.sha256, c.manifest.model.tokenizer) for c in caches}
    if len(texts) > 1:
        named = ", ".join(f"{c.manifest.model.name} ({c.manifest.corpus.sha256[:8]})" for c in caches)
        raise StudyError(
            f"expected caches over one text with one tokenizer, found {named}: build them from the same "
            "text, or allow it (--different-corpora) and report it with the results: texts can tell the "
            "models apart"
        )


def draw(design: Design, caches: Sequence[NeuronCache], salt: str | None = None) -> Plan:
    """Draw the plan of a design. The same seed and salt give the same plan.

    Args:
        caches: of the sides, in their order.
        salt: 64 hex digits, secret until the study is unblinded; without one, random.

    Raises:
        StudyError: a cache is not the design's, or has too few neurons that can be shown.
    """
    salt = secrets.token_hex(32) if salt is None else salt
    drawn: list[tuple[int, int, int]] = []  # side, layer, neuron
    left_out = []
    for which, (side, cache) in enumerate(zip(design.sides, caches, strict=True)):
        neurons, left = _neurons(design, which, side, cache)
        drawn += [(which, layer, neuron) for layer, neuron in neurons]
        left_out.append(left)
    items = [Item(item_name(salt, i), "neuron", *place) for i, place in enumerate(drawn)]
    for item in _repeated(design, items):
        name = item_name(salt, len(items))
        items.append(Item(name, "repeat", item.side, item.layer, item.neuron, repeat_of=item.name))
    for i in range(design.n_checks):
        expected: Verdict = "interpretable" if i % 2 == 0 else "not"
        items.append(Item(item_name(salt, len(items)), "check", expected=expected))
    return Plan(design, tuple(items), salt, tuple(left_out))


def _neurons(
    design: Design, which: int, side: Side, cache: NeuronCache
) -> tuple[list[tuple[int, int]], LeftOut]:
    """Draw a side's neurons evenly from its layers, each as layer and neuron."""
    _require_cache(design, side, cache)
    chance = random.Random(f"{design.seed} {side.model_sha256} {side.hook}")
    quota, rest = divmod(design.n_neurons, len(side.layers))
    one_more = set(chance.sample(side.layers, rest))
    drawn: list[tuple[int, int]] = []
    n_dead = n_live = n_short = 0
    for layer in sorted(side.layers):
        live = live_neurons(cache, layer, side.hook, design.min_firing)
        n_dead, n_live = n_dead + cache.d_mlp - len(live), n_live + len(live)
        chance.shuffle(live)
        wanted, n_drawn = quota + (layer in one_more), 0
        for neuron in live:
            if n_drawn == wanted:
                break
            if len(snippets_of(cache, layer, neuron, side.hook, design)) < design.n_snippets:
                n_short += 1
                continue
            drawn.append((layer, neuron))
            n_drawn += 1
        if n_drawn < wanted:
            raise StudyError(
                f"expected {wanted} neurons with {design.n_snippets} snippets of {design.n_tokens} tokens in "
                f"layer {layer} of {side.model}, found {n_drawn} among {len(live):,} that are not dead: "
                "ask for fewer neurons, fewer snippets or a shorter window"
            )
    return drawn, LeftOut(which, n_dead, n_live, n_short)


def live_neurons(cache: NeuronCache, layer: int, hook: str, min_firing: float) -> list[int]:
    """Return the neurons of a layer that are not dead by the rule of `Design.min_firing`."""
    table = cache.table(layer, hook)
    largest = table["max"].to_numpy().astype(np.float64)
    live = (table["n_nan"].to_numpy() + table["n_inf"].to_numpy() == 0) & np.isfinite(largest) & (largest > 0)
    if live.any():
        live &= largest >= min_firing * float(np.median(largest[live]))
    return [int(i) for i in np.flatnonzero(live)]


def _require_cache(design: Design, side: Side, cache: NeuronCache) -> None:
    manifest = cache.manifest
    if (manifest.model.sha256, manifest.corpus.sha256) != (side.model_sha256, side.corpus):
        raise StudyError(f"the cache of {side.model} is not the one in the design: make the design again")
    if design.n_before > manifest.window_before or design.n_after > manifest.window_after:
        raise StudyError(
            f"expected a window of at most {manifest.window_before} tokens before and "
            f"{manifest.window_after} after the peak, as the cache of {side.model} keeps, found "
            f"{design.n_before} and {design.n_after}: ask for a shorter one"
        )


def _repeated(design: Design, items: Sequence[Item]) -> Iterator[Item]:
    """Draw the neurons that are shown twice, equally many of each side or one more."""
    chance = random.Random(f"{design.seed} repeats")
    quota, rest = divmod(design.n_repeats, len(design.sides))
    one_more = set(chance.sample(range(len(design.sides)), rest))
    for which in range(len(design.sides)):
        own = [item for item in items if item.side == which]
        yield from chance.sample(own, quota + (which in one_more))
