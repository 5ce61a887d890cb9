"""Inside the process that has lm-eval: `python -m solu_model.evaluation.tasks.process REQUEST ANSWER`.

lm-eval brings many packages and opinions about logging and networks: out of process they are nobody else's.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from solu_model.loading.checkpoints import load_with_tokenizer

_BOOTSTRAPS = 2000  # draws of the standard errors that have no formula


class _BosFirst(HFLM):
    """lm-eval's own, but that a text too long for the model loses its middle-left and not its BOS."""

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        bos = self.tokenizer.bos_token_id
        fitted = []
        for key, context, continuation in requests:
            room = self.max_length + 1 - len(continuation)  # the last token is predicted, not read
            if len(context) > room:
                context = [bos, *context[len(context) - room + 1 :]]
            fitted.append((key, context, continuation))
        return super()._loglikelihood_tokens(fitted, *args, **kwargs)


def main() -> None:
    """Answer a request: both are files of JSON."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, tokenizer = load_with_tokenizer(request["model"], tokenizer=request["tokenizer"])
    language_model = _BosFirst(
        pretrained=model, tokenizer=tokenizer, max_length=model.config.n_ctx, add_bos_token=True,
        batch_size=request["batch_size"], device="cuda" if torch.cuda.is_available() else "cpu",
    )  # fmt: skip
    found = lm_eval.simple_evaluate(
        model=language_model,
        tasks=request["tasks"],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=_BOOTSTRAPS,
        log_samples=False,
    )
    Path(sys.argv[2]).write_text(json.dumps(found["results"], default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
