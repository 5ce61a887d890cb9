"""The steps of a run: forward, backward, clip, AdamW; on one process or many."""

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from solu_model.model import SoluForCausalLM
from solu_model.training.batches import Batches
from solu_model.training.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from solu_model.training.processes import Processes
from solu_model.training.recipe import Recipe, TrainingError
from solu_model.training.sharding import clip_gradients, mesh_of
from solu_model.training.trouble import first_trouble

Log = Callable[[int, float, float, float], None]
"""Told the steps done, the mean loss since the last time, the gradient's norm and the learning rate."""


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW, with weight decay on the matrices (W_*) alone."""
    groups: dict[tuple[bool, DeviceMesh | None], list[Tensor]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        decays = name.rpartition(".")[2].startswith("W_")
        groups[decays, mesh_of(parameter)].append(parameter)  # one fused call can be of one mesh alone
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0}
            for (decays, _), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        fused=True,
    )


def loss_and_gradients(model: nn.Module, tokens_BT: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Forward, backward and clip.

    Returns:
        This process's mean loss in nats per token, and the norm of the whole gradient before it was clipped.
    """
    with torch.autocast(tokens_BT.device.type, torch.bfloat16, enabled=recipe.bf16):
        loss = model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss
    loss.backward()
    return loss.detach(), clip_gradients(model, recipe.max_grad_norm)


def run_steps(
    model: SoluForCausalLM,
    batches: Batches,
    recipe: Recipe,
    checkpoints: Path,
    processes: Processes,
    *,
    begin: Callable[[int], None],
    tick: Callable[[], None],
    log: Log,
) -> None:
    """Train to the end of the recipe, from the last checkpoint where there is one.

    Args:
        model: in place on its device, spread over the processes.
        begin: told the steps that were done before. tick: called after every step. log: see `Log`.

    Raises:
        TrainingError: the loss stopped being a number, or a checkpoint cannot be read or written.
    """
    optimizer = optimizer_of(model, recipe)
    done = 0
    if (path := last_checkpoint(checkpoints)) is not None:
        done = load_checkpoint(path, model, optimizer)
    begin(done)
    model.train()
    if recipe.compile:
        model.compile()
    losses: list[Tensor] = []
    for step, tokens in enumerate(batches.steps(done, recipe.n_steps(), processes.device), start=done):
        rate = recipe.learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, norm = loss_and_gradients(model, tokens, recipe)
        losses.append(loss)
        if not math.isfinite(float(norm)):  # that of all processes: where one has a NaN, all stop
            trouble = first_trouble(model, tokens, recipe.bf16)
            raise TrainingError(
                f"the loss is {float(losses[-1])} at step {step + 1}: {trouble}. Start again in another "
                f"--out with a --learning-rate below {recipe.learning_rate}. What was saved is kept"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tick()
        if recipe.log_every and (step + 1) % recipe.log_every == 0:
            log(step + 1, processes.mean(torch.stack(losses).mean()), float(norm), rate)
            losses.clear()
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.n_steps():
            save_checkpoint(checkpoints, step + 1, model, optimizer, processes)
