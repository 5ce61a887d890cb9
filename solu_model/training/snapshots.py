"""Snapshots of a run's weights in `snapshots/step-N`, evenly spaced in the logarithm of the tokens.

The points do not depend on the length of the run, so an extended run has the snapshots of the longer run.
"""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from solu_model.config import SoluConfig
from solu_model.files import written_aside
from solu_model.training.recipe import Recipe
from solu_model.training.sharding import whole

FIRST_SNAPSHOT = 2**20
"""Number of tokens at the first snapshot."""


def snapshot_steps(recipe: Recipe) -> list[int]:
    """Return the steps after which weights are written: n = `recipe.snapshots` per doubling, and the last.

    The k-th is the step nearest to 2^(20 + k / n) tokens.
    """
    if not recipe.snapshots:
        return []
    n_steps = recipe.n_steps()
    steps, k = {n_steps}, 0
    while (step := round(FIRST_SNAPSHOT * 2 ** (k / recipe.snapshots) / recipe.batch_tokens)) < n_steps:
        steps.add(max(1, step))
        k += 1
    return sorted(steps)


def bf16_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights of a model, whole and in bf16. Collective."""
    return {name: whole(tensor.detach()).to(torch.bfloat16) for name, tensor in model.state_dict().items()}


def write_weights(folder: Path, config: SoluConfig, weights: dict[str, Tensor]) -> None:
    """Write `model.safetensors` and `config.json` into a folder."""
    with written_aside(folder / "model.safetensors") as aside:
        save_file({n: w.contiguous().cpu() for n, w in weights.items()}, aside, metadata={"format": "pt"})
    saved: Any = copy.deepcopy(config)
    saved.dtype = "bfloat16"
    saved.save_pretrained(folder)


def write_snapshot(folder: Path, step: int, config: SoluConfig, weights: dict[str, Tensor]) -> None:
    """Write a checkpoint of the weights after `step` steps into a run's `snapshots/`."""
    with written_aside(folder / f"step-{step:09d}") as aside:
        aside.mkdir()
        write_weights(aside, config, weights)


def drop_later_snapshots(folder: Path, done: int) -> None:
    """Remove the snapshots after the checkpoint that a run resumes from."""
    for path in folder.glob("step-*"):
        if (match := re.fullmatch(r"step-(\d{9})", path.name)) and int(match[1]) > done:
            shutil.rmtree(path)
