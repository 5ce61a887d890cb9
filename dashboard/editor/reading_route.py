"""What the browser asks while a person types, and the answer: a text as neurons read it, as plain numbers.

A question stands for itself, so that one asked after the server began anew is answered like any other.
"""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dashboard.editor.edited_text import MAX_TEXT, align_tokens, as_typed
from dashboard.editor.service import (
    TextEnd,
    TextTokens,
    activations_by_piece,
    corpus_maximum,
    neuron_activations,
    tokenize,
)
from dashboard.shared import places
from dashboard.shared.address import Address
from dashboard.shared.running.running_model import running_model_at

MOST_PINS = 6
"""Neurons that can be watched beside the one of the page."""

Index = Annotated[int, Field(ge=0, lt=10**9)]
Pin = Annotated[list[Index], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(max_length=500)]
Typed = Annotated[
    str, BeforeValidator(lambda v: as_typed(v) if isinstance(v, str) else v), Field(max_length=MAX_TEXT)
]


class Question(BaseModel):
    """A text, and who is to read it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: Name
    layer: Index
    neuron: Index
    hook: Name
    """The one shown: on its scale are the colours."""
    text: Typed
    keep: TextEnd = "first"
    against: Typed | None = None
    """The original, whose tokens are to be found again in the text."""
    pins: Annotated[list[Pin], Field(max_length=MOST_PINS)] = []
    """Layer and index of more neurons."""


def answer(question: Question) -> dict[str, Any]:
    """A text's tokens with what the neurons do on each.

    Returns:
        `start` and `ends` (offsets of the tokens that are read, in UTF-16 code units), `values` (by hook, a
        value a token), `n_read`, `n_all` (tokens), `n_ctx`, `scale` (the value of the strongest colour),
        `same` (for each token its token of `against`, or -1) and `pinned` (`scale` and `values` of each).

    Raises:
        ModelError: there is no such model, or it cannot be run.
        CacheError: its cache is missing or damaged, or has no such neuron or hook.
    """
    place = places.find_place(Address(question.model, question.layer, question.neuron, question.hook))
    for layer, neuron in question.pins:
        place.cache.neuron(layer, neuron)  # says what is wrong with it
    live = running_model_at(place)
    tokens = tokenize(live, place.cache.vocabulary, question.text, question.keep)
    pins = [(layer, neuron) for layer, neuron in question.pins]
    own, *pinned = neuron_activations(
        live, tokens.ids, [(place.layer, place.neuron), *pins], place.cache.hooks
    )
    same: list[int] = []
    if question.against is not None:
        before = tokenize(live, place.cache.vocabulary, question.against, question.keep)
        same = align_tokens(_words(before), _words(tokens))
    return {
        "start": tokens.start,
        "ends": tokens.ends,
        "values": {hook: _numbers(tokens, own[hook]) for hook in place.cache.hooks},
        "n_read": len(tokens.ids),
        "n_all": tokens.n_all,
        "n_ctx": live.model.config.n_ctx,
        "scale": max(0.0, corpus_maximum(place, place.layer, place.neuron)),
        "same": same,
        "pinned": [
            {"scale": corpus_maximum(place, *pin), "values": _numbers(tokens, values[place.hook])}
            for pin, values in zip(pins, pinned, strict=True)
        ],
    }


def _numbers(tokens: TextTokens, values: npt.NDArray[np.float32]) -> list[float]:
    """A value a piece, to as many digits as float32 holds."""
    return [float(f"{v:.7g}") for v in activations_by_piece(np.nan_to_num(values), tokens.pieces)]


def _words(tokens: TextTokens) -> list[tuple[int, ...]]:
    """The tokens of each piece."""
    return [tuple(tokens.ids[p.first_token : p.first_token + p.n_tokens]) for p in tokens.pieces]
