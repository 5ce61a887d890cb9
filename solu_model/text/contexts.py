"""Cut documents into contexts, for evaluation and for the cache.

A context is the BOS and then up to n_ctx - 1 tokens of one document; or n_ctx of its tokens, for a model that
was trained without a BOS. So a neuron's activation on a token depends on that document alone, never on its
neighbours in the corpus.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Context:
    """A row of tokens of one document, without padding; the BOS first, if there is one."""

    document: int
    """Index of the document in reading order, from 0."""
    start: int
    """Index, in the document's tokens, of the context's first token of text."""
    tokens: npt.NDArray[np.int64]
    """`[n_lead + n]` token ids, the BOS included."""
    n_lead: int = 1
    """Positions before the text: 1 with a BOS, else 0."""

    @property
    def text_tokens(self) -> npt.NDArray[np.int64]:
        """`[n]` token ids without the BOS."""
        return self.tokens[self.n_lead :]


def document_contexts(document: int, ids: Sequence[int], n_ctx: int, bos_id: int | None) -> Iterator[Context]:
    """Cut one document into contexts.

    Args:
        document: index of the document.
        ids: its token ids, without a BOS.
        n_ctx: longest context in tokens, including the BOS if there is one.
        bos_id: id of the BOS token; None for contexts without one.

    Yields:
        Contexts in order; none for a document without tokens.
    """
    lead = [] if bos_id is None else [bos_id]
    room = n_ctx - len(lead)
    for start in range(0, len(ids), room):
        tokens = np.array([*lead, *ids[start : start + room]], dtype=np.int64)
        yield Context(document, start, tokens, len(lead))


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
