"""What a run is: hyper-parameters, the models that come with them, and what can stop it."""

from dataclasses import dataclass

import torch

from solu_model.config import ActFn, SoluConfig


class TrainingError(RuntimeError):
    """A run that cannot start or go on, with what to do. What was saved stays."""


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a run; the model's shape is in its `SoluConfig`."""

    n_tokens: int
    """Tokens to train on, counted with the BOS of each row."""
    batch_tokens: int = 8192
    """Tokens a step, of all processes together."""
    learning_rate: float = 3e-3
    """Peak; linear warm-up, then linear to zero."""
    warmup_steps: int = 200
    weight_decay: float = 0.05
    """On the matrices (W_*) alone."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = 1.0
    tokenizer_sample: float = 0.06
    """Share of the documents that the tokenizer learns from; more where that is under 20 MB."""
    seed: int = 0
    bf16: bool = True
    """Matrix products in bf16, weights and optimizer in float32; see `multiplies_bf16`."""
    compile: bool = False
    """torch.compile; needs a C++ compiler."""
    log_every: int = 20
    save_every: int = 240
    """Steps between checkpoints: a multiple of `log_every`, so that a resumed run logs the same means."""

    def __post_init__(self) -> None:
        if self.log_every and self.save_every % self.log_every:
            raise TrainingError(
                f"save_every must be a multiple of log_every = {self.log_every}, got {self.save_every}"
            )

    def n_steps(self) -> int:
        """Optimizer steps in the run."""
        return max(1, self.n_tokens // self.batch_tokens)

    def learning_rate_at(self, step: int) -> float:
        """The rate of step `step`, from 0: 0 at first, the peak after the warm-up, 0 after the last step."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        left = (self.n_steps() - step) / max(1, self.n_steps() - self.warmup_steps)
        return self.learning_rate * max(0.0, left)


def multiplies_bf16() -> bool:
    """Whether this machine has instructions for products of bf16 matrices.

    Without them they are emulated, many times slower than in float32 (docs/log.md).
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _two_layers(act_fn: ActFn) -> SoluConfig:
    """Half as wide as one layer's: of the two, the embeddings are most of the size."""
    return SoluConfig(n_layers=2, d_model=192, n_heads=3, d_mlp=768, act_fn=act_fn)


PRESETS: dict[str, tuple[SoluConfig, Recipe]] = {
    "solu-1l": (SoluConfig(), Recipe(n_tokens=60_000_000)),
    "gelu-1l": (SoluConfig(act_fn="gelu"), Recipe(n_tokens=60_000_000)),
    "gelu-ln-1l": (SoluConfig(act_fn="gelu_ln"), Recipe(n_tokens=60_000_000)),
    "solu-plain-1l": (SoluConfig(act_fn="solu"), Recipe(n_tokens=60_000_000)),
    "solu-2l": (_two_layers("solu_ln"), Recipe(n_tokens=60_000_000)),
    "gelu-2l": (_two_layers("gelu"), Recipe(n_tokens=60_000_000)),
}
