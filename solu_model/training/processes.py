"""The processes of a run, as `torchrun` starts them, and their roles: replicas, shards, parts of MLPs."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from solu_model.training.recipe import TrainingError

LAUNCHER_VARIABLES = (
    "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
)  # fmt: skip
"""Environment variables by which `torchrun` tells a process its place among the others."""


def launched() -> tuple[int, int]:
    """Return this process's rank and the number of processes that `torchrun` started; 0 and 1 without it.

    Raises:
        TrainingError: the environment names several processes, but `torchrun` did not start this one, or a
            number in it is invalid. Without this check the process would wait half an hour for the others.
    """
    world = _number("WORLD_SIZE", 1, math.inf, default=1)
    if world == 1 or dist.is_initialized():  # a caller may have begun the process group
        return _number("RANK", 0, world - 1, default=0) if world > 1 else 0, world
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise TrainingError(
            f"the environment has WORLD_SIZE={world}, but torchrun did not start this process"
            f" ({missing[0]} is missing): start {world} processes with `torchrun "
            f"--nproc-per-node {world} --no-python solu train ...`, or unset WORLD_SIZE to train on one"
        )
    _number("MASTER_PORT", 1, 65535)
    return _number("RANK", 0, world - 1), world


def _number(name: str, least: float, most: float, default: int | None = None) -> int:
    """Return the number in an environment variable, or `default` where it is not set or empty."""
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        bounds = f"{least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
        raise TrainingError(
            f"the environment has {name}={text[:40]!r}: expected a number, {bounds}. Unset it, or start the "
            "processes with torchrun"
        )
    return int(text)


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
        TrainingError: their number does not fit the layout, or the environment is invalid (`launched`).
    """
    _, world = launched()
    replicas = layout.replicas(world)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(_number("LOCAL_RANK", 0, torch.cuda.device_count() - 1, default=0))
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
