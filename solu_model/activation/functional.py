"""The activations as functions. Each chooses a backend by `op.backend_name` and runs one operation.

Sections in docstrings are those of the paper, "Softmax Linear Units" (Transformer Circuits, 2022).
Legend: M d_mlp, `...` any leading dimensions.
"""

from collections.abc import Callable
from typing import Literal, Protocol, cast, overload

from torch import Tensor

from solu_model.activation import reference
from solu_model.activation.op import backend_name, run_activation


class _WithNorm(Protocol):
    """Type of `solu_ln` and `exp_ln`: one result, or two with `return_mid`."""

    @overload
    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        n_blocks: int = 1,
        return_mid: Literal[False] = False,
        *,
        backend: str | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        n_blocks: int = 1,
        *,
        return_mid: Literal[True],
        backend: str | None = None,
    ) -> tuple[Tensor, Tensor]: ...


def _one_or_two_results(function: Callable[..., Tensor | tuple[Tensor, Tensor]]) -> _WithNorm:
    return cast(_WithNorm, function)


@_one_or_two_results
def solu_ln(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    n_blocks: int = 1,
    return_mid: bool = False,
    *,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Compute LN(x * softmax(x)), with a softmax and a LayerNorm for each block of neurons (paper 4.3, 4.4).

    Args:
        x: `[..., M]` pre-activations (`hook_pre`), any floating dtype.
        weight, bias: `[M]` of the LayerNorm, any floating dtype.
        eps: added to the variance.
        n_blocks: number of equal blocks of neurons; divides M.
        return_mid: also return x * softmax(x), which is otherwise never written to memory.
        backend: see `backend_name`.

    Returns:
        `hook_post`, `[..., M]` in x's dtype, computed in float32 or better and rounded once. With
        `return_mid`, the pair (`hook_post`, `hook_mid`), both `[..., M]` in x's dtype.

    Raises:
        ValueError: x is not floating, n_blocks does not divide M, weight or bias is not `[M]`, or the backend
            does not support x.
    """
    return _with_norm(x, weight, bias, eps, n_blocks, True, return_mid, backend)


@_one_or_two_results
def exp_ln(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    n_blocks: int = 1,
    return_mid: bool = False,
    *,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Compute LN(x * exp(x)), which equals `solu_ln` up to the effect of eps (paper 4.3).

    It overflows where exp(x) does. Arguments, result and errors are as in `solu_ln`; `hook_mid` is x *
    exp(x).
    """
    return _with_norm(x, weight, bias, eps, n_blocks, False, return_mid, backend)


def solu(x: Tensor, n_blocks: int = 1, *, backend: str | None = None) -> Tensor:
    """Compute x * softmax(x) over each of `n_blocks` equal parts of the last dimension (paper 4.2).

    Args:
        x: `[..., M]` pre-activations, any floating dtype.
        n_blocks: number of blocks of neurons; divides M.
        backend: see `backend_name`.

    Returns:
        `[..., M]` in x's dtype. SoLU(4, 1, 4, 1) is about (2, 0, 2, 0).

    Raises:
        ValueError: x is not floating, n_blocks does not divide M, or the backend does not support x.
    """
    return _without_norm(x, n_blocks, True, backend)


def exp_unit(x: Tensor, *, backend: str | None = None) -> Tensor:
    """Compute x * exp(x), `[..., M]` in x's dtype: `exp_ln` without its LayerNorm (paper 4.3)."""
    return _without_norm(x, 1, False, backend)


def _without_norm(x: Tensor, n_blocks: int, softmax: bool, backend: str | None) -> Tensor:
    _check(x, n_blocks)
    name = backend_name(x.device.type, x.dtype, backend)
    if name == "reference":
        return reference.solu(x, n_blocks) if softmax else reference.exp_unit(x)
    out: Tensor = run_activation(x, None, None, 0.0, n_blocks, softmax, False, name)[0]
    return out


def _with_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    n_blocks: int,
    softmax: bool,
    return_mid: bool,
    backend: str | None,
) -> Tensor | tuple[Tensor, Tensor]:
    _check(x, n_blocks)
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} must have one entry for each neuron, [{x.shape[-1]}], got {list(parameter.shape)}"
            )
    name = backend_name(x.device.type, x.dtype, backend)
    # The reference is called directly and not through the operation, so that it keeps second derivatives.
    if name == "reference":
        normed = reference.solu_ln if softmax else reference.exp_ln
        out = normed(x, weight, bias, eps, n_blocks)
        if not return_mid:
            return out
        return out, reference.solu(x, n_blocks) if softmax else reference.exp_unit(x)
    out, mid, _ = run_activation(x, weight, bias, eps, n_blocks, softmax, return_mid, name)
    return (out, mid) if return_mid else out


def _check(x: Tensor, n_blocks: int) -> None:
    if not x.is_floating_point():
        raise ValueError(f"x must have a floating dtype, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] % n_blocks or n_blocks < 1:
        raise ValueError(f"n_blocks must divide the last dimension of x {list(x.shape)}, got {n_blocks}")
