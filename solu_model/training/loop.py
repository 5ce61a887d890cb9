"""The steps of a run: forward, backward, clip, update; on one process or many."""

import getpass
import math
import os
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from solu_model.model import SoluForCausalLM
from solu_model.training.batches import Batches
from solu_model.training.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from solu_model.training.muon import Muon
from solu_model.training.non_finite import first_non_finite
from solu_model.training.processes import Processes
from solu_model.training.recipe import Recipe, Stopped, TrainingError
from solu_model.training.sharding import clip_gradients, mesh_of

Log = Callable[[int, float, float, float], None]
"""A callback for metrics: steps done, mean loss since the last call, norm of the gradient, learning rate."""


def optimizers_of(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return the optimizers: AdamW, with weight decay on matrices (W_*) alone, and Muon if chosen."""
    groups: dict[tuple[bool, DeviceMesh | None], list[Tensor]] = defaultdict(list)
    matrices: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_matrix = name.rpartition(".")[2].startswith("W_")
        if recipe.optimizer == "muon" and is_matrix and name.startswith("blocks."):
            matrices.append(parameter)
        else:
            groups[is_matrix, mesh_of(parameter)].append(
                parameter
            )  # a fused update takes parameters of one mesh only
    adamw = torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0}
            for (decays, _), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        fused=True,
    )
    if not matrices:
        return [adamw]
    return [Muon(matrices, recipe.learning_rate, recipe.weight_decay, bf16=recipe.bf16), adamw]


def loss_and_gradients(model: nn.Module, tokens_BT: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Run forward and backward passes over the parts of the rows, and clip the gradients.

    Returns:
        This process's mean loss in nats per token, and the norm of the whole gradient before clipping.
    """
    total = torch.zeros((), device=tokens_BT.device)
    for part_BT in tokens_BT.chunk(recipe.accumulate):
        with torch.autocast(tokens_BT.device.type, torch.bfloat16, enabled=recipe.bf16):
            loss = model(input_ids=part_BT, labels=part_BT, use_cache=False).loss / recipe.accumulate
        loss.backward()
        total += loss.detach()
    return total, clip_gradients(model, recipe.max_grad_norm)


def run_steps(
    model: SoluForCausalLM,
    batches: Batches,
    recipe: Recipe,
    checkpoints: Path,
    processes: Processes,
    *,
    begin: Callable[[int], None],
    tick: Callable[[int], None],
    log: Log,
) -> None:
    """Train to the end of the recipe, resuming from the last checkpoint if there is one.

    Args:
        model: on its device, and spread over the processes.
        begin: called once with the number of steps done before.
        tick: called after each step with the number of steps done.
        log: see `Log`.

    Raises:
        TrainingError: the loss became NaN or infinite, or a checkpoint cannot be read or written.
        Stopped: SIGTERM or SIGINT was received; a checkpoint was saved.
    """
    if recipe.optimizer == "muon" and processes.splits_weights:
        raise TrainingError(
            "Muon needs whole matrices on every process, but --shard or --tensor splits them: "
            "leave both out, or give --optimizer adamw"
        )
    optimizers = optimizers_of(model, recipe)
    done, losses = 0, list[float]()
    if (path := last_checkpoint(checkpoints)) is not None:
        done, losses = load_checkpoint(path, model, optimizers)
    if done > recipe.n_steps():
        raise TrainingError(
            f"{path} is of step {done}, but the run has {recipe.n_steps()} steps: give the --tokens and "
            "--batch that it was started with, or another --out"
        )
    begin(done)
    model.train()
    if recipe.compile:
        model.compile()
    n_steps, stable = recipe.n_steps(), recipe.decay_from() if recipe.schedule == "wsd" else 0
    log_steps, saved = recipe.log_steps(), time.monotonic()
    with _stop_signals() as received:
        for step, tokens in enumerate(batches.steps(done, n_steps, processes.device), start=done + 1):
            rate = recipe.learning_rate_at(step - 1)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            loss, norm = loss_and_gradients(model, tokens, recipe)
            losses.append(float(loss))
            if not math.isfinite(float(norm)):  # the norm over all processes, so a NaN on one stops all
                culprit = first_non_finite(model, tokens, recipe.bf16)
                raise TrainingError(
                    f"the loss is {losses[-1]} at step {step}: {culprit}. Start again in another "
                    f"--out with a --learning-rate below {recipe.learning_rate}. Saved checkpoints stay"
                )
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            tick(step)
            if step % log_steps == 0 or step == n_steps:
                mean = torch.tensor(losses, device=processes.device).mean()
                log(step, processes.mean(mean), float(norm), rate)
                losses.clear()
            stopping = processes.any(bool(received))
            late = processes.any(time.monotonic() - saved > 60 * recipe.save_minutes)
            if stopping or late or step % recipe.save_every == 0 or step in (stable, n_steps):
                save_checkpoint(checkpoints, step, model, optimizers, processes, losses=losses, stable=stable)
                saved = time.monotonic()
            if stopping and step < n_steps:
                raise Stopped(
                    f"stopped after step {step} of {n_steps}, which is saved in {checkpoints}: "
                    "the same command resumes from it"
                )


def check_compiler() -> None:
    """Refuse `compile` on a machine without a C++ compiler; give torch a folder for its compiled code.

    Raises:
        TrainingError: there is no compiler.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++")):
        raise TrainingError(
            "--compile needs a C++ compiler, but neither g++ nor clang++ is installed: install one, or leave "
            "--compile out"
        )
    try:
        getpass.getuser()
    except (KeyError, OSError):  # containers run with ids that have no name, of which torch makes a folder's
        os.environ["USER"] = f"uid-{os.getuid()}"


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect the first SIGTERM or SIGINT; a second one has its usual effect."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield received
        return
    before = {
        number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGINT)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        restore()

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
