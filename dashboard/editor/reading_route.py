"""The route that reads a text while a person types: its request, and the response of tokens and activations.

Requests are stateless, so they survive a server restart.
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

MOST_CHANGES = 3
"""Changes by the tokenizer that a response names."""
MOST_CHARACTERS = 40
"""Characters of each."""
MOST_PINS = 6
"""Largest number of neurons pinned beside the one of the page."""

Index = Annotated[int, Field(ge=0, lt=10**9)]
Pin = Annotated[list[Index], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(max_length=500)]
EditedText = Annotated[
    str, BeforeValidator(lambda v: as_typed(v) if isinstance(v, str) else v), Field(max_length=MAX_TEXT)
]


class ReadingRequest(BaseModel):
    """A text, and the neurons that read it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: Name
    layer: Index
    neuron: Index
    hook: Name
    """The hook that colours the text."""
    text: EditedText
    keep: TextEnd = "first"
    original: EditedText | None = None
    """Text to compare with: the response names its tokens."""
    pins: Annotated[list[Pin], Field(max_length=MOST_PINS)] = []
    """Layer and index of each pinned neuron."""


def read_text(request: ReadingRequest) -> dict[str, Any]:
    """Run the model on a text, and return the activations of the requested neurons.

    A token here is a piece: a run of tokens that are whole characters.

    Returns:
        `start` and `ends` (offsets of the tokens that are read, in UTF-16 code units), `values` (by hook, an
        activation for each token), `n_read` and `n_all` (numbers of tokens), `n_ctx`, `has_bos`, `n_changed`
        and `changed` (the number of tokens that the tokenizer changed before the model read them, and the
        first ones as typed and as read), `scale` (the activation of the strongest colour), `original_tokens`
        (for each token its index in `original`, -1 for a new one; empty without `original`) and `pinned`
        (`scale` and `values` of each pinned neuron).

    Raises:
        ModelError: there is no such model, or it cannot be run.
        CacheError: its cache is missing or damaged, or has no such neuron or hook.
    """
    place = places.find_place(Address(request.model, request.layer, request.neuron, request.hook))
    for layer, neuron in request.pins:
        place.cache.neuron(layer, neuron)  # raises where there is none
    running = running_model_at(place)
    tokens = tokenize(running, place.cache.vocabulary, request.text, request.keep)
    pins = [(layer, neuron) for layer, neuron in request.pins]
    neurons = [(place.layer, place.neuron), *pins]
    own, *pinned = neuron_activations(running, tokens.ids, neurons, place.cache.hooks)
    original_tokens: list[int] = []
    if request.original is not None:
        original = tokenize(running, place.cache.vocabulary, request.original, request.keep)
        original_tokens = align_tokens(_piece_ids(original), _piece_ids(tokens))
    return {
        "start": tokens.start,
        "ends": tokens.ends,
        "values": {hook: _piece_values(tokens, own[hook]) for hook in place.cache.hooks},
        "n_read": len(tokens.ids),
        "n_all": tokens.n_all,
        "n_ctx": running.tokenization.n_ctx,
        "has_bos": running.tokenization.bos_id is not None,
        "n_changed": len(tokens.read_as),
        "changed": [
            [tokens.pieces[k].text[:MOST_CHARACTERS], read[:MOST_CHARACTERS]]
            for k, read in list(tokens.read_as.items())[:MOST_CHANGES]
        ],
        "scale": max(0.0, corpus_maximum(place, place.layer, place.neuron)),
        "original_tokens": original_tokens,
        "pinned": [
            {"scale": corpus_maximum(place, *pin), "values": _piece_values(tokens, values[place.hook])}
            for pin, values in zip(pins, pinned, strict=True)
        ],
    }


def _piece_values(tokens: TextTokens, values: npt.NDArray[np.float32]) -> list[float]:
    """Return an activation for each piece, to as many digits as float32 holds."""
    return [float(f"{v:.7g}") for v in activations_by_piece(np.nan_to_num(values), tokens.pieces)]


def _piece_ids(tokens: TextTokens) -> list[tuple[int, ...]]:
    """Return the token ids of each piece."""
    return [tuple(tokens.ids[p.first_token : p.first_token + p.n_tokens]) for p in tokens.pieces]
