"""The activations as the paper defines them: short, slow, obvious.

Everything faster is compared with this file. Legend: M d_mlp, `...` any leading dimensions.

SoLU(x) = x * softmax(x), "Softmax Linear Units" (Transformer Circuits, 2022), section 4.2;
LN(SoLU(x)), section 4.3. Low-precision inputs are computed in float32 and rounded once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def solu(x: Tensor) -> Tensor:
    """x * softmax(x) over the last dimension.

    Args:
        x: `[..., M]` pre-activations (`hook_pre`), any floating dtype.

    Returns:
        `[..., M]` in x's dtype (`hook_mid`). SoLU(4, 1, 4, 1) is about (2, 0, 2, 0).
    """
    x32 = _at_least_float32(x)
    return (x32 * torch.softmax(x32, dim=-1)).to(x.dtype)


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


def solu_ln(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LN(x * softmax(x)): `hook_post` of a SoLU model, from `hook_pre`.

    Args:
        x: `[..., M]` pre-activations, any floating dtype.
        weight, bias: `[M]` of the post-activation LayerNorm.
        eps: that LayerNorm's epsilon.

    Returns:
        `[..., M]` in x's dtype.
    """
    x32 = _at_least_float32(x)
    return layer_norm(solu(x32), weight, bias, eps).to(x.dtype)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
