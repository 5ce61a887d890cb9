"""One of the processes that `torchrun` starts: `-m tests.test_solu_model.training.worker ARGUMENTS`.

It trains, and where asked writes loss and gradients of one step, and what was communicated in it, to a file.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor.debug import CommDebugMode

from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM
from solu_model.training import Layout, Recipe, train
from solu_model.training.processes import processes
from solu_model.training.sharding import clip_gradients, spread, whole

CONFIG = SoluConfig(
    d_vocab=300, n_ctx=16, d_model=16, n_heads=2, d_head=8, d_mlp=24, n_layers=2, n_mlp_blocks=2,
    initializer_range=0.2,
)  # fmt: skip
RECIPE = Recipe(
    n_tokens=40 * 64, batch_tokens=64, learning_rate=1e-2, warmup_steps=4, tokenizer_sample=1.0,
    bf16=False, log_every=2, save_every=4,
)  # fmt: skip
TOKENS = torch.arange(64).reshape(4, 16) * 7 % 300


def counts(mode: Any) -> dict[str, int]:
    """How often each kind of collective ran."""
    return {str(kind).rpartition(".")[2]: n for kind, n in mode.get_comm_counts().items() if n}


def gradients(layout: Layout) -> dict[str, Any]:
    """Of one step over `TOKENS`, whole, and the collectives of its forward and backward pass."""
    with processes(layout) as those:
        torch.manual_seed(0)
        model = SoluForCausalLM(CONFIG).train()
        spread(model, those)
        mine = TOKENS.chunk(those.n_parts)[those.part]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of CommDebugMode's hooks
            with CommDebugMode() as forward:
                loss = model(input_ids=mine, labels=mine, use_cache=False).loss
            with CommDebugMode() as backward:
                loss.backward()
        found = {name: whole(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}
        norm = clip_gradients(model, 1.0)
        return {
            "loss": those.mean(loss.detach()),
            "norm": float(norm),
            "gradients": found,
            "clipped": {n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None},
            "forward": counts(forward),
            "backward": counts(backward),
            "first": those.is_first,
        }


def main() -> None:
    torch.set_num_threads(1)
    said = json.loads(sys.argv[1])
    layout = Layout(said["shard"], said["tensor"])
    dist.init_process_group("gloo")
    train(CONFIG, RECIPE, [said["corpus"]], Path(said["out"]), layout=layout, progress=False)
    if said["gradients"]:
        found = gradients(layout)
        if found["first"]:
            torch.save(found, said["gradients"])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
