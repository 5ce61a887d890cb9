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

_BOOTSTRAP_DRAWS = 2000  # for standard errors that have no formula


class _BosFirst(HFLM):
    """lm-eval's model, which keeps the BOS when it cuts a text that is too long.

    lm-eval cuts such a text at its left, BOS included. Our models are trained with a BOS in every context.
    """

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        bos = self.tokenizer.bos_token_id
        fitted = []
        for key, context, continuation in requests:
            room = self.max_length + 1 - len(continuation)  # the last token is only predicted, never an input
            if len(context) > room:
                context = [bos, *context[len(context) - room + 1 :]]
            fitted.append((key, context, continuation))
        return super()._loglikelihood_tokens(fitted, *args, **kwargs)


def main() -> None:
    """Read a request, run its tasks one by one, and add lm-eval's results of each to a file of JSON lines."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, tokenizer = load_with_tokenizer(request["model"], tokenizer=request["tokenizer"])
    language_model = _BosFirst(
        pretrained=model, tokenizer=tokenizer, max_length=model.config.n_ctx, add_bos_token=True,
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
