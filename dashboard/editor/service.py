"""Tokens of a text, and activations of neurons on them, fast enough to follow typing.

Offsets are in UTF-16 code units, because browsers count in them. Legend: T tokens read, without the BOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cache.format.vocabulary import Vocabulary
from dashboard.editor.edited_text import as_typed
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel, tokenizer_errors_as_model_errors
from solu_model.text.display_pieces import Piece, begins_piece, pieces_of_text

TextEnd = Literal["first", "last"]
"""The tokens that the model reads of a text longer than its context: the first or the last ones."""


@dataclass(frozen=True)
class TextTokens:
    """The tokens that the model reads of a text: one context, without the BOS."""

    text: str
    """The whole text, also the part that is not read."""
    ids: list[int]
    """`[T]`, as many as a context has room for. The first begins, and the last ends, a character."""
    first: int
    """Index of `ids[0]` among the tokens of the whole text."""
    n_all: int
    """Number of tokens of the whole text."""
    start: int
    """Offset of `ids[0]` in the text."""
    pieces: list[Piece]
    """Runs of tokens that are whole characters, with their text as it was typed. Their offsets count from
    `start`."""
    read_as: dict[int, str]
    """By index of a piece, the text that the model reads in its place: the tokenizer changed it (accents or
    capitals that it drops, characters that it does not know)."""

    @property
    def ends(self) -> list[int]:
        """Offset in the text of the end of each piece."""
        return [self.start + piece.end for piece in self.pieces]

    def piece_at(self, caret: int) -> int | None:
        """Return the index of the piece before a caret; at the start of the text, the first piece.

        None means that the model does not read that part of the text.
        """
        if not self.pieces or not self.start <= caret <= self.ends[-1]:
            return None
        return int(np.searchsorted(self.ends, max(caret, self.start + 1), side="left"))


def tokenize(
    running: RunningModel, vocabulary: Vocabulary, text: str, text_end: TextEnd = "first"
) -> TextTokens:
    """Cut a text into tokens and select those that the model reads.

    Raises:
        ModelError: the tokenizer fails on the text, or the model has no embedding for one of its tokens.
    """
    text = as_typed(text)
    with tokenizer_errors_as_model_errors():
        ids, offsets = running.tokenization.encode_with_offsets(text)
    room = running.tokenization.room
    low, high = (0, min(room, len(ids))) if text_end == "first" else (max(0, len(ids) - room), len(ids))
    # A character of several tokens may lie across the cut. It is then left out, since half of a character
    # cannot be shown.
    while low < high and not begins_piece(offsets, low):
        low += 1
    while high > low and not begins_piece(offsets, high):
        high -= 1
    start, pieces = pieces_of_text(text, offsets, low, high)
    own = ids[low:high]
    return TextTokens(
        text=text,
        ids=own,
        first=low,
        n_all=len(ids),
        start=start,
        pieces=pieces,
        read_as=_changed_pieces(vocabulary, own, pieces),
    )


def _changed_pieces(vocabulary: Vocabulary, ids: Sequence[int], pieces: Sequence[Piece]) -> dict[int, str]:
    """Return the text of the tokens, by index of a piece, where it differs from the text that was typed.

    A space before or after a piece does not count: many tokenizers add one at the start of a text, or have
    none of their own.
    """
    known = vocabulary.token_bytes
    changed = {}
    for k, piece in enumerate(pieces):
        tokens = ids[piece.first_token : piece.first_token + piece.n_tokens]
        read = b"".join(known[i] for i in tokens if i < len(known)).decode(errors="replace")
        if read != piece.text and read.strip(" ") != piece.text.strip(" "):
            changed[k] = read
    return changed


def neuron_activations(
    running: RunningModel, ids: Sequence[int], neurons: Sequence[tuple[int, int]], hooks: Sequence[str]
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Compute the activations of some neurons on one context, in one forward pass.

    Args:
        ids: the tokens of one context, without the BOS.
        neurons: layer and index of each.

    Returns:
        For each neuron, `[T]` by hook.
    """
    import torch

    if not ids:
        return [dict.fromkeys(hooks, np.zeros(0, dtype=np.float32)) for _ in neurons]
    names = {f"blocks.{layer}.mlp.{hook}" for layer, _ in neurons for hook in hooks}
    context, n_lead = torch.tensor([running.tokenization.context(ids)]), running.tokenization.n_lead
    with torch.inference_mode():
        acts = running.model.activations(context, names)
        return [
            {hook: acts[f"blocks.{layer}.mlp.{hook}"][0, n_lead:, index].float().numpy() for hook in hooks}
            for layer, index in neurons
        ]


def activations_by_piece(activations: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[float]:
    """Return one activation for each piece: that of its token with the largest magnitude."""
    if len(pieces) == len(activations):
        return [float(v) for v in activations]
    return [
        float(max(activations[p.first_token : p.first_token + p.n_tokens], key=abs, default=0.0))
        for p in pieces
    ]


def peak_activation(activations: npt.NDArray[np.float32]) -> float:
    """Return the highest activation on a text; NaN if it has no tokens."""
    return float(activations.max()) if len(activations) else float("nan")


def corpus_maximum(place: Place, layer: int, neuron: int) -> float:
    """Return a neuron's maximum over the corpus at the place's hook. It has the darkest colour."""
    return place.cache.neuron(layer, neuron).moments(place.hook).max
