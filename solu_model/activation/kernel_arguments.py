"""The interface between the registered operation (`op`) and a backend.

Legend: R rows (all leading dimensions together), B blocks of neurons, W neurons a block, M = B W.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class KernelArguments:
    """Arguments of the forward and of the backward kernel. Output tensors are allocated by the caller."""

    x: Tensor
    """`[..., M]` contiguous; float32, bfloat16 or float16."""
    weight: Tensor | None
    """`[M]` of the LayerNorm, contiguous, any floating dtype; None: no LayerNorm."""
    stats: Tensor
    """`[R, B, 4]` float32, written forward and read backward; see `solu_model.activation.cpu.backend`."""
    softmax: bool
    """True: x * softmax(x). False: x * exp(x)."""

    @property
    def n_rows(self) -> int:
        """Number of rows, R."""
        return self.stats.shape[0]

    @property
    def n_blocks(self) -> int:
        """Number of blocks of neurons, B."""
        return self.stats.shape[1]

    @property
    def width(self) -> int:
        """Neurons per block, W."""
        return self.x.shape[-1] // self.n_blocks


@dataclass(frozen=True, kw_only=True)
class ForwardArguments(KernelArguments):
    """Arguments of the forward kernel, which writes out, stats and, if wanted, mid."""

    bias: Tensor | None
    """`[M]` of the LayerNorm, like weight; None: no LayerNorm."""
    eps: float
    """Epsilon of the LayerNorm."""
    out: Tensor
    """Output, like x: the normalised activation, or mid where there is no LayerNorm."""
    mid: Tensor | None
    """Output, like x: the activation before its LayerNorm; None: not wanted."""


@dataclass(frozen=True, kw_only=True)
class BackwardArguments(KernelArguments):
    """Arguments of the backward kernel, which writes the gradient of x."""

    grad_out: Tensor
    """Gradient of out, like x."""
    grad_mid: Tensor | None
    """Gradient of mid, like x; None: mid has no gradient."""
    grad_x: Tensor
    """Output, like x."""


class Backend(Protocol):
    """A module with a forward and a backward pass. It is called only where x has at least one element."""

    def forward(self, args: ForwardArguments) -> None:
        """Write out, stats and mid."""

    def backward(self, args: BackwardArguments) -> Tensor:
        """Write grad_x and return partial gradients of weight and bias.

        Returns:
            float32 `[k, 2, M]` for any k: the sum over k is the gradient of weight and of bias. Undefined
            where there is no LayerNorm.
        """
