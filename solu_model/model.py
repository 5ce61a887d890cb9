"""The transformer, `SoluForCausalLM`: pre-norm, learned positions, untied unembedding.

Parameters have TransformerLens's names and shapes: `blocks.0.mlp.W_out[7]` is the vector that neuron 7 of
layer 0 writes to the residual stream. Legend: B batch, T position, D d_model, M d_mlp, V d_vocab, N
predicted tokens.
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

from solu_model.blocks import Block, Embed, LayerNorm, PosEmbed, RMSNorm, Unembed
from solu_model.config import SoluConfig
from solu_model.loss import chunked_cross_entropy
from solu_model.protocols import OutputPath
from solu_model.taps import AllTaken, Taps, Visit, point_names


class SoluForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model whose MLP neurons are SoLU units, or GELU units for a baseline.

    It is a transformers model (`from_pretrained`, `generate`) and a `NeuronModel`: `run_with_cache` and
    `activations` return activations by TransformerLens's names.
    """

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
        """Draw matrices from a normal distribution and set biases to 0 and norm weights to 1.

        Matrices that write to the residual stream start smaller by sqrt(2 * n_layers), as in GPT-2: that many
        contributions add up in it.
        """
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
        """Return the names of all activations that can be read, in the order of the forward pass."""
        return point_names(self.config.n_layers, has_mid=self.config.has_mlp_norm)

    def output_path(self, layer: int) -> OutputPath:
        """Return the weights between the neurons of `layer` and the logits; see `NeuronModel`."""
        mlp = cast(Block, self.blocks[layer]).mlp
        return OutputPath(
            W_out=mlp.W_out.detach(),
            mlp_norm=None if mlp.ln is None else mlp.ln.w.detach(),
            final_norm=self.ln_final.w.detach(),
            centres=not self.config.final_rms,
            W_U=self.unembed.W_U.detach(),
        )

    def output_weights(self, layer: int) -> Tensor:
        """Return W_out of `layer`, `[M, D]`."""
        return cast(Block, self.blocks[layer]).mlp.W_out.detach()

    def input_weights(self, layer: int) -> Tensor:
        """Return W_in of `layer`, `[D, M]`."""
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
        """Compute the logits of the next token at every position, and the loss if labels are given.

        Args:
            input_ids: `[B, T]` token ids, BOS first.
            attention_mask: `[B, past + T]`, 0 at padding.
            position_ids: `[B, T]`; by default counted from the first token that is not padding.
            cache: keys and values of earlier tokens, in generation.
            labels: `[B, T]` ids to predict, not shifted (usually `input_ids`); -100 is ignored.
            use_cache: return `cache`.
            logits_to_keep: compute logits only for this many last positions; 0 means all.
            taps: activations to take during the pass, see `run_with_cache`.
            **kwargs: `num_items_in_batch` of transformers' Trainer; others are ignored.

        Returns:
            `logits` `[B, T, V]`, None in training mode with labels: there the loss is computed in chunks, and
            the logits never exist as a whole. `loss` in nats per predicted token.

        Raises:
            ValueError: the tokens, with those in `cache`, exceed `n_ctx`.
        """
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        n_past = int(cache.get_seq_length()) if cache is not None else 0
        n_total = n_past + input_ids.shape[1]
        if n_total > self.config.n_ctx:
            raise ValueError(
                f"a context holds at most n_ctx = {self.config.n_ctx} tokens, got {n_total}: shorten the text"
            )
        # A mask of ones, as `generate` passes it, is dropped: without a mask attention runs a causal kernel.
        padded = attention_mask is not None and not bool(attention_mask.all())
        if position_ids is None:
            if padded:  # on the left too: positions count from the first token that is not padding
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
        """Compute the mean next-token loss with one chunk of logits at a time."""
        # Autocast does not reach into a custom autograd function: cast as it would for a linear layer.
        device = x_BTD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BTD.dtype
        targets_N = labels_BT[:, 1:].flatten()
        kept = targets_N != -100
        x_ND = x_BTD[:, :-1].flatten(0, 1).to(dtype)
        if not bool(kept.all()):  # indexing copies [N, D], so it is skipped where nothing is ignored
            x_ND, targets_N = x_ND[kept], targets_N[kept]
        total = chunked_cross_entropy(x_ND, self.unembed.W_U.to(dtype), self.unembed.b_U.to(dtype), targets_N)
        return total / (n_items if n_items is not None else max(len(targets_N), 1))

    @torch.no_grad()
    def run_with_cache(self, tokens: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the model once and return logits and activations.

        No hooks are registered, so threads can share the model.

        Args:
            tokens: `[B, T]` token ids, BOS first.
            names: names from `point_names()`, e.g. `blocks.0.mlp.hook_mid`.

        Returns:
            Logits `[B, T, V]`, and activations by name: `[B, T, M]` for `hook_pre`, `hook_mid` and
            `hook_post`, `[B, T, D]` for the others.

        Raises:
            ValueError: the model has no point of that name, or T exceeds `n_ctx`.
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
        """Return activations without logits: the pass ends at the last wanted point; see `NeuronModel`."""
        taps = Taps(names, self.point_names(), stop_early=True, visit=visit)
        with suppress(AllTaken):
            self(input_ids=tokens, attention_mask=attention_mask, taps=taps, use_cache=False)
        return taps.taken


def _attention_mask(attention_mask: Tensor | None, input_ids: Tensor, n_past: int) -> Tensor | None:
    """Return the attention mask, boolean `[B, 1, T, past + T]`; None where plain causal order is enough."""
    T = input_ids.shape[1]
    if attention_mask is None and (n_past == 0 or T == 1):
        return None
    causal_TS = torch.ones(T, n_past + T, dtype=torch.bool, device=input_ids.device).tril(n_past)
    if attention_mask is None:
        return causal_TS[None, None]
    mask_BTS = causal_TS & attention_mask[:, None].bool()
    # A padding position attends to itself: softmax over an empty row would be NaN.
    mask_BTS = mask_BTS | torch.eye(T, n_past + T, dtype=torch.bool, device=input_ids.device).roll(n_past, -1)
    return mask_BTS[:, None]


AutoConfig.register("solu", SoluConfig)
AutoModelForCausalLM.register(SoluConfig, SoluForCausalLM)
