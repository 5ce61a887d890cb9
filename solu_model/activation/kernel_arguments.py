"""What a backend is given: one pass over x, with the memory it writes to.

Legend: R rows (all leading dimensions), B blocks of neurons, W neurons a block, M = B W.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What the forward and the backward pass both read."""

    x: Tensor
    """`[..., M]` contiguous; float32, bfloat16 or float16."""
    weight: Tensor | None
    """`[M]` of the LayerNorm, contiguous, any floating dtype; None: no LayerNorm."""
    stats: Tensor
    """`[R, B, 4]` float32, written forward and read backward; see `solu_model.activation.cpu.backend`."""
    softmax: bool
    """x * softmax(x); otherwise x * exp(x)."""

    @property
    def n_rows(self) -> int:
        return self.stats.shape[0]

    @property
    def n_blocks(self) -> int:
        return self.stats.shape[1]

    @property
    def width(self) -> int:
        return self.x.shape[-1] // self.n_blocks


@dataclass(frozen=True, kw_only=True)
class Forward(Pass):
    """x to out, stats, and mid where wanted."""

    bias: Tensor | None
    """As weight."""
    eps: float
    """Of the LayerNorm."""
    out: Tensor
    """Like x, to be written."""
    mid: Tensor | None
    """Like x, to be written; None: not wanted."""


@dataclass(frozen=True, kw_only=True)
class Backward(Pass):
    """The gradients of out and of mid to that of x."""

    grad_out: Tensor
    """Like x."""
    grad_mid: Tensor | None
    """Like x; None where mid has no gradient."""
    grad_x: Tensor
    """Like x, to be written."""


class Backend(Protocol):
    """A module that computes both passes; x holds at least one value."""

    def forward(self, given: Forward) -> None:
        """Write out, stats and mid."""

    def backward(self, given: Backward) -> Tensor:
        """Write grad_x; return float32 `[k, 2, M]`, whose sum over k is weight's and bias's gradient
        (anything where there is no LayerNorm)."""
