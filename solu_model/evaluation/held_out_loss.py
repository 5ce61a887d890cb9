"""Held-out loss of a model, by source, in nats per token and bits per byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import log

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from solu_model.model import SoluForCausalLM
from solu_model.text.contexts import Context, batches_by_length, pad_batch
from solu_model.text.documents import Document
from solu_model.text.tokenization import Tokenization


@dataclass
class Loss:
    """The loss summed over some text."""

    nats: float = 0.0
    """Sum of -log p over the predicted tokens."""
    n_tokens: int = 0
    """Predicted tokens: every token of the text, without the BOS of each context. Where contexts have no BOS,
    nothing predicts their first tokens, which are left out."""
    n_bytes: int = 0
    """UTF-8 bytes of the predicted text."""

    @property
    def nats_per_token(self) -> float:
        """Mean loss per predicted token, in nats."""
        return self.nats / max(self.n_tokens, 1)

    @property
    def bits_per_byte(self) -> float:
        """Loss per UTF-8 byte of text, in bits. It is comparable between tokenizers."""
        return self.nats / log(2) / max(self.n_bytes, 1)


@torch.inference_mode()
def evaluate(
    model: SoluForCausalLM,
    tokenizer: PreTrainedTokenizerFast | Tokenization,
    documents: Iterator[Document],
    *,
    batch_size: int = 1,
    max_documents: int | None = None,
    progress: bool = True,
) -> dict[str, Loss]:
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
        max_documents: stop after this many documents; None: read all.
        progress: draw a progress bar.

    Returns:
        The loss by `Document.source`, and the loss on all text under the key "".
    """
    if isinstance(tokenizer, Tokenization):
        tokenization = tokenizer
    else:
        tokenization = Tokenization.of(model.config, tokenizer)
    losses: dict[str, Loss] = {"": Loss()}
    sources: list[str] = []

    def contexts() -> Iterator[Context]:
        stream = islice(documents, max_documents)
        while batch := list(islice(stream, 256)):
            for document, ids in zip(batch, tokenization.encode([d.text for d in batch]), strict=True):
                size = len(document.text.encode())
                for key in ("", document.source):
                    losses.setdefault(key, Loss()).n_bytes += size
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
                for key in ("", sources[context.document]):
                    losses[key].nats += float(total)
                    losses[key].n_tokens += len(context.tokens) - 1
                    if not context.n_lead:
                        losses[key].n_bytes -= len(tokenization.token_bytes[int(context.tokens[0])])
            bar.update(int(is_token.sum()))
    return losses
