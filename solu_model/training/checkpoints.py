"""What a run goes on from: weights, the optimizer's moments and the step, as safetensors.

Every process writes its own parts (torch.distributed.checkpoint, in Hugging Face's format), and any number
of processes in any layout reads them again. Nothing is pickled. A checkpoint is written aside and renamed
when all of it is on disk.
"""

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from solu_model.training.processes import Processes
from solu_model.training.recipe import TrainingError

_NAME = re.compile(r"step-(\d{9})")
_STATE = "state.json"
_KEPT = 2
_MOMENTS = ("exp_avg", "exp_avg_sq")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's `checkpoints/`."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return max(found, key=lambda path: path.name, default=None)


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, processes: Processes
) -> None:
    """Write one after `step` steps; the last two are kept.

    Raises:
        TrainingError: it cannot be written, as on a full disk. Those before it stay.
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
            state_dict_saver.save(_tensors(model, optimizer), storage_writer=writer)
        if processes.is_first:
            state = {"step": step, "processes": processes.n_parts * processes.layout.tensor}
            (aside / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
            _reach_disk(aside)
            shutil.rmtree(path, ignore_errors=True)
            aside.rename(path)
            for old in sorted(p for p in folder.glob("step-*") if _NAME.fullmatch(p.name))[:-_KEPT]:
                shutil.rmtree(old)
    except (Exception, CheckpointException) as error:  # whatever a full disk does to its writers
        problem = _reason(error)
    if problem:
        if processes.is_first:
            shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(
            f"step {step} cannot be kept in {folder} ({problem}). Free some room there and give the same "
            "command: it goes on from the checkpoint before"
        )
    processes.wait()


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read one into a model and its optimizer.

    Returns:
        The steps that were done.

    Raises:
        TrainingError: it is damaged or another model's.
    """
    _begin(optimizer)
    tensors = _tensors(model, optimizer)
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        step = int(state["step"])
        reader = HuggingFaceStorageReader(str(path))
        with _may_be_alone():
            state_dict_loader.load(tensors, storage_reader=reader)
    except (Exception, CheckpointException) as error:  # whatever a damaged file does to its readers
        raise TrainingError(
            f"{path} is damaged ({_reason(error)}): remove that folder and give the same command, "
            "it goes on from the checkpoint before"
        ) from error
    for values in optimizer.state.values():
        values["step"].fill_(step)
    return step


@contextmanager
def _may_be_alone() -> Iterator[None]:
    """One process is no mistake that needs a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _reason(error: BaseException) -> str:
    """What went wrong, without the traceback that torch makes part of it."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return str(error) or type(error).__name__


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that changes while a model is trained, by name."""
    found: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        found[f"model.{name}"] = parameter.detach()
        for moment in _MOMENTS:
            found[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    return found


def _begin(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer the state that its first step would make."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            moments = {name: torch.zeros_like(parameter) for name in _MOMENTS}
            steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter] = {"step": steps, **moments}


def _reach_disk(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
