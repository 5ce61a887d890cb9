"""The processes of a run, as `torchrun` starts them, and their roles: replicas, shards, parts of MLPs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from solu_model.training.recipe import TrainingError


@dataclass(frozen=True)
class Layout:
    """Numbers of processes that share weights; all others are replicas, which read different rows."""

    shard: int = 1
    """Processes that each hold a part of every weight, and read different rows (FSDP2)."""
    tensor: int = 1
    """Processes that each hold a part of every MLP's neurons, and read the same rows."""

    def __post_init__(self) -> None:
        if self.shard < 1 or self.tensor < 1:
            raise TrainingError(f"expected positive numbers of processes, got {self.shard} and {self.tensor}")

    def check(self, n_mlp_blocks: int) -> None:
        """Refuse a model whose blocks of neurons the tensor parallel processes cannot share.

        Raises:
            TrainingError: a block would be split between several processes.
        """
        if n_mlp_blocks % self.tensor:
            raise TrainingError(
                f"{self.tensor} tensor parallel processes cannot share {n_mlp_blocks} blocks of neurons: "
                f"train with --n-mlp-blocks {self.tensor}, one block for each process"
            )

    def replicas(self, world: int) -> int:
        """Return the number of replicas of the model.

        Raises:
            TrainingError: the number of processes is not a multiple of shards times tensor parallel parts.
        """
        if world % (self.shard * self.tensor):
            raise TrainingError(
                f"{world} processes cannot be laid out as shards of {self.shard} and tensor parallel groups "
                f"of {self.tensor}: start a multiple of {self.shard * self.tensor} (torchrun)"
            )
        return world // (self.shard * self.tensor)


@dataclass(frozen=True)
class Processes:
    """The processes of this run, and this process's place among them."""

    layout: Layout
    device: torch.device
    mesh: DeviceMesh | None
    """`replicate` x `shard` x `tensor`; None for a single process."""

    @property
    def is_first(self) -> bool:
        """True for the process that writes the files."""
        return self.mesh is None or dist.get_rank() == 0

    @property
    def n_parts(self) -> int:
        """Number of parts that a step's rows are cut into."""
        return 1 if self.mesh is None else self.mesh.size() // self.layout.tensor

    @property
    def splits_weights(self) -> bool:
        """True if a process holds only a part of some weights."""
        return self.layout.shard > 1 or self.layout.tensor > 1

    @property
    def part(self) -> int:
        """Index of the part that this process reads."""
        if self.mesh is None:
            return 0
        replica, shard = self.mesh.get_local_rank("replicate"), self.mesh.get_local_rank("shard")
        return replica * self.layout.shard + shard

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.mesh is not None:
            dist.barrier()

    def any(self, value: bool) -> bool:
        """Return True if `value` is true on any process. Collective."""
        if self.mesh is None:
            return value
        flag = torch.tensor(float(value), device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def mean(self, value: torch.Tensor) -> float:
        """Return the mean of a number over all processes. Collective."""
        if self.mesh is not None:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.mesh.size()
        return float(value)


@contextmanager
def processes(layout: Layout) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or describe this single process.

    The process group is created and destroyed here, unless one exists already.

    Raises:
        TrainingError: their number does not fit the layout.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    replicas = layout.replicas(world)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    if world == 1:
        yield Processes(layout, device, None)
        return
    begun = dist.is_initialized()
    if not begun:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        names = ("replicate", "shard", "tensor")
        shape = (replicas, layout.shard, layout.tensor)
        yield Processes(layout, device, init_device_mesh(device.type, shape, mesh_dim_names=names))
    finally:
        if not begun:
            dist.destroy_process_group()
