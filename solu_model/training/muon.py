"""Muon: momentum whose update of a matrix is made orthogonal (Jordan et al., 2024).

The rule is that of `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"` (Liu et al., 2025), so that
AdamW's learning rate and weight decay serve for both. That class takes 2-D parameters only, and always
multiplies in bf16, which processors without such instructions emulate many times slower. Here a 3-D parameter
is a batch of matrices: each head's part of W_Q, W_K, W_V and W_O is a matrix of its own.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""The quintic whose iteration drives singular values to between 0.7 and 1.2, as in `torch.optim.Muon`."""
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon over matrices `[rows, columns]` or batches of them, `[n, rows, columns]`.

    Args:
        params: parameters or groups of them.
        lr: learning rate. A step changes the weights by 0.2 lr (root mean square), about as much as AdamW.
        weight_decay: decoupled, as in AdamW.
        momentum: of the running mean of gradients (Nesterov's form).
        bf16: multiply in bf16, else in float32.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        *,
        bf16: bool,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                weight, gradient, momentum = map(_own, (parameter, parameter.grad, state["momentum_buffer"]))
                momentum.lerp_(gradient, 1 - group["momentum"])
                update = orthogonalise(gradient.lerp(momentum, group["momentum"]).to(self._dtype))
                rate = group["lr"] * 0.2 * math.sqrt(max(weight.shape[-2:]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-rate)


def orthogonalise(x: Tensor) -> Tensor:
    """Replace the singular values of matrices `[rows, columns]` or `[n, rows, columns]` by values near 1.

    Newton-Schulz: each iteration maps a singular value s to a s + b s^3 + c s^5.
    """
    tall = x.shape[-2] > x.shape[-1]
    y = x.mT if tall else x
    y = y / y.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # no singular value above 1
    # One matrix as a batch takes two to three times as long on CPUs.
    multiply_add = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(_ITERATIONS):
        gram = y @ y.mT
        y = multiply_add(y, multiply_add(gram, gram, gram, beta=_B, alpha=_C), y, beta=_A)
    return y.mT if tall else y


def _own(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, which is the whole: Muon is refused where weights are split."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
