"""A text as a neuron reads it, fast enough to follow typing.

Legend: T tokens of the context without the BOS. Offsets are in UTF-16 code units, as a browser counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cache.format.vocabulary import Vocabulary
from dashboard.editor.edited_text import as_typed
from dashboard.shared.catalog import ModelError
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel
from solu_model.text.token_text import Piece, display_pieces, utf16_length

TextEnd = Literal["first", "last"]
"""Which tokens are read of a text that is longer than the model's context."""


@dataclass(frozen=True)
class TextTokens:
    """The tokens of a text that the model reads."""

    text: str
    ids: list[int]
    """`[T]`, at most n_ctx - 1: those that end and begin with whole characters."""
    first: int
    """Index in the text of the first of them."""
    n_all: int
    """Tokens of the whole text."""
    start: int
    """Where they begin in the text."""
    pieces: list[Piece]
    """What they say, as runs of tokens that are whole characters; offsets from `start`."""

    @property
    def ends(self) -> list[int]:
        """Where each piece ends in the text."""
        return [self.start + piece.end for piece in self.pieces]

    def piece_at(self, caret: int) -> int | None:
        """The piece that the character before a caret is of, the first one at the start; None where none is
        read there."""
        if not self.pieces or not self.start <= caret <= self.ends[-1]:
            return None
        return int(np.searchsorted(self.ends, max(caret, self.start + 1), side="left"))


def tokenize(live: RunningModel, vocabulary: Vocabulary, text: str, keep: TextEnd = "first") -> TextTokens:
    """Cut a text into the tokens that the model reads of it.

    Raises:
        ModelError: the tokenizer changes text, so that no token can be shown where it stands.
    """
    text = as_typed(text)
    ids = live.encode(text)
    data = [vocabulary.token_bytes[i] for i in ids]
    if b"".join(data) != text.encode():
        raise ModelError(
            "this model's tokenizer does not give a text back as it was, so that its tokens cannot be "
            "shown in place: expected a byte-level tokenizer"
        )
    most = live.model.config.n_ctx - 1
    low, high = (0, min(most, len(ids))) if keep == "first" else (max(0, len(ids) - most), len(ids))
    while low < high and _is_inside(data[low]):
        low += 1
    while high > low and high < len(ids) and _is_inside(data[high]):
        high -= 1
    return TextTokens(
        text=text,
        ids=ids[low:high],
        first=low,
        n_all=len(ids),
        start=utf16_length(b"".join(data[:low]).decode()),
        pieces=display_pieces(data[low:high]),
    )


def neuron_activations(
    live: RunningModel, ids: Sequence[int], neurons: Sequence[tuple[int, int]], hooks: Sequence[str]
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """What neurons do on one context, in one forward pass: for each, by hook, `[T]`.

    Args:
        ids: at most n_ctx - 1, without the BOS.
        neurons: layer and index of each.
    """
    import torch

    empty = np.zeros(0, dtype=np.float32)
    if not ids:
        return [dict.fromkeys(hooks, empty) for _ in neurons]
    names = {f"blocks.{layer}.mlp.{hook}" for layer, _ in neurons for hook in hooks}
    with torch.inference_mode():
        found = live.model.activations(torch.tensor([[live.model.config.bos_token_id, *ids]]), names)
        return [
            {hook: found[f"blocks.{layer}.mlp.{hook}"][0, 1:, index].float().numpy() for hook in hooks}
            for layer, index in neurons
        ]


def activations_by_piece(values: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[float]:
    """A value a piece: of its tokens, the one furthest from zero."""
    if len(pieces) == len(values):
        return [float(v) for v in values]
    return [
        float(max(values[p.first_token : p.first_token + p.n_tokens], key=abs, default=0.0)) for p in pieces
    ]


def peak_activation(values: npt.NDArray[np.float32]) -> float:
    """The highest activation on a text; NaN where there is no token."""
    return float(values.max()) if len(values) else float("nan")


def corpus_maximum(place: Place, layer: int, neuron: int) -> float:
    """A neuron's highest activation in the corpus at the place's hook: the value of the strongest colour."""
    return place.cache.neuron(layer, neuron).moments(place.hook).max


def _is_inside(token: bytes) -> bool:
    """Whether a token begins inside a character."""
    return bool(token) and token[0] & 0xC0 == 0x80
