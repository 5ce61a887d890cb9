"""A model spread over processes: MLPs by neurons (paper 4.4), all weights by FSDP2.

Tensor parallelism follows the paper: W_in is split by columns and W_out by rows, so that each process has the
pre-activations of its own neurons. Softmax and LayerNorm run over blocks of neurons, each of them whole on
one process, so the processes exchange only the sum of the MLP's output. Attention and embeddings are the same
on all processes of a tensor parallel group.
"""

from collections import defaultdict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.utils import get_total_norm

from solu_model.blocks import MLP, Block
from solu_model.model import SoluForCausalLM
from solu_model.taps import Taps
from solu_model.training.processes import Processes

_BY_NEURON = {"W_in": 1, "b_in": 0, "W_out": 0, "ln.w": 0, "ln.b": 0}
"""The parameters of an MLP that are split, each with the index of its dimension of neurons."""


class TensorParallelMLP(MLP):
    """An MLP of which every process of `mesh` holds a part of the neurons; names and shapes stay the same.

    It takes over the parameters of `mlp`. The only communication of a forward pass is the sum of the outputs;
    that of a backward pass is the sum of the gradients of the input.
    """

    def __init__(self, mlp: MLP, mesh: DeviceMesh) -> None:
        nn.Module.__init__(self)
        self.mesh = mesh
        self.act_fn, self.prefix = mlp.act_fn, mlp.prefix
        self.n_blocks = mlp.n_blocks // mesh.size()
        self.ln = mlp.ln
        for name, parameter in list(mlp.named_parameters()):
            home, _, last = name.rpartition(".")
            place = Shard(_BY_NEURON[name]) if name in _BY_NEURON else Replicate()
            spread = nn.Parameter(distribute_tensor(parameter.detach(), mesh, [place]))
            setattr(self.get_submodule(home), last, spread)

    def forward(self, x_BTD: Tensor, taps: Taps | None) -> Tensor:
        if taps is not None:
            raise NotImplementedError(
                "activations can be read only on a model that is not split: load its checkpoint"
            )
        shared = DTensor.from_local(x_BTD, self.mesh, [Replicate()], run_check=False)
        x_BTD = shared.to_local(grad_placements=[Partial()])
        pre_BTM = F.linear(x_BTD, _own(self.W_in).T, _own(self.b_in))
        norm = None if self.ln is None else (_own(self.ln.w), _own(self.ln.b))
        _, post_BTM = self.activate(pre_BTM, norm)
        part_BTD = F.linear(post_BTM, _own(self.W_out).T)
        summed = DTensor.from_local(part_BTD, self.mesh, [Partial()], run_check=False)
        return summed.redistribute(placements=[Replicate()]).to_local() + _own(self.b_out)


def _own(parameter: Tensor) -> Tensor:
    """Return this process's part of a parameter."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def spread(model: SoluForCausalLM, processes: Processes) -> None:
    """Spread a model that is the same on every process, in place; parameters become DTensors.

    Raises:
        TrainingError: its blocks of neurons cannot be shared by the tensor parallel processes.
    """
    if processes.mesh is None:
        return
    blocks = [cast(Block, block) for block in model.blocks]
    processes.layout.check(model.config.n_mlp_blocks)
    if processes.layout.tensor > 1:
        for block in blocks:
            block.mlp = TensorParallelMLP(block.mlp, processes.mesh["tensor"])
    if processes.n_parts > 1:
        rows = processes.mesh["replicate", "shard"]
        for block in blocks:
            fully_shard(block, mesh=rows)
        fully_shard(model, mesh=rows)


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor that may be spread. Collective: every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def mesh_of(tensor: Tensor) -> DeviceMesh | None:
    """Return the mesh of processes that a tensor is spread over; None if it is not spread."""
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


@torch.no_grad()
def clip_gradients(model: nn.Module, most: float) -> Tensor:
    """Scale all gradients so that their norm is at most `most`, as `clip_grad_norm_` does on one mesh.

    Returns:
        The norm before clipping, `[]`: of the whole model, on every process. Not finite if a gradient is not.
    """
    by_mesh: dict[DeviceMesh | None, list[Tensor]] = defaultdict(list)
    for parameter in model.parameters():
        if parameter.grad is not None:
            by_mesh[mesh_of(parameter.grad)].append(parameter.grad)
    norms = [whole(get_total_norm(gradients)) for gradients in by_mesh.values()]
    norm = norms[0] if len(norms) == 1 else torch.stack(norms).norm()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([_own(g) for gradients in by_mesh.values() for g in gradients], factor)
    return norm
