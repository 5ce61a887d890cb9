"""A process of a test with a sharded model: `python -m tests.test_solu_model.activation.fsdp_worker`.

Arguments: rank, world size, a file for the rendezvous, a file for rank 0 to write loss and gradients to.
"""

import sys
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode

from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM


def model_and_tokens() -> tuple[SoluForCausalLM, torch.Tensor]:
    """Build model and tokens, equal in every process: two layers, two blocks of neurons, four rows."""
    torch.manual_seed(0)
    config = SoluConfig(
        d_vocab=50, n_ctx=16, d_model=16, n_heads=2, d_head=8, d_mlp=32, n_layers=2,
        act_fn="solu_ln", n_mlp_blocks=2, initializer_range=0.5,
    )  # fmt: skip
    return SoluForCausalLM(config).train(), torch.randint(50, (4, 16))


class Operations(TorchDispatchMode):
    """Record the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def main() -> None:
    rank, world, meeting, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    model, tokens = model_and_tokens()
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    mine = tokens.chunk(world)[rank]
    with Operations() as operations:
        loss = model(mine, labels=mine).loss
        loss.backward()
    dist.all_reduce(loss.detach_())
    grads = {name: p.grad.full_tensor() for name, p in model.named_parameters()}
    if rank == 0:
        ours = [name for name in operations.names if name.startswith("solu.")]
        torch.save({"loss": loss / world, "grads": grads, "operations": ours}, result)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
