"""The process that runs lm-eval.

    python -m solu_model.evaluation.tasks.lm_eval_process REQUEST ANSWERS

lm-eval imports many packages and changes settings of logging and networks. In a process of its own it does
not affect the caller.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from solu_model.loading.checkpoints import load_with_tokenizer
from solu_model.text.tokenization import Tokenization

_BOOTSTRAP_DRAWS = 2000  # for standard errors that have no formula


class _OwnTokens(HFLM):
    """lm-eval's model, with our tokens: those of a `Tokenization`, which the shared tokenizer cannot change.

    lm-eval cuts a text that is too long at its left, BOS included; here the BOS is kept, since a model is
    trained with it in every context.
    """

    def __init__(self, tokenization: Tokenization, **kwargs: Any) -> None:
        self.tokenization = tokenization  # first: HFLM encodes while it is made
        super().__init__(max_length=tokenization.n_ctx, **kwargs)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context: the BOS, or without one the end of a document."""
        bos_id = self.tokenization.bos_id
        return next((int(i) for i in (bos_id, self.tokenizer.eos_token_id) if i is not None), 0)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return the tokens of a text, the BOS first unless `add_special_tokens` is False."""
        (ids,) = self.tokenization.encode([string])
        ids = ids if add_special_tokens is False else self.tokenization.context(ids)
        return self._cut(ids, left_truncate_len)

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of texts, padded to one length, and 1 at each token in place of padding."""
        rows = [self.tok_encode(text, left_truncate_len=left_truncate_len) for text in strings]
        width = max(map(len, rows))
        tokens, mask = torch.zeros((2, len(rows), width), dtype=torch.long)
        for k, row in enumerate(rows):
            own = slice(width - len(row), width) if padding_side == "left" else slice(0, len(row))
            tokens[k, own], mask[k, own] = torch.tensor(row), 1
        return tokens, mask

    def _cut(self, ids: list[int], most: int | None) -> list[int]:
        """Keep the last tokens, and the BOS before them."""
        if not most or len(ids) <= most:
            return ids
        n_lead = self.tokenization.n_lead
        return ids[:n_lead] + ids[len(ids) - most + n_lead :]

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        fitted = [
            # The last token is only predicted, never an input.
            (key, self._cut(context, max(1, self.max_length + 1 - len(continuation))), continuation)
            for key, context, continuation in requests
        ]
        return super()._loglikelihood_tokens(fitted, *args, **kwargs)


def main() -> None:
    """Read a request, run its tasks one by one, and add lm-eval's results of each to a file of JSON lines."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, tokenizer = load_with_tokenizer(request["model"], tokenizer=request["tokenizer"])
    tokenization = Tokenization.of(model.config, tokenizer, bos=request["bos"], n_ctx=request["n_ctx"])
    language_model = _OwnTokens(
        tokenization, pretrained=model, tokenizer=tokenizer, add_bos_token=tokenization.bos_id is not None,
        batch_size=request["batch_size"], device="cuda" if torch.cuda.is_available() else "cpu",
    )  # fmt: skip
    for task in request["tasks"]:
        evaluation = lm_eval.simple_evaluate(
            model=language_model,
            tasks=[task["config"]],
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=_BOOTSTRAP_DRAWS,
            log_samples=False,
        )
        name = task["config"]["task"]
        row = {"task": name, "items": task["items"], "answer": evaluation["results"][name]}
        # On disk at once: hours may lie between two tasks. The line before may be cut short by a kill.
        with open(sys.argv[2], "a", encoding="utf-8") as stream:
            stream.write("\n" + json.dumps(row, default=str) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


if __name__ == "__main__":
    main()
