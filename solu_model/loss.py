"""Next-token loss without ever holding all logits.

Legend: N predicted tokens, D d_model, V d_vocab, C a chunk of tokens.

`torch.nn.functional.linear_cross_entropy` does the same and was tried first (PyTorch 2.13, two CPU
cores, N = 8,192, D = 384, V = 8,192, a whole training step): with float32 accumulation it multiplies
in float32, 0.93 s a step; with bfloat16 accumulation 0.52 s, but the loss is rounded to 1/16 nat and
weight gradients are summed in bfloat16. This multiplies in the inputs' dtype and sums in float32, 0.54 s.
"""

from typing import Any

import torch
from torch import Tensor

_CHUNK = 512  # tokens whose logits are held at once: 16 MB of float32 at d_vocab = 8,192


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of x W + b; gradients are computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, W_DV: Tensor, b_V: Tensor, targets_N: Tensor) -> Tensor:
        W_VD = W_DV.t().contiguous()
        dx_ND = torch.empty_like(x_ND)
        dW_DV = torch.zeros(W_DV.shape, dtype=torch.float32, device=x_ND.device)
        db_V = torch.zeros(b_V.shape, dtype=torch.float32, device=x_ND.device)
        total = torch.zeros((), dtype=torch.float64, device=x_ND.device)
        for first in range(0, len(x_ND), _CHUNK):
            x_CD = x_ND[first : first + _CHUNK]
            target_C1 = targets_N[first : first + _CHUNK, None]
            logits_CV = torch.addmm(b_V, x_CD, W_DV).float()
            lse_C1 = torch.logsumexp(logits_CV, -1, keepdim=True)
            total += (lse_C1 - logits_CV.gather(1, target_C1)).sum(dtype=torch.float64)
            p_CV = logits_CV.sub_(lse_C1).exp_()
            p_CV.scatter_add_(1, target_C1, torch.full_like(lse_C1, -1.0))
            g_CV = p_CV.to(x_ND.dtype)
            dx_ND[first : first + _CHUNK] = g_CV @ W_VD
            dW_DV += x_CD.t() @ g_CV
            db_V += g_CV.sum(0, dtype=torch.float32)
        ctx.save_for_backward(dx_ND, dW_DV, db_V)
        ctx.dtypes = (W_DV.dtype, b_V.dtype)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        dx_ND, dW_DV, db_V = ctx.saved_tensors
        (g,) = grads
        W_dtype, b_dtype = ctx.dtypes
        return (dx_ND * g).to(dx_ND.dtype), (dW_DV * g).to(W_dtype), (db_V * g).to(b_dtype), None


def chunked_cross_entropy(x_ND: Tensor, W_DV: Tensor, b_V: Tensor, targets_N: Tensor) -> Tensor:
    """Sum over tokens of -log softmax(x W + b)[target], in nats.

    Args:
        x_ND: `[N, D]` final residual stream after its norm.
        W_DV, b_V: the unembedding, in x's dtype.
        targets_N: `[N]` token ids.

    Returns:
        A float32 scalar. Second derivatives are not supported.
    """
    total: Tensor = _ChunkedCrossEntropy.apply(x_ND, W_DV, b_V, targets_N)
    return total
