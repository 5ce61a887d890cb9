"""Held-out loss by source, measured during training on a small fixed sample of text."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from solu_model.text.documents import Document
from solu_model.text.tokenization import Tokenization

CONTEXTS_A_SOURCE = 16
CONTEXTS_A_DOCUMENT = 2

Sample = dict[str, list[Tensor]]
"""Contexts `[T]` by source, BOS first."""


def held_out_sample(documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, n_ctx: int) -> Sample:
    """Return, by source, the first contexts of its first documents: a few from each document."""
    tokenization = Tokenization.for_training(tokenizer, n_ctx)
    sample: Sample = {}
    for index, document in enumerate(documents):
        taken = sample.setdefault(document.source, [])
        if len(taken) >= CONTEXTS_A_SOURCE:
            continue
        (ids,) = tokenization.encode([document.text])
        contexts = tokenization.contexts(index, ids[: CONTEXTS_A_DOCUMENT * tokenization.room])
        taken.extend(torch.from_numpy(context.tokens) for context in contexts)
        del taken[CONTEXTS_A_SOURCE:]
    return sample


@torch.no_grad()
def held_out_losses(
    model: nn.Module, sample: Sample, device: torch.device, *, bf16: bool
) -> dict[str, float]:
    """Return nats per token: `held_out` over the whole sample, `held_out/SOURCE` over one source.

    Collective: every process of the run must call it; each measures the whole sample.
    """
    sums: dict[str, tuple[float, int]] = {}
    model.eval()
    # A compiled model would be compiled again for these shapes.
    with torch.compiler.set_stance("force_eager"):
        for source, contexts in sample.items():
            nats, n_tokens = 0.0, 0
            for context in contexts:
                tokens_BT = context[None].to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
                nats += float(F.cross_entropy(logits_BTV[0, :-1].float(), tokens_BT[0, 1:], reduction="sum"))
                n_tokens += len(context) - 1
            sums[source] = nats, n_tokens
    model.train()
    nats, n_tokens = (sum(column) for column in zip(*sums.values(), strict=True))
    losses = {f"held_out/{source}": nats / n for source, (nats, n) in sorted(sums.items()) if n}
    return {"held_out": nats / max(n_tokens, 1)} | losses
