"""Checkpoints that a run resumes from: weights, the optimizers' state and the step, as safetensors.

Every process writes its own parts (torch.distributed.checkpoint, in Hugging Face's format), and any number
of processes in any layout can read them. Nothing is pickled. A checkpoint is written under a temporary name
and renamed when all of it is on disk.
"""

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from solu_model.training.muon import Muon
from solu_model.training.processes import Processes
from solu_model.training.recipe import TrainingError

_NAME = re.compile(r"step-(\d{9})")
_STATE = "state.json"
_KEPT = 2
_MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}
"""State of each optimizer that has the shape of its parameter."""


def all_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the complete checkpoints in a run's `checkpoints/` by number of steps, in order."""
    named = {path: _NAME.fullmatch(path.name) for path in folder.glob("step-*")}
    return dict(sorted((int(match[1]), path) for path, match in named.items() if match))


def last_checkpoint(folder: Path, at_most: int | None = None) -> Path | None:
    """Return the newest checkpoint in a run's `checkpoints/`, or the newest of at most `at_most` steps."""
    eligible = [path for step, path in all_checkpoints(folder).items() if at_most is None or step <= at_most]
    return eligible[-1] if eligible else None


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    processes: Processes,
    *,
    losses: Sequence[float] = (),
    stable: int = 0,
) -> None:
    """Write a checkpoint; then remove all but the last two, and the last of at most `stable` steps.

    Args:
        step: steps done.
        losses: losses of the steps since the last row of metrics.
        stable: steps before the learning rate falls. A run can be lengthened from that checkpoint.

    Raises:
        TrainingError: it cannot be written, e.g. because the disk is full. Earlier checkpoints stay.
    """
    path = folder / f"step-{step:09d}"
    aside = folder / f".{path.name}"
    problem = ""
    try:
        if processes.is_first:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        processes.wait()
        writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
        with _may_be_alone():
            state_dict_saver.save(_tensors(model, optimizers), storage_writer=writer)
        if processes.is_first:
            n_processes = processes.n_parts * processes.layout.tensor
            state = {"step": step, "processes": n_processes, "losses": list(losses)}
            (aside / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
            _reach_disk(aside)
            shutil.rmtree(path, ignore_errors=True)
            aside.rename(path)
            saved = all_checkpoints(folder)
            kept = {*list(saved)[-_KEPT:], max((s for s in saved if s <= stable), default=step)}
            for old in saved.keys() - kept:
                shutil.rmtree(saved[old])
    except (
        Exception,
        CheckpointException,
    ) as error:  # torch's writers raise errors of many types on a full disk
        problem = _reason(error)
    if problem:
        if processes.is_first:
            shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(
            f"the checkpoint of step {step} cannot be written to {folder} ({problem}). Free some space there "
            "and run the same command again: it resumes from the previous checkpoint"
        )
    processes.wait()


def load_checkpoint(
    path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, list[float]]:
    """Read a checkpoint into a model and its optimizers.

    Returns:
        The number of steps done, and the losses of the steps since the last row of metrics.

    Raises:
        TrainingError: the checkpoint is damaged, or belongs to another model.
    """
    for optimizer in optimizers:
        _begin(optimizer)
    tensors = _tensors(model, optimizers)
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        step, losses = int(state["step"]), [float(loss) for loss in state.get("losses", [])]
        reader = HuggingFaceStorageReader(str(path))
        with _may_be_alone():
            state_dict_loader.load(tensors, storage_reader=reader)
    except (
        Exception,
        CheckpointException,
    ) as error:  # torch's readers raise errors of many types on damaged files
        raise TrainingError(
            f"{path} is damaged ({_reason(error)}): remove that folder and run the same command again, "
            "which resumes from the previous checkpoint"
        ) from error
    for optimizer in optimizers:
        for values in optimizer.state.values():
            if "step" in values:
                values["step"].fill_(step)
    return step, losses


@contextmanager
def _may_be_alone() -> Iterator[None]:
    """Silence torch's warning about a single process, which is a normal case here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _reason(error: BaseException) -> str:
    """Return the message of an error, without the traceback that torch puts into it."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return str(error) or type(error).__name__


def _tensors(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    """Return every tensor that training changes, by name."""
    tensors: dict[str, Any] = {}
    state = {parameter: values for optimizer in optimizers for parameter, values in optimizer.state.items()}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for moment in state[parameter].keys() - {"step"}:
            tensors[f"{moment}.{name}"] = state[parameter][moment]
    return tensors


def _begin(optimizer: torch.optim.Optimizer) -> None:
    """Create the optimizer's state, as its first step would."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = {name: torch.zeros_like(parameter) for name in _MOMENTS[type(optimizer)]}
            if isinstance(optimizer, torch.optim.AdamW):
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter] = state


def _reach_disk(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
