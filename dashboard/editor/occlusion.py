"""What single tokens do to a neuron's peak on a text: each taken out, or replaced, and all of it measured.

An edit is made to the text, which is then cut into tokens anew: what is reported is what the editor shows
when the edit is made there.
"""

from dataclasses import dataclass

import numpy as np

from dashboard.editor.desk import Reading
from dashboard.editor.service import tokenize

MOST_TOKENS = 64
"""Tokens that are tried, those up to the peak: tokens after it cannot change it."""
_BATCH = 32


@dataclass(frozen=True)
class SingleEdit:
    """A text with one token less, or another one in its place."""

    text: str
    old: str
    new: str
    """Empty where the token was taken out."""
    offset: int
    """Where it stood, in characters."""
    peak: float


def single_edits(reading: Reading) -> list[SingleEdit]:
    """Single-token edits, the one that lowers the highest activation most first.

    A token is taken out, and replaced by the token that the model expected most in its place.
    """
    import torch

    live, place = reading.live, reading.place
    peak = int(np.argmax(reading.values[place.hook]))
    texts = _edited(reading, peak)
    contexts = [tokenize(live, place.cache.vocabulary, text, reading.desk.keep).ids for text, *_ in texts]
    name = f"blocks.{place.layer}.mlp.{place.hook}"
    bos = live.model.config.bos_token_id or 0
    peaks = np.full(len(texts), np.nan)
    order = sorted((k for k in range(len(texts)) if contexts[k]), key=lambda k: len(contexts[k]))
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        width = max(len(contexts[k]) for k in rows)
        # What is padded stands after every token: in a causal model no token sees it.
        batch = torch.tensor([[bos, *contexts[k], *[bos] * (width - len(contexts[k]))] for k in rows])
        with torch.inference_mode():
            found = live.model.activations(batch, [name])[name][:, 1:, place.neuron].float().numpy()
        for row, k in enumerate(rows):
            peaks[k] = found[row, : len(contexts[k])].max()
    edits = [
        SingleEdit(text, old, new, offset, float(p))
        for (text, old, new, offset), p in zip(texts, peaks, strict=True)
        if not np.isnan(p)
    ]
    return sorted(edits, key=lambda e: e.peak)


def _edited(reading: Reading, peak: int) -> list[tuple[str, str, str, int]]:
    """Texts with one piece taken out or replaced: text, old, new, offset in characters."""
    tokens = reading.tokens
    expected = _expected(reading)
    offset = len(tokens.text.encode("utf-16-le")[: 2 * tokens.start].decode("utf-16-le"))
    texts = []
    tried = [k for k, piece in enumerate(tokens.pieces) if piece.first_token <= peak][-MOST_TOKENS:]
    for k, piece in enumerate(tokens.pieces):
        before, after = tokens.text[:offset], tokens.text[offset + len(piece.text) :]
        if k in tried:
            texts.append((before + after, piece.text, "", offset))
            if new := expected[piece.first_token]:
                texts.append((before + new + after, piece.text, new, offset))
        offset += len(piece.text)
    return texts


def _expected(reading: Reading) -> list[str]:
    """For every token the text that the model expected most in its place, other than the token itself and,
    where it is no text by itself or a special token, empty."""
    import torch

    live, ids = reading.live, reading.tokens.ids
    vocabulary = reading.place.cache.vocabulary.token_bytes
    special = set(live.tokenizer.all_special_ids)
    with torch.inference_mode():
        logits, _ = live.model.run_with_cache(torch.tensor([[live.model.config.bos_token_id, *ids]]), [])
        best = logits[0, :-1].topk(2, dim=-1).indices.tolist()
    words = []
    for token, (first, second) in zip(ids, best, strict=True):
        choice = second if first == token else first
        try:
            words.append("" if choice in special else vocabulary[choice].decode())
        except (UnicodeDecodeError, IndexError):
            words.append("")
    return words
