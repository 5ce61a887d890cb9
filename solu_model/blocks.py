"""The modules of the transformer: norms, embeddings, attention, MLP, block, unembedding.

Parameters have TransformerLens's names and shapes, so its checkpoints load without renaming. Legend: B batch,
T position, D d_model, H n_heads, K d_head, M d_mlp, V d_vocab.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from solu_model.activation import (
    activation,
    blocked_layer_norm,
    exp_ln,
    gelu,
    layer_norm,
    rms_norm,
    solu,
    solu_ln,
)
from solu_model.config import SoluConfig
from solu_model.taps import Taps

_FEW_TOKENS = 256
"""Up to this many tokens in a pass, q, k and v are computed head by head from the weights as they are. Laying
the weights out as one matrix takes as long as multiplying 256 tokens by it, and 20 times as long as one."""


def is_observed(module: nn.Module) -> bool:
    """Return True if a call of the module does more than its class's `forward`.

    Fused arithmetic may replace the call of a module only if nobody sees the difference: no hook of PyTorch
    is registered on it or on all modules, and its `forward` was not replaced (as accelerate and tools that
    trace models do).
    """
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
        or nn.modules.module._has_any_global_hook()
    )


class LayerNorm(nn.Module):
    """LayerNorm over the last dimension, with parameters `w [width]` and `b [width]`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        w, b = self.w, self.b
        if x.dtype == w.dtype == torch.float32:  # the same, without four conversions to float32
            return F.layer_norm(x, w.shape, w, b, self.eps)
        return layer_norm(x, w, b, self.eps)


class BlockedLayerNorm(LayerNorm):
    """The LayerNorm after the activation: each of `n_blocks` blocks of neurons has its own mean and variance.

    Paper 4.3 (the extra LayerNorm) and 4.4 (blocks).
    """

    def __init__(self, width: int, eps: float, n_blocks: int) -> None:
        super().__init__(width, eps)
        self.n_blocks = n_blocks

    def forward(self, x: Tensor) -> Tensor:
        return blocked_layer_norm(x, self.w, self.b, self.eps, self.n_blocks)


class RMSNorm(nn.Module):
    """x / rms(x) * w over the last dimension: the final norm if `final_rms` is true."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.w, self.eps)


class Embed(nn.Module):
    """Token embedding, `W_E [V, D]`."""

    def __init__(self, config: SoluConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.d_vocab, config.d_model))

    @property
    def weight(self) -> nn.Parameter:
        """W_E under the name that it has in transformers' embeddings, `[V, D]`."""
        return self.W_E

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return F.embedding(tokens_BT, self.W_E)


class PosEmbed(nn.Module):
    """Learned position embedding, `W_pos [n_ctx, D]`."""

    def __init__(self, config: SoluConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model))

    def forward(self, positions_BT: Tensor) -> Tensor:
        return F.embedding(positions_BT, self.W_pos)


class Attention(nn.Module):
    """Causal multi-head attention, scale 1/sqrt(d_head)."""

    def __init__(self, config: SoluConfig, layer: int) -> None:
        super().__init__()
        n_heads, d_model, d_head = config.n_heads, config.d_model, config.d_head
        self.layer = layer
        self.config = config
        self.W_Q = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.W_K = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.W_V = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.b_Q = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_K = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_V = nn.Parameter(torch.zeros(n_heads, d_head))
        self.W_O = nn.Parameter(torch.empty(n_heads, d_head, d_model))
        self.b_O = nn.Parameter(torch.zeros(d_model))

    def forward(
        self, x_BTD: Tensor, mask: Tensor | None, cache: Cache | None, patterns: list[Tensor] | None = None
    ) -> Tensor:
        """Return the attention's output `[B, T, D]`.

        Args:
            x_BTD: the normalised residual stream.
            mask: `[B or 1, 1, T, S]` over S keys, boolean (True attends) or added to the scores; None:
                causal.
            cache: keys and values of earlier tokens; those of x are added to it.
            patterns: a list to which the attention pattern is added, `[B, H, T, S]`.
        """
        B, T, _ = x_BTD.shape
        H, D, K = self.W_Q.shape
        q_BHTK, k_BHTK, v_BHTK = self._queries_keys_values(x_BTD)
        if cache is not None:
            k_BHTK, v_BHTK = cache.update(k_BHTK, v_BHTK, self.layer)
            if mask is None and T > 1:  # a cache of fixed length has room after the first tokens
                k_BHTK, v_BHTK = k_BHTK[:, :, :T], v_BHTK[:, :, :T]
        if patterns is None and self.config._attn_implementation != "eager":
            # A single new token may attend to all earlier ones; `is_causal` would let it see the first alone.
            z_BHTK = F.scaled_dot_product_attention(
                q_BHTK, k_BHTK, v_BHTK, attn_mask=mask, is_causal=mask is None and T > 1
            )
        else:
            z_BHTK, pattern_BHTS = attention_by_definition(q_BHTK, k_BHTK, v_BHTK, mask)
            if patterns is not None:
                patterns.append(pattern_BHTS)
        z_BTN = z_BHTK.transpose(1, 2).reshape(B, T, H * K)
        return F.linear(z_BTN, self.W_O.reshape(H * K, D).T, self.b_O)

    def _queries_keys_values(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v, `[B, H, T, K]` each."""
        B, T, D = x_BTD.shape
        H, _, K = self.W_Q.shape
        if B * T <= _FEW_TOKENS and not self.training:
            x_HND = x_BTD.reshape(1, B * T, D).expand(H, -1, -1)
            pairs = ((self.W_Q, self.b_Q), (self.W_K, self.b_K), (self.W_V, self.b_V))
            heads = [torch.bmm(x_HND, W).add_(b[:, None]) for W, b in pairs]  # baddbmm copies b first
            q_BHTK, k_BHTK, v_BHTK = (x_HNK.view(H, B, T, K).transpose(0, 1) for x_HNK in heads)
            return q_BHTK, k_BHTK, v_BHTK
        # One matrix product for q, k and v is faster than three: [3H, D, K] -> [D, 3HK].
        W_DN = torch.cat([self.W_Q, self.W_K, self.W_V]).transpose(0, 1).reshape(D, 3 * H * K)
        b_N = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()
        qkv_BTN = F.linear(x_BTD, W_DN.T, b_N)
        q_BHTK, k_BHTK, v_BHTK = qkv_BTN.view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        return q_BHTK, k_BHTK, v_BHTK


def attention_by_definition(
    q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute attention with its pattern, softmax(q k^T / sqrt(K)).

    Args:
        q_BHTK, k_BHSK, v_BHSK: queries of T tokens, keys and values of S tokens.
        mask: as in `Attention.forward`.

    Returns:
        z `[B, H, T, K]` and the pattern `[B, H, T, S]`.
    """
    scores_BHTS = q_BHTK @ k_BHSK.mT / q_BHTK.shape[-1] ** 0.5
    if mask is None and q_BHTK.shape[2] > 1:
        mask = torch.ones(scores_BHTS.shape[-2:], dtype=torch.bool, device=scores_BHTS.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask, torch.finfo(scores_BHTS.dtype).min)
    elif mask is not None:
        scores_BHTS = scores_BHTS + mask
    pattern_BHTS = scores_BHTS.softmax(-1, dtype=torch.float32).to(v_BHSK.dtype)
    return pattern_BHTS @ v_BHSK, pattern_BHTS


class MLP(nn.Module):
    """W_in `[D, M]`, the activation with or without its LayerNorm, W_out `[M, D]`."""

    def __init__(self, config: SoluConfig, layer: int) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp))
        self.W_out = nn.Parameter(torch.empty(config.d_mlp, config.d_model))
        self.b_out = nn.Parameter(torch.zeros(config.d_model))
        self.act_fn, self.n_blocks = config.act_fn, config.n_mlp_blocks
        eps = config.layer_norm_eps if config.mlp_layer_norm_eps is None else config.mlp_layer_norm_eps
        self.ln = BlockedLayerNorm(config.d_mlp, eps, self.n_blocks) if config.has_mlp_norm else None
        self.prefix = f"blocks.{layer}.mlp."

    def forward(self, x_BTD: Tensor, taps: Taps | None) -> Tensor:
        pre_BTM = F.linear(x_BTD, self.W_in.T, self.b_in)
        if taps is not None:
            pre_BTM = taps.take(self.prefix + "hook_pre", pre_BTM)
        mid = self.prefix + "hook_mid"
        mid_is_edited = taps is not None and mid in taps.edited
        if self.ln is not None and (
            mid_is_edited or type(self.ln) is not BlockedLayerNorm or is_observed(self.ln)
        ):
            mid_BTM: Tensor | None = activation(self.act_fn, pre_BTM, self.n_blocks)
            if taps is not None:
                mid_BTM = taps.take(mid, cast(Tensor, mid_BTM))
            post_BTM = self.ln(mid_BTM)
        else:
            # The fused kernel writes hook_mid only on request, which saves a tensor of [B, T, M].
            want_mid = taps is not None and mid in taps.wanted
            norm = None if self.ln is None else (self.ln.w, self.ln.b)
            mid_BTM, post_BTM = self.activate(pre_BTM, norm, want_mid=want_mid)
            if taps is not None and mid_BTM is not None:
                taps.take(mid, mid_BTM)
        if taps is not None:
            post_BTM = taps.take(self.prefix + "hook_post", post_BTM)
        return F.linear(post_BTM, self.W_out.T, self.b_out)

    def activate(
        self, pre_BTM: Tensor, norm: tuple[Tensor, Tensor] | None, *, want_mid: bool = False
    ) -> tuple[Tensor | None, Tensor]:
        """Compute `hook_mid` and `hook_post` from `hook_pre`.

        Args:
            pre_BTM: `hook_pre` of `n_blocks` whole blocks of neurons.
            norm: weight and bias of the LayerNorm after the activation, `[M]` each; None if there is none.
            want_mid: compute `hook_mid` even where the fused kernel could leave it out.

        Returns:
            `hook_mid` `[B, T, M]`, or None if the model has none or it was left out; `hook_post` `[B, T, M]`.
        """
        if self.ln is None or norm is None:
            return None, solu(pre_BTM, self.n_blocks) if self.act_fn == "solu" else gelu(pre_BTM)
        w, b = norm
        if self.act_fn == "gelu_ln":
            mid_BTM = gelu(pre_BTM)
            return mid_BTM, blocked_layer_norm(mid_BTM, w, b, self.ln.eps, self.n_blocks)
        fused = exp_ln if self.act_fn == "exp_ln" else solu_ln
        if want_mid:
            post_BTM, mid_BTM = fused(pre_BTM, w, b, self.ln.eps, self.n_blocks, return_mid=True)
            return mid_BTM, post_BTM
        return None, fused(pre_BTM, w, b, self.ln.eps, self.n_blocks)


class Block(GradientCheckpointingLayer):
    """Attention, then MLP. Each reads a LayerNorm of the residual stream and adds its result to it."""

    def __init__(self, config: SoluConfig, layer: int) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.attn = Attention(config, layer)
        self.ln2 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.mlp = MLP(config, layer)
        self.prefix = f"blocks.{layer}."

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        taps: Taps | None = None,
        patterns: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the residual stream after the block, `[B, T, D]`; arguments as in `Attention.forward`."""
        if taps is not None:
            x_BTD = taps.take(self.prefix + "hook_resid_pre", x_BTD)
        attn_BTD = self.attn(self.ln1(x_BTD), mask, cache, patterns)
        if taps is not None:
            attn_BTD = taps.take(self.prefix + "hook_attn_out", attn_BTD)
        mid_BTD = x_BTD + attn_BTD
        if taps is not None:
            mid_BTD = taps.take(self.prefix + "hook_resid_mid", mid_BTD)
        mlp_BTD = self.mlp(self.ln2(mid_BTD), taps)
        if taps is not None:
            mlp_BTD = taps.take(self.prefix + "hook_mlp_out", mlp_BTD)
        out_BTD = mid_BTD + mlp_BTD
        if taps is not None:
            out_BTD = taps.take(self.prefix + "hook_resid_post", out_BTD)
        return cast(Tensor, out_BTD)


class Unembed(nn.Module):
    """The unembedding, from the residual stream to logits: `W_U [D, V]` and `b_U [V]`."""

    def __init__(self, config: SoluConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(config.d_model, config.d_vocab))
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab))

    @property
    def weight(self) -> Tensor:
        """W_U as transformers lays out an unembedding, `[V, D]`; a view."""
        return self.W_U.T

    @property
    def bias(self) -> nn.Parameter:
        """b_U under the name that it has in transformers' unembeddings, `[V]`."""
        return self.b_U

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.W_U.T, self.b_U)
