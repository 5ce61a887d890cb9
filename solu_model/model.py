"""The transformer: `SoluForCausalLM`, pre-norm, learned positions, untied unembedding.

Parameters carry TransformerLens's names and shapes, so `blocks.0.mlp.W_out[7]` is what neuron 7 of
layer 0 writes to the residual stream. Legend: B batch, T position, D d_model, H n_heads, K d_head,
M d_mlp, V d_vocab.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from solu_model.activation import (
    blocked_layer_norm,
    exp_ln,
    gelu,
    layer_norm,
    rms_norm,
    solu,
    solu_ln,
)
from solu_model.config import SoluConfig
from solu_model.loss import chunked_cross_entropy
from solu_model.neuron_model import OutputPath
from solu_model.taps import AllTaken, Taps, Visit, point_names


class LayerNorm(nn.Module):
    """LayerNorm over the last dimension, with TransformerLens's `w` and `b`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.w, self.b, self.eps)


class BlockedLayerNorm(LayerNorm):
    """The MLP's extra LayerNorm: each of `n_blocks` blocks of neurons has its own mean and variance."""

    def __init__(self, width: int, eps: float, n_blocks: int) -> None:
        super().__init__(width, eps)
        self.n_blocks = n_blocks

    def forward(self, x: Tensor) -> Tensor:
        return blocked_layer_norm(x, self.w, self.b, self.eps, self.n_blocks)


class RMSNorm(nn.Module):
    """x / rms(x) * w over the last dimension: the final norm where `final_rms`."""

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
        self.W_Q = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.W_K = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.W_V = nn.Parameter(torch.empty(n_heads, d_model, d_head))
        self.b_Q = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_K = nn.Parameter(torch.zeros(n_heads, d_head))
        self.b_V = nn.Parameter(torch.zeros(n_heads, d_head))
        self.W_O = nn.Parameter(torch.empty(n_heads, d_head, d_model))
        self.b_O = nn.Parameter(torch.zeros(d_model))

    def forward(self, x_BTD: Tensor, mask: Tensor | None, past: Cache | None) -> Tensor:
        B, T, _ = x_BTD.shape
        H, D, K = self.W_Q.shape
        # One product for q, k and v: [3H, D, K] -> [D, 3HK].
        W_DN = torch.cat([self.W_Q, self.W_K, self.W_V]).transpose(0, 1).reshape(D, 3 * H * K)
        b_N = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()
        qkv_BTN = F.linear(x_BTD, W_DN.T, b_N)
        q_BHTK, k_BHTK, v_BHTK = qkv_BTN.view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        if past is not None:
            k_BHTK, v_BHTK = past.update(k_BHTK, v_BHTK, self.layer)
        z_BHTK = F.scaled_dot_product_attention(
            q_BHTK, k_BHTK, v_BHTK, attn_mask=mask, is_causal=mask is None and T > 1
        )
        z_BTN = z_BHTK.transpose(1, 2).reshape(B, T, H * K)
        return F.linear(z_BTN, self.W_O.reshape(H * K, D).T, self.b_O)


class MLP(nn.Module):
    """W_in, activation (with or without the extra LayerNorm), W_out."""

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
        want_mid = taps is not None and self.prefix + "hook_mid" in taps.wanted
        norm = None if self.ln is None else (self.ln.w, self.ln.b)
        mid_BTM, post_BTM = self.activate(pre_BTM, norm, want_mid=want_mid)
        if taps is not None:
            taps.take(self.prefix + "hook_pre", pre_BTM)
            if mid_BTM is not None:
                taps.take(self.prefix + "hook_mid", mid_BTM)
            taps.take(self.prefix + "hook_post", post_BTM)
        return F.linear(post_BTM, self.W_out.T, self.b_out)

    def activate(
        self, pre_BTM: Tensor, norm: tuple[Tensor, Tensor] | None, *, want_mid: bool = False
    ) -> tuple[Tensor | None, Tensor]:
        """`hook_mid`, None where there is none or the fused norm need not write it, and `hook_post`.

        Args:
            pre_BTM: of `n_blocks` whole blocks of neurons.
            norm: weight and bias of the extra LayerNorm for those neurons, where the model has one.
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


class Block(nn.Module):
    """Attention, then MLP, each reading a LayerNorm of the residual stream and adding to it."""

    def __init__(self, config: SoluConfig, layer: int) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.attn = Attention(config, layer)
        self.ln2 = LayerNorm(config.d_model, config.layer_norm_eps)
        self.mlp = MLP(config, layer)
        self.prefix = f"blocks.{layer}."

    def forward(self, x_BTD: Tensor, mask: Tensor | None, past: Cache | None, taps: Taps | None) -> Tensor:
        attn_BTD = self.attn(self.ln1(x_BTD), mask, past)
        mid_BTD = x_BTD + attn_BTD
        if taps is not None:
            taps.take(self.prefix + "hook_resid_pre", x_BTD)
            taps.take(self.prefix + "hook_attn_out", attn_BTD)
            taps.take(self.prefix + "hook_resid_mid", mid_BTD)
        mlp_BTD = self.mlp(self.ln2(mid_BTD), taps)
        out_BTD = mid_BTD + mlp_BTD
        if taps is not None:
            taps.take(self.prefix + "hook_mlp_out", mlp_BTD)
            taps.take(self.prefix + "hook_resid_post", out_BTD)
        return cast(Tensor, out_BTD)


class Unembed(nn.Module):
    """Residual stream to logits, `W_U [D, V]` and `b_U [V]`."""

    def __init__(self, config: SoluConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(config.d_model, config.d_vocab))
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.W_U.T, self.b_U)


class SoluForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model whose MLP neurons are SoLU (or, as a baseline, GELU) units."""

    config_class = SoluConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _no_split_modules = ["Block"]

    def __init__(self, config: SoluConfig) -> None:
        super().__init__(config)
        self.embed = Embed(config)
        self.pos_embed = PosEmbed(config)
        self.blocks = nn.ModuleList([Block(config, i) for i in range(config.n_layers)])
        final_norm = RMSNorm if config.final_rms else LayerNorm
        self.ln_final = final_norm(config.d_model, config.layer_norm_eps)
        self.unembed = Unembed(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal matrices, zero biases; what writes to the residual stream starts smaller."""
        std = self.config.initializer_range
        to_residual = std / (2 * self.config.n_layers) ** 0.5
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("W_O", "W_out"):
                nn.init.normal_(parameter, std=to_residual)
            elif name.startswith("W_"):
                nn.init.normal_(parameter, std=std)
            else:
                nn.init.constant_(parameter, float(name == "w"))

    def point_names(self) -> list[str]:
        """The names `run_with_cache` takes, in the order of the forward pass."""
        return point_names(self.config.n_layers, has_mid=self.config.has_mlp_norm)

    def output_path(self, layer: int) -> OutputPath:
        """The weights between the neurons of `layer` and the logits."""
        mlp = cast(Block, self.blocks[layer]).mlp
        return OutputPath(
            W_out=mlp.W_out.detach(),
            mlp_norm=None if mlp.ln is None else mlp.ln.w.detach(),
            final_norm=self.ln_final.w.detach(),
            centres=not self.config.final_rms,
            W_U=self.unembed.W_U.detach(),
        )

    def input_weights(self, layer: int) -> Tensor:
        """W_in of `layer`, `[D, M]`."""
        return cast(Block, self.blocks[layer]).mlp.W_in.detach()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        taps: Taps | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits for the next token at every position, and the loss where labels are given.

        Args:
            input_ids: `[B, T]` token ids, BOS first.
            attention_mask: `[B, past + T]`, 0 at padding.
            position_ids: `[B, T]`; by default counted from the first token that is not padding.
            cache: keys and values of the tokens before these (generation).
            labels: `[B, T]` ids to predict, unshifted (usually `input_ids`); -100 is left out.
            use_cache: return `cache`.
            logits_to_keep: compute logits for the last so many positions only; 0 is all.
            taps: activations to keep on the way, see `run_with_cache`.
            **kwargs: `num_items_in_batch` of transformers' Trainer; others are ignored.

        Returns:
            `logits [B, T, V]` (None in training mode with labels, where the loss is computed in
            chunks and the logits are never held), `loss` in nats a predicted token.

        Raises:
            ValueError: the tokens reach beyond `n_ctx`.
        """
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        n_past = int(cache.get_seq_length()) if cache is not None else 0
        n_total = n_past + input_ids.shape[1]
        if n_total > self.config.n_ctx:
            raise ValueError(
                f"a context holds at most n_ctx = {self.config.n_ctx} tokens, got {n_total}: shorten the text"
            )
        padded = attention_mask is not None and not bool(attention_mask.all())
        if position_ids is None:
            if padded:
                position_ids = (cast(Tensor, attention_mask).cumsum(-1) - 1).clamp_min(0)[:, n_past:]
            else:
                position_ids = torch.arange(n_past, n_total, device=input_ids.device).expand_as(input_ids)
        mask = _attention_mask(attention_mask if padded else None, input_ids, n_past)

        x_BTD = self.embed(input_ids)
        pos_BTD = self.pos_embed(position_ids)
        if taps is not None:
            taps.take("hook_embed", x_BTD)
            taps.take("hook_pos_embed", pos_BTD)
        x_BTD = x_BTD + pos_BTD
        for block in self.blocks:
            x_BTD = block(x_BTD, mask, cache, taps)
        x_BTD = self.ln_final(x_BTD)

        loss, logits = None, None
        if labels is not None and self.training:
            loss = self._chunked_loss(x_BTD, labels, kwargs.get("num_items_in_batch"))
        else:
            logits = self.unembed(x_BTD[:, -logits_to_keep:] if logits_to_keep else x_BTD)
            if labels is not None:
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=cast(Any, loss), logits=cast(Any, logits), cache=cache)

    def _chunked_loss(self, x_BTD: Tensor, labels_BT: Tensor, n_items: Tensor | int | None) -> Tensor:
        """Mean next-token loss, a chunk of logits at a time."""
        device = x_BTD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BTD.dtype
        targets_N = labels_BT[:, 1:].flatten()
        kept = targets_N != -100
        x_ND = x_BTD[:, :-1].flatten(0, 1).to(dtype)
        if not bool(kept.all()):
            x_ND, targets_N = x_ND[kept], targets_N[kept]
        total = chunked_cross_entropy(x_ND, self.unembed.W_U.to(dtype), self.unembed.b_U.to(dtype), targets_N)
        return total / (n_items if n_items is not None else max(len(targets_N), 1))

    @torch.no_grad()
    def run_with_cache(self, tokens: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and activations of one forward pass.

        Args:
            tokens: `[B, T]` token ids, BOS first.
            names: points as listed by `point_names()`, e.g. `blocks.0.mlp.hook_mid`.

        Returns:
            Logits `[B, T, d_vocab]` and the activations by name, `[B, T, d_mlp]` for `hook_pre`,
            `hook_mid` and `hook_post`. Leaves no hook behind; threads may share the model.

        Raises:
            ValueError: a name the model does not have, or tokens beyond `n_ctx`.
        """
        taps = Taps(names, self.point_names())
        out = self(input_ids=tokens, taps=taps, use_cache=False)
        return out.logits, taps.taken

    @torch.no_grad()
    def activations(
        self,
        tokens: Tensor,
        names: Iterable[str],
        attention_mask: Tensor | None = None,
        *,
        visit: Visit | None = None,
    ) -> dict[str, Tensor]:
        """Activations alone: the pass ends at the last point asked for; see `NeuronModel`."""
        taps = Taps(names, self.point_names(), stop_early=True, visit=visit)
        with suppress(AllTaken):
            self(input_ids=tokens, attention_mask=attention_mask, taps=taps, use_cache=False)
        return taps.taken


def _attention_mask(attention_mask: Tensor | None, input_ids: Tensor, n_past: int) -> Tensor | None:
    """What may attend to what, `[B, 1, T, past + T]` boolean; None where plain causal order says it all."""
    T = input_ids.shape[1]
    if attention_mask is None and (n_past == 0 or T == 1):
        return None
    causal_TS = torch.ones(T, n_past + T, dtype=torch.bool, device=input_ids.device).tril(n_past)
    if attention_mask is None:
        return causal_TS[None, None]
    mask_BTS = causal_TS & attention_mask[:, None].bool()
    # A padding row attends to itself: a row with nothing to attend to would be NaN.
    mask_BTS = mask_BTS | torch.eye(T, n_past + T, dtype=torch.bool, device=input_ids.device).roll(n_past, -1)
    return mask_BTS[:, None]


AutoConfig.register("solu", SoluConfig)
AutoModelForCausalLM.register(SoluConfig, SoluForCausalLM)
