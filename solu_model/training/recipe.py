"""Hyper-parameters of a run, the models that come with them, and the error that stops it."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from solu_model.config import ActFn, SoluConfig

Schedule = Literal["linear", "cosine", "wsd"]
OptimizerName = Literal["adamw", "muon"]


class TrainingError(RuntimeError):
    """A run that cannot start or resume. The message says what to do; saved files stay."""


class Stopped(TrainingError):
    """A run that SIGTERM or SIGINT ended, after saving its state."""


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a run; the model's shape is in its `SoluConfig`."""

    n_tokens: int
    """Tokens to train on, counted with the BOS of each row."""
    batch_tokens: int = 8192
    """Tokens in a step, over all processes."""
    accumulate: int = 1
    """Pieces of a process's rows of a step, run one after the other to save memory."""
    optimizer: OptimizerName = "adamw"
    """`muon` updates the matrices of the blocks with Muon and all else with AdamW, at one learning rate."""
    learning_rate: float = 3e-3
    """Peak of the learning rate, after a linear warm-up from 0."""
    schedule: Schedule = "linear"
    """After the warm-up, `linear` and `cosine` fall to 0 over the rest of the run. `wsd` stays at the peak
    and falls linearly to 0 over the last `decay_share`; a run can be lengthened from before the fall."""
    warmup_steps: int = 200
    decay_share: float = 0.2
    """Share of a `wsd` run's steps in which the rate falls."""
    weight_decay: float = 0.05
    """Applied to the matrices (W_*) only."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = 1.0
    tokenizer_sample: float = 0.06
    """Share of the documents that the tokenizer is trained on; more if that is less than 20 MB."""
    seed: int = 0
    bf16: bool = True
    """Matrix products in bf16, weights and optimizer's state in float32; see `multiplies_bf16`."""
    compile: bool = False
    """torch.compile; needs a C++ compiler."""
    log_every: int = 20
    save_every: int = 240
    """Steps between checkpoints."""
    save_minutes: float = 20.0
    """Maximum minutes between checkpoints, for machines that are busy with something else."""
    held_out_every: int = 960
    """Steps between measurements of the held-out loss; a multiple of `log_every`."""
    snapshots: int = 0
    """Number of snapshots per doubling of the tokens, see `snapshots.snapshot_steps`."""

    def __post_init__(self) -> None:
        for name, kind in (("schedule", Schedule), ("optimizer", OptimizerName)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise TrainingError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
        least_values = {"n_tokens": 1, "batch_tokens": 1, "accumulate": 1, "warmup_steps": 0, "snapshots": 0}
        for name, least in least_values.items():
            if (value := getattr(self, name)) < least:
                raise TrainingError(f"{name} must be at least {least}, got {value}")
        if not 0 < self.decay_share <= 1:
            raise TrainingError(f"decay_share must be above 0 and at most 1, got {self.decay_share}")
        if self.log_every and self.held_out_every % self.log_every:
            raise TrainingError(
                f"held_out_every must be a multiple of log_every = {self.log_every}, "
                f"got {self.held_out_every}"
            )

    def n_steps(self) -> int:
        """Return the number of optimizer steps in the run."""
        return max(1, self.n_tokens // self.batch_tokens)

    def decay_from(self) -> int:
        """Return the number of steps before the learning rate falls.

        A `wsd` run can be extended or decayed from any checkpoint up to that step.
        """
        if self.schedule != "wsd":
            return min(self.warmup_steps, self.n_steps())
        return self.n_steps() - round(self.decay_share * self.n_steps())

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step` (from 0): 0 at first, the peak after the warm-up."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        first, last = self.decay_from(), self.n_steps()
        left = min(1.0, max(0.0, (last - step) / max(1, last - first)))
        if self.schedule == "cosine":
            return self.learning_rate * (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * left


def multiplies_bf16() -> bool:
    """Return True if this machine has instructions for products of bf16 matrices.

    Without them they are emulated, many times slower than in float32 (docs/log.md).
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _narrow(n_layers: int, d_model: int, act_fn: ActFn) -> SoluConfig:
    return SoluConfig(
        n_layers=n_layers, d_model=d_model, n_heads=d_model // 64, d_mlp=4 * d_model, act_fn=act_fn
    )


_ONE_LAYER = Recipe(n_tokens=240_000_000, schedule="wsd", optimizer="muon")
_FOUR_LAYERS = Recipe(n_tokens=100_000_000, schedule="wsd", optimizer="muon")
_TWO_LAYERS = Recipe(n_tokens=60_000_000)

PRESETS: dict[str, tuple[SoluConfig, Recipe]] = {
    "solu-1l": (SoluConfig(), _ONE_LAYER),
    "gelu-1l": (SoluConfig(act_fn="gelu"), _ONE_LAYER),
    "gelu-ln-1l": (SoluConfig(act_fn="gelu_ln"), _ONE_LAYER),
    "solu-plain-1l": (SoluConfig(act_fn="solu"), _ONE_LAYER),
    "exp-ln-1l": (SoluConfig(act_fn="exp_ln"), _ONE_LAYER),
    "solu-1l-small": (_narrow(1, 128, "solu_ln"), _ONE_LAYER),
    "solu-4l": (_narrow(4, 256, "solu_ln"), _FOUR_LAYERS),
    "gelu-4l": (_narrow(4, 256, "gelu"), _FOUR_LAYERS),
    "solu-2l": (_narrow(2, 192, "solu_ln"), _TWO_LAYERS),
    "gelu-2l": (_narrow(2, 192, "gelu"), _TWO_LAYERS),
}
