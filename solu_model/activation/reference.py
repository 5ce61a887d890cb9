"""The definitions of the activations, short and slow. Everything faster is tested against this file.

SoLU(x) = x * softmax(x) is defined in section 4.2 of the paper, "Softmax Linear Units" (Transformer Circuits,
2022), LN(SoLU(x)) in section 4.3. bfloat16 and float16 inputs are computed in float32 and rounded once.
Legend: M d_mlp, `...` any leading dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def solu(x: Tensor, n_blocks: int = 1) -> Tensor:
    """Compute x * softmax(x) over each of `n_blocks` equal parts of the last dimension (paper 4.2, 4.4).

    Args:
        x: `[..., M]` pre-activations (`hook_pre`), any floating dtype.
        n_blocks: number of blocks of neurons; divides M.

    Returns:
        `[..., M]` in x's dtype (`hook_mid`). SoLU(4, 1, 4, 1) is about (2, 0, 2, 0).
    """
    x32 = _at_least_float32(x).unflatten(-1, (n_blocks, -1))
    mid: Tensor = (x32 * torch.softmax(x32, dim=-1)).flatten(-2)
    return mid.to(x.dtype)


def exp_unit(x: Tensor) -> Tensor:
    """Compute x * exp(x): SoLU without its denominator, which a LayerNorm after it cancels (paper 4.3).

    Args:
        x: `[..., M]` pre-activations, any floating dtype. Above 40 the variance of the result overflows
            float32, and a LayerNorm after it gives 0. Above 84 the result itself overflows, and a LayerNorm
            gives NaN.

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    return (x32 * torch.exp(x32)).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    """Compute GELU in its tanh form, with which the published baseline models were trained.

    Args:
        x: `[..., M]` pre-activations, any floating dtype.

    Returns:
        `[..., M]` in x's dtype.
    """
    return F.gelu(x, approximate="tanh")


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Compute (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension.

    Args:
        x: `[..., M]`, any floating dtype.
        weight, bias: `[M]`.
        eps: added to the (biased) variance.

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    y = F.layer_norm(x32, weight.shape, weight.to(x32.dtype), bias.to(x32.dtype), eps)
    return y.to(x.dtype)


def blocked_layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, n_blocks: int) -> Tensor:
    """Compute `layer_norm` separately for each of `n_blocks` equal parts of a row (paper 4.4).

    Arguments and result are as in `layer_norm`; `weight` and `bias` have one entry for each neuron, `[M]`.
    """
    x32 = _at_least_float32(x).unflatten(-1, (n_blocks, -1))
    y = F.layer_norm(x32, x32.shape[-1:], eps=eps).flatten(-2)
    return (y * weight.to(y.dtype) + bias.to(y.dtype)).to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Compute x / sqrt(mean(x^2) + eps) * weight over the last dimension; shapes as in `layer_norm`."""
    x32 = _at_least_float32(x)
    return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps) * weight.to(x32.dtype)).to(x.dtype)


def activation(act_fn: str, x: Tensor, n_blocks: int = 1) -> Tensor:
    """Compute the activation named by `SoluConfig.act_fn`, without the LayerNorm after it.

    Args:
        act_fn: `solu_ln`, `solu`, `exp_ln`, `gelu` or `gelu_ln`.
        x: `[..., M]` pre-activations (`hook_pre`).
        n_blocks: number of blocks of neurons that share a softmax; no effect on GELU and the exponential.

    Returns:
        `[..., M]` in x's dtype: `hook_mid` if the model has a LayerNorm there, else `hook_post`.

    Raises:
        ValueError: `act_fn` is none of these.
    """
    match act_fn:
        case "solu" | "solu_ln":
            return solu(x, n_blocks)
        case "exp_ln":
            return exp_unit(x)
        case "gelu" | "gelu_ln":
            return gelu(x)
    raise ValueError(f"act_fn must be solu_ln, solu, exp_ln, gelu or gelu_ln, got {act_fn!r}")


def solu_ln(x: Tensor, weight: Tensor, bias: Tensor, eps: float, n_blocks: int = 1) -> Tensor:
    """Compute LN(x * softmax(x)): `hook_post` of a SoLU model from `hook_pre` (paper 4.3).

    Args:
        x: `[..., M]` pre-activations, any floating dtype.
        weight, bias: `[M]` of the LayerNorm after the activation.
        eps: epsilon of that LayerNorm.
        n_blocks: number of blocks of neurons, each with its own softmax and LayerNorm (paper 4.4).

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    return blocked_layer_norm(solu(x32, n_blocks), weight, bias, eps, n_blocks).to(x.dtype)


def exp_ln(x: Tensor, weight: Tensor, bias: Tensor, eps: float, n_blocks: int = 1) -> Tensor:
    """Compute LN(x * exp(x)), which equals `solu_ln` up to the effect of eps (paper 4.3).

    It overflows where exp(x) does. Arguments and result are as in `solu_ln`.
    """
    x32 = _at_least_float32(x)
    return blocked_layer_norm(exp_unit(x32), weight, bias, eps, n_blocks).to(x.dtype)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
