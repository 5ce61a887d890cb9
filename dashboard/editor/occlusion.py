"""The effect of single tokens on a neuron's peak: each token is removed, and replaced by another one.

Each edit changes the text, which is then tokenized again. The reported peak is therefore the one that the
editor shows after the same edit.
"""

from dataclasses import dataclass

import numpy as np

from dashboard.editor.current_text import CurrentText
from dashboard.editor.service import tokenize

MAX_TOKENS = 64
"""Pieces that are edited: the last ones up to the peak. Tokens after the peak cannot change it."""
_BATCH = 32


@dataclass(frozen=True)
class SingleEdit:
    """A text with one token removed or replaced."""

    text: str
    old: str
    new: str
    """Text of the replacement; empty if the token was removed."""
    offset: int
    """Index of the edited character in the text before the edit."""
    peak: float
    """Highest activation on the edited text."""


def single_edits(current: CurrentText) -> list[SingleEdit]:
    """Make all single-token edits, and sort them by their peak, the lowest first.

    A token is removed, and replaced by the token that the model predicts in its place.
    """
    import torch

    running, place = current.running, current.place
    texts = _edited_texts(current)
    text_end = current.workspace.text_end
    contexts = [tokenize(running, place.cache.vocabulary, text, text_end).ids for text, *_ in texts]
    name = f"blocks.{place.layer}.mlp.{place.hook}"
    tokenization = running.tokenization
    peaks = np.full(len(texts), np.nan)
    by_length = sorted((k for k in range(len(texts)) if contexts[k]), key=lambda k: len(contexts[k]))
    for first in range(0, len(by_length), _BATCH):
        rows = by_length[first : first + _BATCH]
        width = max(len(contexts[k]) for k in rows)
        # Padding comes last, and in a causal model no token sees what follows it.
        batch = torch.tensor(
            [tokenization.context(contexts[k]) + [0] * (width - len(contexts[k])) for k in rows]
        )
        with torch.inference_mode():
            acts_BTM = running.model.activations(batch, [name])[name]
            acts = acts_BTM[:, tokenization.n_lead :, place.neuron].float().numpy()
        for row, k in enumerate(rows):
            peaks[k] = acts[row, : len(contexts[k])].max()
    edits = [
        SingleEdit(text, old, new, offset, float(peak))
        for (text, old, new, offset), peak in zip(texts, peaks, strict=True)
        if not np.isnan(peak)  # the edit left no text
    ]
    return sorted(edits, key=lambda e: e.peak)


def _edited_texts(current: CurrentText) -> list[tuple[str, str, str, int]]:
    """Build the edited texts, each with the old piece, the new one, and its offset in characters."""
    tokens = current.tokens
    peak = int(np.argmax(current.activations[current.place.hook]))
    predicted = _predicted_texts(current)
    # `start` counts UTF-16 code units, Python's strings count characters.
    offset = len(tokens.text.encode("utf-16-le")[: 2 * tokens.start].decode("utf-16-le"))
    up_to_peak = [k for k, piece in enumerate(tokens.pieces) if piece.first_token <= peak]
    edited = set(up_to_peak[-MAX_TOKENS:])
    texts = []
    for k, piece in enumerate(tokens.pieces):
        before, after = tokens.text[:offset], tokens.text[offset + len(piece.text) :]
        if k in edited:
            texts.append((before + after, piece.text, "", offset))
            if new := predicted[piece.first_token]:
                texts.append((before + new + after, piece.text, new, offset))
        offset += len(piece.text)
    return texts


def _predicted_texts(current: CurrentText) -> list[str]:
    """Return, for each token, the text of the most probable other token in its place.

    Empty if that token is a special one, or is not a whole character; and for the first token of a context
    without a BOS, which nothing predicts.
    """
    import torch

    running, ids = current.running, current.tokens.ids
    token_bytes = current.place.cache.vocabulary.token_bytes
    special = set(running.tokenizer.all_special_ids)
    context = torch.tensor([running.tokenization.context(ids)])
    with torch.inference_mode():
        logits, _ = running.model.run_with_cache(context, [])
        most_probable = logits[0, :-1].topk(2, dim=-1).indices.tolist()
    predicted = ids[len(ids) - len(most_probable) :]
    texts = [""] * (len(ids) - len(most_probable))
    for token, (first, second) in zip(predicted, most_probable, strict=True):
        other = second if first == token else first
        try:
            texts.append("" if other in special else token_bytes[other].decode())
        except (UnicodeDecodeError, IndexError):  # a part of a character, or no token of the tokenizer
            texts.append("")
    return texts
