"""The activations as the paper defines them: short, slow, obvious.

Everything faster is compared with this file. Legend: M d_mlp, `...` any leading dimensions.

SoLU(x) = x * softmax(x), "Softmax Linear Units" (Transformer Circuits, 2022), section 4.2;
LN(SoLU(x)), section 4.3. Low-precision inputs are computed in float32 and rounded once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def solu(x: Tensor, n_blocks: int = 1) -> Tensor:
    """x * softmax(x) over the last dimension, or over each of `n_blocks` equal parts of it (paper 4.4).

    Args:
        x: `[..., M]` pre-activations (`hook_pre`), any floating dtype.
        n_blocks: blocks of neurons; divides M.

    Returns:
        `[..., M]` in x's dtype (`hook_mid`). SoLU(4, 1, 4, 1) is about (2, 0, 2, 0).
    """
    x32 = _at_least_float32(x).unflatten(-1, (n_blocks, -1))
    mid: Tensor = (x32 * torch.softmax(x32, dim=-1)).flatten(-2)
    return mid.to(x.dtype)


def exp_unit(x: Tensor) -> Tensor:
    """x * exp(x): SoLU without its denominator, which a LayerNorm after it takes away (paper 4.3).

    Args:
        x: `[..., M]` pre-activations, any floating dtype. Above 40 the variance of the result overflows
            float32, and a LayerNorm after it gives 0; above 84 the result does, and it gives NaN.

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    return (x32 * torch.exp(x32)).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, the one the published baselines were trained with.

    Args:
        x: `[..., M]` pre-activations, any floating dtype.

    Returns:
        `[..., M]` in x's dtype.
    """
    return F.gelu(x, approximate="tanh")


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimension.

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
    """`layer_norm` with a mean and variance of its own for each of `n_blocks` equal parts of a row.

    Args and result as in `layer_norm`; `weight` and `bias` are `[M]`, an entry a neuron.
    """
    x32 = _at_least_float32(x).unflatten(-1, (n_blocks, -1))
    y = F.layer_norm(x32, x32.shape[-1:], eps=eps).flatten(-2)
    return (y * weight.to(y.dtype) + bias.to(y.dtype)).to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; shapes as in `layer_norm`."""
    x32 = _at_least_float32(x)
    return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps) * weight.to(x32.dtype)).to(x.dtype)


def activation(act_fn: str, x: Tensor, n_blocks: int = 1) -> Tensor:
    """The activation of a `SoluConfig.act_fn` before its LayerNorm, if it has one: pre to mid.

    Args:
        act_fn: `solu_ln`, `solu`, `exp_ln`, `gelu` or `gelu_ln`.
        x: `[..., M]` pre-activations.
        n_blocks: blocks of neurons that share a softmax; without effect on the others.
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
    """LN(x * softmax(x)): `hook_post` of a SoLU model, from `hook_pre`.

    Args:
        x: `[..., M]` pre-activations, any floating dtype.
        weight, bias: `[M]` of the post-activation LayerNorm.
        eps: that LayerNorm's epsilon.
        n_blocks: blocks of neurons with a softmax and a LayerNorm of their own (paper 4.4).

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    return blocked_layer_norm(solu(x32, n_blocks), weight, bias, eps, n_blocks).to(x.dtype)


def exp_ln(x: Tensor, weight: Tensor, bias: Tensor, eps: float, n_blocks: int = 1) -> Tensor:
    """LN(x * exp(x)), equal to `solu_ln` but for eps (paper 4.3).

    Args and result as in `solu_ln`; overflows where exp(x) does.
    """
    x32 = _at_least_float32(x)
    return blocked_layer_norm(exp_unit(x32), weight, bias, eps, n_blocks).to(x.dtype)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
