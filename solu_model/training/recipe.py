"""Hyper-parameters of a run, the models that come with them, and the error that stops it."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from solu_model.config import ActFn, SoluConfig

Schedule = Literal["linear", "cosine", "wsd"]
OptimizerName = Literal["adamw", "muon"]


_WARMUP_STEPS = 200
_WARMUP_SHARE = 5  # a warm-up takes at most one step in so many, if its length is not given
_LEAST_ROWS = 10

_BOUNDS: dict[str, tuple[int, float]] = {
    "n_tokens": (1, math.inf),
    "batch_tokens": (1, math.inf),
    "accumulate": (1, math.inf),
    "warmup_steps": (0, math.inf),
    "snapshots": (0, 1000),
    "seed": (0, 2**32 - 1),
    "log_every": (1, 100_000),
    "save_every": (1, math.inf),
}
"""Least and largest values of fields of a recipe. The seed is what numpy takes."""


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
    """Tokens in a step, over all processes; a run takes as many whole rows as fit, see `of_whole_rows`."""
    accumulate: int = 1
    """Pieces of a process's rows of a step, run one after the other to save memory."""
    optimizer: OptimizerName = "adamw"
    """`muon` updates the matrices of the blocks with Muon and all else with AdamW, at one learning rate."""
    learning_rate: float = 3e-3
    """Peak of the learning rate, after a linear warm-up from 0."""
    schedule: Schedule = "linear"
    """After the warm-up, `linear` and `cosine` fall to 0 over the rest of the run. `wsd` stays at the peak
    and falls linearly to 0 over the last `decay_share`; a run can be lengthened from before the fall."""
    warmup_steps: int | None = None
    """Steps until the peak; None: 200, or a fifth of a shorter run."""
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
    """Steps between rows of metrics; fewer in a short run, see `log_steps`."""
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
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                upper = f" and at most {most}" if most < math.inf else ""
                raise TrainingError(f"{name} must be at least {least}{upper}, got {value}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(f"learning_rate must be finite and above 0, got {self.learning_rate}")
        if not 0 < self.decay_share <= 1:
            raise TrainingError(f"decay_share must be above 0 and at most 1, got {self.decay_share}")
        if self.held_out_every % self.log_every:
            raise TrainingError(
                f"held_out_every must be a multiple of log_every = {self.log_every}, "
                f"got {self.held_out_every}"
            )

    def n_steps(self) -> int:
        """Return the number of optimizer steps in the run."""
        return max(1, self.n_tokens // self.batch_tokens)

    def of_whole_rows(self, n_ctx: int) -> "Recipe":
        """Return the recipe with the tokens that a step of rows of `n_ctx` tokens holds, at least one row."""
        return replace(self, batch_tokens=max(1, self.batch_tokens // n_ctx) * n_ctx)

    def warmup(self) -> int:
        """Return the number of steps until the learning rate is at its peak."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return min(_WARMUP_STEPS, self.n_steps() // _WARMUP_SHARE)

    def log_steps(self) -> int:
        """Return the number of steps between rows of metrics: a divisor of `log_every`.

        A curve has about `_LEAST_ROWS` rows or more, if the run has as many steps.
        """
        most = max(1, self.n_steps() // _LEAST_ROWS)
        return max(n for n in range(1, self.log_every + 1) if self.log_every % n == 0 and n <= most)

    def decay_from(self) -> int:
        """Return the number of steps before the learning rate falls.

        A `wsd` run can be extended or decayed from any checkpoint up to that step.
        """
        if self.schedule != "wsd":
            return min(self.warmup(), self.n_steps())
        return self.n_steps() - round(self.decay_share * self.n_steps())

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step` (from 0): 0 at first, the peak after the warm-up.

        It falls at the end of a run that is shorter than its warm-up too, from below the peak.
        """
        warmup = self.warmup()
        rising = self.learning_rate * step / warmup if step < warmup else self.learning_rate
        first, last = self.decay_from(), self.n_steps()
        left = min(1.0, max(0.0, (last - step) / max(1, last - first)))
        if self.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return min(rising, self.learning_rate * left)


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
