"""Held-out loss of a model, by source, in nats per token and bits per byte."""

from collections.abc import Iterator
from itertools import islice
from math import isfinite

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from solu_model.evaluation.losses import Loss, Losses
from solu_model.model import SoluForCausalLM
from solu_model.text.contexts import Context, batches_by_length, pad_batch
from solu_model.text.documents import Document, in_batches
from solu_model.text.tokenization import Tokenization

_SHOWN = 80  # characters of a source's name in an error


class EvaluationError(ValueError):
    """A loss that cannot be measured. The message says why and what to do."""


@torch.inference_mode()
def evaluate(
    model: SoluForCausalLM,
    tokenizer: PreTrainedTokenizerFast | Tokenization,
    documents: Iterator[Document],
    *,
    batch_size: int = 1,
    max_documents: int | None = None,
    progress: bool = True,
) -> Losses:
    """Measure the loss on each source of text.

    Each token of a document is predicted once, from the earlier tokens of its context (see
    `solu_model.text.contexts`); the first token of a context from the BOS alone. Without a BOS it is not
    predicted.

    Args:
        model: a model in evaluation mode.
        tokenizer: the model's; a `Tokenization` to choose the BOS and the length of contexts.
        documents: the text, see `read_documents`.
        batch_size: contexts in a batch. On a CPU, 1 is fastest: the logits of more contexts do not fit in its
            caches.
        max_documents: stop after this many documents, at least 1; None: read all.
        progress: draw a progress bar.

    Raises:
        EvaluationError: the text has no token, or its loss is NaN or infinite.
    """
    if max_documents is not None and max_documents < 1:
        raise EvaluationError(f"expected at least 1 document (--max-documents), got {max_documents}")
    if isinstance(tokenizer, Tokenization):
        tokenization = tokenizer
    else:
        tokenization = Tokenization.of(model.config, tokenizer)
    losses = Losses()
    sources: list[str] = []

    def contexts() -> Iterator[Context]:
        stream = islice(documents, max_documents)
        for batch in in_batches(stream, 256, lambda document: document.text):
            for document, ids in zip(batch, tokenization.encode([d.text for d in batch]), strict=True):
                size = len(document.text.encode())
                for loss in (losses.total, losses.by_source.setdefault(document.source, Loss())):
                    loss.n_bytes += size
                sources.append(document.source)
                yield from tokenization.contexts(len(sources) - 1, ids)

    with tqdm(unit="tok", unit_scale=True, desc="evaluating", disable=not progress) as bar:
        for batch in batches_by_length(contexts(), batch_size):
            tokens, is_token = pad_batch(batch, pad_id=0)
            tokens_BT = torch.from_numpy(tokens)
            logits_BTV = model(tokens_BT, use_cache=False).logits
            targets_BT = tokens_BT[:, 1:]
            nats_N = F.cross_entropy(
                logits_BTV[:, :-1].float().flatten(0, 1), targets_BT.flatten(), reduction="none"
            )
            # Summed in float64: a corpus has more tokens than float32 can add up without loss.
            nats_BT = nats_N.view_as(targets_BT).double().numpy()
            nats = np.where(is_token[:, 1:], nats_BT, 0.0).sum(1)
            for context, total in zip(batch, nats, strict=True):
                source = sources[context.document]
                if not isfinite(total):
                    raise EvaluationError(
                        f"the loss on document {context.document + 1:,} of the text (source "
                        f"{source[:_SHOWN]!r}) is {total}: the model's weights or activations are NaN or "
                        "infinite. Look at its training curve, and measure an earlier checkpoint"
                    )
                for loss in (losses.total, losses.by_source[source]):
                    loss.nats += float(total)
                    loss.n_tokens += len(context.tokens) - 1
                    if not context.n_lead:  # nothing predicts the first token
                        loss.n_bytes -= len(tokenization.token_bytes[int(context.tokens[0])])
            bar.update(int(is_token.sum()))
    if not losses.total.n_tokens:
        raise EvaluationError(
            "the text has no token, or no context predicts a token: expected at least one document that is "
            "not empty, and contexts of more than one token (--n-ctx)"
        )
    return losses
