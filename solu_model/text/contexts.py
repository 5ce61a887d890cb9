"""Cut documents into the contexts a model sees when its neurons are read or its loss is measured.

A context belongs to one document: BOS, then up to n_ctx - 1 of its tokens. So what a neuron does on a
token depends on that document alone, never on its neighbours in a corpus.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Context:
    """One row of tokens, BOS first, without padding."""

    document: int
    """Index of the document in the order it was read, from 0."""
    start: int
    """Index in the document of the first token after the BOS."""
    tokens: npt.NDArray[np.int64]
    """`[1 + n]` token ids, the BOS at position 0."""


def document_contexts(document: int, ids: Sequence[int], n_ctx: int, bos_id: int) -> Iterator[Context]:
    """Cut one document.

    Args:
        document: its index.
        ids: its tokens, without a BOS.
        n_ctx: longest context, the BOS included.
        bos_id: the BOS token.

    Yields:
        Contexts in order; none for a document without tokens.
    """
    for start in range(0, len(ids), n_ctx - 1):
        yield Context(document, start, np.array([bos_id, *ids[start : start + n_ctx - 1]], dtype=np.int64))


BATCH_WINDOW = 16
"""Batches' worth of contexts that `batches_by_length` holds to sort."""


def batches_by_length(
    contexts: Iterable[Context], batch_size: int, *, window: int = BATCH_WINDOW
) -> Iterator[list[Context]]:
    """Group contexts of like length, so that little is padded.

    Within each run of `window * batch_size` contexts they are sorted by length; the grouping depends on
    the order of the contexts alone.
    """
    held: list[Context] = []
    for context in contexts:
        held.append(context)
        if len(held) == window * batch_size:
            yield from _by_length(held, batch_size)
            held = []
    yield from _by_length(held, batch_size)


def pad_batch(batch: Sequence[Context], pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """A batch as `tokens [B, T]` and `is_token [B, T]`, padded on the right."""
    width = max(len(c.tokens) for c in batch)
    tokens = np.full((len(batch), width), pad_id, dtype=np.int64)
    is_token = np.zeros((len(batch), width), dtype=np.bool_)
    for row, context in enumerate(batch):
        tokens[row, : len(context.tokens)] = context.tokens
        is_token[row, : len(context.tokens)] = True
    return tokens, is_token


def _by_length(contexts: list[Context], batch_size: int) -> Iterator[list[Context]]:
    ordered = sorted(contexts, key=lambda c: (-len(c.tokens), c.document, c.start))
    for first in range(0, len(ordered), batch_size):
        yield ordered[first : first + batch_size]
