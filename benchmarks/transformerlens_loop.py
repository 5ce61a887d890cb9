"""Timer of the usual TransformerLens loop over a corpus, started by bench_cache.py.

Runs in its own environment, with TransformerLens and without this project:

    .venv-oracle/bin/python benchmarks/transformerlens_loop.py CHECKPOINT CONTEXTS.npy

CHECKPOINT is a folder in TransformerLens's format, CONTEXTS `[N, T]` token ids. Each line `FORM BATCH
SECONDS` on stdin is answered with a line of JSON: tokens and seconds. FORM is

- `written`: `run_with_hooks` on every `hook_mid`, logits and all, `topk` over all tokens of the batch;
- `best`: `return_type=None`, so no logits, and the maximum of each context before `topk`, which sorts less
  and keeps one example a context.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformer_lens
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.hook_points import HookPoint

TOP = 20


def main() -> None:
    """Answer requests until stdin ends."""
    model = load(Path(sys.argv[1]))
    contexts = torch.from_numpy(np.load(sys.argv[2])).long()
    print(json.dumps({"transformer_lens": _version(), "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        form, batch, seconds = line.split()
        print(json.dumps(measure(model, contexts, form, int(batch), float(seconds))), flush=True)


def load(folder: Path) -> HookedTransformer:
    """Load the model without processing its weights."""
    fields = json.loads((folder / "config.json").read_text())
    sizes = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab", "act_fn")
    config = HookedTransformerConfig(
        **{name: fields[name] for name in sizes}, normalization_type="LN", device="cpu"
    )
    model = HookedTransformer(config)
    weights = torch.load(folder / "model_final.pth", weights_only=True)
    model.load_and_process_state_dict(
        weights, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    return model.eval()


class RunningTop:
    """Strongest activations so far of every neuron of a layer, with their positions."""

    def __init__(self, d_mlp: int) -> None:
        self.values = torch.full((TOP, d_mlp), -torch.inf)
        self.where = torch.zeros((TOP, d_mlp), dtype=torch.int64)
        self.first = 0
        """Index in the corpus of the batch's first token."""

    def add_tokens(self, acts_BTM: Tensor, hook: HookPoint) -> None:
        """Merge the activations of every token."""
        values, where = acts_BTM.flatten(0, 1).topk(TOP, dim=0)
        self._join(values, where + self.first)

    def add_contexts(self, acts_BTM: Tensor, hook: HookPoint) -> None:
        """Merge the maximum of each context."""
        n_ctx = acts_BTM.shape[1]
        values, where = acts_BTM.max(dim=1)
        self._join(values, where + torch.arange(len(where))[:, None] * n_ctx + self.first)

    def _join(self, values: Tensor, where: Tensor) -> None:
        self.values, best = torch.cat([self.values, values]).topk(TOP, dim=0)
        self.where = torch.cat([self.where, where]).gather(0, best)


@torch.inference_mode()
def measure(
    model: HookedTransformer, contexts: Tensor, form: str, batch: int, seconds: float
) -> dict[str, float]:
    """Run over the contexts repeatedly for about `seconds`, and return tokens and seconds."""
    tops = [RunningTop(model.cfg.d_mlp) for _ in range(model.cfg.n_layers)]
    written = form == "written"
    hooks = [
        (f"blocks.{layer}.mlp.hook_mid", top.add_tokens if written else top.add_contexts)
        for layer, top in enumerate(tops)
    ]
    n_tokens, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        at = (n_tokens // contexts.shape[1]) % (len(contexts) - batch + 1)
        tokens = contexts[at : at + batch]
        for top in tops:
            top.first = n_tokens
        model.run_with_hooks(tokens, return_type="logits" if written else None, fwd_hooks=hooks)
        n_tokens += tokens.numel()
    return {"tokens": n_tokens, "seconds": time.perf_counter() - began}


def _version() -> str:
    from importlib.metadata import version

    return version(transformer_lens.__name__)


if __name__ == "__main__":
    main()
