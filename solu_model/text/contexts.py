"""Cut documents into contexts, for evaluation and for the cache.

A context is the BOS and then up to n_ctx - 1 tokens of one document. So a neuron's activation on a token
depends on that document alone, never on its neighbours in the corpus.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Context:
    """A row of tokens of one document, BOS first, without padding."""

    document: int
    """Index of the document in reading order, from 0."""
    start: int
    """Index, in the document's tokens, of the first token after the BOS."""
    tokens: npt.NDArray[np.int64]
    """`[1 + n]` token ids, the BOS at position 0."""


def document_contexts(document: int, ids: Sequence[int], n_ctx: int, bos_id: int) -> Iterator[Context]:
    """Cut one document into contexts.

    Args:
        document: index of the document.
        ids: its token ids, without a BOS.
        n_ctx: longest context in tokens, including the BOS.
        bos_id: id of the BOS token.

    Yields:
        Contexts in order; none for a document without tokens.
    """
    for start in range(0, len(ids), n_ctx - 1):
        yield Context(document, start, np.array([bos_id, *ids[start : start + n_ctx - 1]], dtype=np.int64))


BATCH_WINDOW = 16
"""Number of batches that `batches_by_length` collects and sorts at a time."""


def batches_by_length(
    contexts: Iterable[Context], batch_size: int, *, window: int = BATCH_WINDOW
) -> Iterator[list[Context]]:
    """Group contexts of similar length into batches, so that there is little padding.

    Each run of `window * batch_size` contexts is sorted by length. The grouping depends on the order of the
    contexts alone.

    Args:
        contexts: contexts of any length.
        batch_size: contexts in a batch; the last batch of a run may have fewer.
        window: batches in a run.
    """
    run: list[Context] = []
    for context in contexts:
        run.append(context)
        if len(run) == window * batch_size:
            yield from _by_length(run, batch_size)
            run = []
    yield from _by_length(run, batch_size)


def pad_batch(batch: Sequence[Context], pad_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Pad a batch on the right; return `tokens [B, T]` and `is_token [B, T]`, False at padding."""
    width = max(len(c.tokens) for c in batch)
    tokens = np.full((len(batch), width), pad_id, dtype=np.int64)
    is_token = np.zeros((len(batch), width), dtype=np.bool_)
    for row, context in enumerate(batch):
        tokens[row, : len(context.tokens)] = context.tokens
        is_token[row, : len(context.tokens)] = True
    return tokens, is_token


def _by_length(contexts: list[Context], batch_size: int) -> Iterator[list[Context]]:
    # Document and start break ties, so that batches are the same in every run.
    ordered = sorted(contexts, key=lambda c: (-len(c.tokens), c.document, c.start))
    for first in range(0, len(ordered), batch_size):
        yield ordered[first : first + batch_size]
