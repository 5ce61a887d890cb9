"""The transformer, `SoluForCausalLM`: pre-norm, learned positions, untied unembedding.

Parameters have TransformerLens's names and shapes: `blocks.0.mlp.W_out[7]` is the vector that neuron 7 of
layer 0 writes to the residual stream. Legend: B batch, T position, D d_model, M d_mlp, V d_vocab, N
predicted tokens.
"""

import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import can_return_tuple

from solu_model.blocks import Block, Embed, LayerNorm, PosEmbed, RMSNorm, Unembed, is_observed
from solu_model.config import SoluConfig
from solu_model.loss import chunked_cross_entropy
from solu_model.model_card import model_card
from solu_model.protocols import Index, OutputPath, checked_index
from solu_model.taps import Activations, AllTaken, Edit, Names, Taps, Visit, point_names


class SoluForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model whose MLP neurons are SoLU units, or GELU units for a baseline.

    It is a transformers model (`from_pretrained`, `generate`) and a `NeuronModel`: `run_with_cache` and
    `activations` return activations by TransformerLens's names.
    """

    config: SoluConfig
    config_class = SoluConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    gradient_checkpointing = False
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

    def output_path(self, layer: Index) -> OutputPath:
        """Return the weights between the neurons of `layer` and the logits; see `NeuronModel`."""
        mlp = self._block(layer).mlp
        return OutputPath(
            W_out=mlp.W_out.detach(),
            mlp_norm=None if mlp.ln is None else mlp.ln.w.detach(),
            final_norm=self.ln_final.w.detach(),
            centres=not self.config.final_rms,
            W_U=self.unembed.W_U.detach(),
        )

    def output_weights(self, layer: Index) -> Tensor:
        """Return W_out of `layer`, `[M, D]`."""
        return self._block(layer).mlp.W_out.detach()

    def input_weights(self, layer: Index) -> Tensor:
        """Return W_in of `layer`, `[D, M]`."""
        return self._block(layer).mlp.W_in.detach()

    def _block(self, layer: Index) -> Block:
        return cast(Block, self.blocks[checked_index(layer, self.config.n_layers, "layer")])

    @can_return_tuple
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_attentions: bool | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        num_items_in_batch: Tensor | int | None = None,
        taps: Taps | None = None,
        **more: Tensor | None,
    ) -> CausalLMOutputWithPast:
        """Compute the logits of the next token at every position, and the loss if labels are given.

        Args:
            input_ids: `[B, T]` token ids, BOS first.
            attention_mask: `[B, past + T]`, 0 at padding; or `[B or 1, 1, T, S]` as in `Attention.forward`.
            position_ids: `[B, T]` or `[1, T]`; by default counted from the first token that is not padding.
                If given without a mask and an earlier cache, a step other than 1 begins another text in the
                same row, whose tokens do not attend to those before, as in transformers' models.
            cache: keys and values of earlier tokens, in generation. transformers called it `past_key_values`
                before 5.24, and that name is accepted until 5.40.
            inputs_embeds: `[B, T, D]` token embeddings in place of `input_ids`.
            labels: `[B, T]` ids to predict, not shifted (usually `input_ids`); -100 is ignored.
            use_cache: return `cache`. By default `config.use_cache`, and not in training mode.
            logits_to_keep: compute logits only for this many last positions, 0 means all; or for the
                positions in a tensor. The loss is always over all labels.
            output_attentions: return the attention patterns, by default `config.output_attentions`.
            output_hidden_states: return the residual stream before every block and, normalised, after the
                last one; or, given indices, only those, None in place of the others. By default
                `config.output_hidden_states`.
            num_items_in_batch: number of predicted tokens in all parts of a batch, by which the loss is
                divided; transformers' Trainer passes it.
            taps: activations to take or edit during the pass, see `run_with_cache`.
            **more: `shift_labels` alone, `[B, T]` ids to predict at each position, in place of `labels`.
                (transformers' Trainer would expect it in every batch if it were a parameter.)

        Returns:
            `logits` `[B, T, V]`, None in training mode with labels: there the loss is computed in chunks, and
            the logits never exist as a whole. `loss` in nats per predicted token. `cache`, `hidden_states`
            (n_layers + 1 of `[B, T, D]`) and `attentions` (n_layers of `[B, H, T, S]`) where asked for.

        Raises:
            TypeError: an argument is unknown.
            ValueError: the tokens, with those in `cache`, exceed `n_ctx`; not exactly one of `input_ids` and
                `inputs_embeds` is given; or `attention_mask` has another shape.
        """
        shift_labels = more.pop("shift_labels", None)
        if more:
            raise TypeError(
                f"SoluForCausalLM.forward() got an unexpected keyword argument {next(iter(more))!r}"
            )
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected either input_ids or inputs_embeds, got both or none of them")
        if use_cache is None:
            use_cache = bool(getattr(self.config, "use_cache", True)) and not self.training
        if use_cache and self.gradient_checkpointing and self.training:
            use_cache = False  # a checkpointed block runs twice, and would add its keys twice
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        x_BTD = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        positions_BT, mask = self._positions_and_mask(x_BTD, attention_mask, position_ids, cache)
        pos_BTD = self.pos_embed(positions_BT)
        if taps is not None:
            x_BTD = taps.take("hook_embed", x_BTD)
            pos_BTD = taps.take("hook_pos_embed", pos_BTD)
        x_BTD = x_BTD + pos_BTD

        if output_attentions is None:
            output_attentions = bool(self.config.output_attentions)
        if output_hidden_states is None:
            output_hidden_states = bool(self.config.output_hidden_states)
        keeps_states = output_hidden_states is not False
        patterns: list[Tensor] | None = [] if output_attentions else None
        states = [x_BTD] if keeps_states else []
        for block in self.blocks:
            x_BTD = block(x_BTD, mask, cache=cache, taps=taps, patterns=patterns)
            if keeps_states:
                states.append(x_BTD)
        x_BTD = self.ln_final(x_BTD)

        loss, logits = None, None
        has_labels = labels is not None or shift_labels is not None
        if has_labels and self.training and not is_observed(self.unembed):
            loss = self._chunked_loss(x_BTD, labels, shift_labels, num_items_in_batch)
        elif has_labels:
            logits = self.unembed(x_BTD)
            loss = _loss(logits, labels, shift_labels, num_items_in_batch)
            logits = _kept(logits, logits_to_keep)
        else:
            logits = self.unembed(_kept(x_BTD, logits_to_keep))
        return CausalLMOutputWithPast(
            loss=cast(Any, loss),
            logits=cast(Any, logits),
            cache=cache if use_cache else None,
            hidden_states=cast(
                Any, _selected([*states[:-1], x_BTD], output_hidden_states) if keeps_states else None
            ),
            attentions=None if patterns is None else cast(Any, tuple(patterns)),
        )

    def _positions_and_mask(
        self,
        x_BTD: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Cache | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the positions of the tokens `[B or 1, T]`, and the mask of `Attention.forward`."""
        T = x_BTD.shape[1]
        n_past = cache.get_seq_length() if cache is not None else 0
        compiling = torch.compiler.is_compiling()
        if (
            not compiling
        ):  # a cache of fixed length counts in a tensor, which a compiler cannot turn into an int
            n_past = int(n_past)
            if n_past + T > self.config.n_ctx:
                raise ValueError(
                    f"a context holds at most n_ctx = {self.config.n_ctx} tokens, got {n_past + T}: "
                    "shorten the text"
                )
        padding = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
        if padding is not None and not compiling:
            if padding.shape[1] != n_past + T:
                raise ValueError(
                    f"attention_mask must have one entry for each of {n_past + T} tokens, those in the cache "
                    f"included, got {list(padding.shape)}"
                )
            # A mask of ones, as `generate` passes it, is dropped: then attention runs a causal kernel.
            if bool(padding.all()):
                attention_mask = padding = None
        given = position_ids
        if position_ids is None and padding is not None:
            # On the left too: positions count from the first token that is not padding.
            position_ids = (padding.long().cumsum(-1) - 1).clamp_min(0)[:, -T:]
        elif position_ids is None:
            position_ids = (torch.arange(T, device=x_BTD.device) + n_past)[None]
        if cache is not None and not cache.is_compileable and not compiling and n_past == 0:
            cache = None  # nothing is in it yet
        growing = cache is None or not cache.is_compileable
        ordered = T == 1 or (cache is None and given is None)
        if attention_mask is None and growing and ordered and self.config._attn_implementation != "eager":
            return position_ids, None
        mask = create_causal_mask(self.config, x_BTD, attention_mask, cache, position_ids=given)
        return position_ids, cast("Tensor | None", mask)

    def _chunked_loss(
        self,
        x_BTD: Tensor,
        labels_BT: Tensor | None,
        shifted_BT: Tensor | None,
        n_items: Tensor | int | None,
    ) -> Tensor:
        """Compute the mean next-token loss with one chunk of logits at a time."""
        # Autocast does not reach into a custom autograd function: cast as it would for a linear layer.
        device = x_BTD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BTD.dtype
        x_BTD, targets_BT = _predictions_and_targets(x_BTD, labels_BT, shifted_BT)
        targets_N = targets_BT.flatten()
        kept = targets_N != -100
        x_ND = x_BTD.flatten(0, 1).to(dtype)
        if not bool(kept.all()):  # indexing copies [N, D], so it is skipped where nothing is ignored
            x_ND, targets_N = x_ND[kept], targets_N[kept]
        total = chunked_cross_entropy(x_ND, self.unembed.W_U.to(dtype), self.unembed.b_U.to(dtype), targets_N)
        return total / (n_items if n_items is not None else max(len(targets_N), 1))

    @torch.no_grad()
    def run_with_cache(
        self, tokens: Tensor, names: Names = None, *, names_filter: Names = None
    ) -> tuple[Tensor, Activations]:
        """Run the model once and return logits and activations.

        No hooks are registered, so threads can share the model.

        Args:
            tokens: `[B, T]` token ids, BOS first.
            names: names from `point_names()`, e.g. `["blocks.0.mlp.hook_mid"]`; one name; a function that is
                true for the wanted names; None for all.
            names_filter: the same under TransformerLens's name.

        Returns:
            Logits `[B, T, V]`, and activations by name: `[B, T, M]` for `hook_pre`, `hook_mid` and
            `hook_post`, `[B, T, D]` for the others. `acts["post", 0]` is `acts["blocks.0.mlp.hook_post"]`.

        Raises:
            TypeError: an argument has another form.
            ValueError: the model has no point of that name, or T exceeds `n_ctx`.
        """
        if names is not None and names_filter is not None:
            raise TypeError("names and names_filter mean the same: give one of them")
        taps = Taps(names if names_filter is None else names_filter, self.point_names())
        out = self(input_ids=_checked_tokens(tokens, self.config.d_vocab), taps=taps, use_cache=False)
        return out.logits, taps.taken

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: Iterable[tuple[Names, Edit]]) -> Tensor:
        """Run the model once with edited activations, and return the logits.

        No hooks are registered, so threads can share the model. Gradients are recorded unless the caller
        turns them off.

            def ablate(acts, hook):
                acts[..., 539] = 0.0

            logits = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.mlp.hook_post", ablate)])

        Args:
            tokens: `[B, T]` token ids, BOS first.
            fwd_hooks: pairs of a name from `point_names()` (or names, or a function that is true for them)
                and a function `(activations, hook)`. It edits the activations in place, or returns others of
                the same shape. `hook.name` and `hook.layer()` say where it is called.

        Returns:
            Logits `[B, T, V]`.

        Raises:
            TypeError: a pair or the result of a function has another form.
            ValueError: the model has no point of that name, or a function returned another shape.
        """
        taps = Taps((), self.point_names(), edits=fwd_hooks)
        logits: Tensor = self(
            input_ids=_checked_tokens(tokens, self.config.d_vocab), taps=taps, use_cache=False
        ).logits
        return logits

    @torch.no_grad()
    def activations(
        self,
        tokens: Tensor,
        names: Names,
        attention_mask: Tensor | None = None,
        *,
        visit: Visit | None = None,
    ) -> dict[str, Tensor]:
        """Return activations without logits: the pass ends at the last wanted point; see `NeuronModel`."""
        taps = Taps(names, self.point_names(), stop_early=True, visit=visit)
        with suppress(AllTaken):
            self(input_ids=tokens, attention_mask=attention_mask, taps=taps, use_cache=False)
        return taps.taken

    @property
    def vocab_size(self) -> int:
        """`config.d_vocab` under the name that it has in transformers' models."""
        return int(self.config.d_vocab)

    def get_input_embeddings(self) -> Embed:
        """Return the token embedding; its `weight` is W_E `[V, D]`."""
        return self.embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Take the weight of `value`, `[V, D]`, as W_E.

        Raises:
            ValueError: it has another shape.
        """
        self.embed.W_E = _parameter(value, self.embed.W_E.shape, "an embedding")

    def get_output_embeddings(self) -> Unembed:
        """Return the unembedding; its `weight` is W_U as `[V, D]`."""
        return self.unembed

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Take the weight of `new_embeddings`, `[V, D]`, as W_U, and its bias, if it has one, as b_U.

        Raises:
            ValueError: the weight has another shape.
        """
        weight = _parameter(new_embeddings, self.unembed.weight.shape, "an unembedding")
        bias = getattr(new_embeddings, "bias", None)
        with torch.no_grad():
            self.unembed.W_U = nn.Parameter(weight.T.contiguous())
            self.unembed.b_U = nn.Parameter(
                torch.zeros_like(self.unembed.b_U) if bias is None else bias.detach().clone()
            )

    @torch.no_grad()
    def resize_token_embeddings(  # type: ignore[override]
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> Embed:
        """Change the size of the vocabulary, in W_E, W_U and b_U.

        Args:
            new_num_tokens: the new `d_vocab`; None: as it is, but padded.
            pad_to_multiple_of: round it up to a multiple of this.
            mean_resizing: a new token begins as the mean of the old ones. False: W_E and W_U begin as at
                initialization, b_U at 0.

        Returns:
            The token embedding.

        Raises:
            ValueError: the size is below 1 or leaves the BOS out, or the multiple is not an integer above 0.
        """
        n_old = self.config.d_vocab
        n_new = n_old if new_num_tokens is None else int(new_num_tokens)
        if pad_to_multiple_of is not None:
            if not isinstance(pad_to_multiple_of, int) or pad_to_multiple_of < 1:
                raise ValueError(f"pad_to_multiple_of must be an integer above 0, got {pad_to_multiple_of}")
            n_new = -(-n_new // pad_to_multiple_of) * pad_to_multiple_of
        least = 1 + (self.config.bos_token_id or 0)
        if n_new < least:
            raise ValueError(
                f"a vocabulary must have at least {least} tokens, the BOS among them, got {n_new}"
            )
        if n_new == n_old:
            return self.embed

        def resized(old: Tensor, dim: int) -> nn.Parameter:
            new = old.narrow(dim, 0, min(n_old, n_new))
            if n_new > n_old:
                begin = (
                    old.mean(dim, keepdim=True) if mean_resizing else torch.zeros_like(old.narrow(dim, 0, 1))
                )
                added = begin.repeat_interleave(n_new - n_old, dim)
                if not mean_resizing and old.ndim == 2:
                    nn.init.normal_(added, std=self.config.initializer_range)
                new = torch.cat([new, added], dim)
            return nn.Parameter(new.contiguous().clone(), requires_grad=old.requires_grad)

        self.embed.W_E = resized(self.embed.W_E, 0)
        self.unembed.W_U = resized(self.unembed.W_U, 1)
        self.unembed.b_U = resized(self.unembed.b_U, 0)
        self.config.d_vocab = n_new
        return self.embed

    def save_pretrained(self, save_directory: str | PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint as transformers does, with a model card (README.md) if the folder has none."""
        super().save_pretrained(save_directory, *args, **kwargs)
        card = Path(save_directory) / "README.md"
        if not card.exists():
            card.write_text(model_card(self.config), encoding="utf-8")

    def _upload_modified_files(self, working_dir: str | PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """Upload the folder of `push_to_hub`, with our model card in place of transformers' empty one."""
        card = Path(working_dir) / "README.md"
        if not card.exists() or _GENERATED_CARD in card.read_text(encoding="utf-8"):
            card.write_text(model_card(self.config), encoding="utf-8")
        return super()._upload_modified_files(working_dir, *args, **kwargs)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # transformers reads the signature
    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)
        for name in ("tokenizer", "assistant_tokenizer"):  # of stop strings; transformers passes them on
            inputs.pop(name, None)
        return inputs

    def _prepare_generated_length(
        self,
        generation_config: Any,
        has_default_max_length: Any,
        has_default_min_length: Any,
        model_input_name: Any,
        input_ids_length: Any,
        inputs_tensor: Any,
    ) -> Any:
        """End generation where the context is full; a prompt that fills it gets one token more."""
        prepared = GenerationMixin._prepare_generated_length(
            cast(Any, self),
            generation_config,
            has_default_max_length,
            has_default_min_length,
            model_input_name,
            input_ids_length,
            inputs_tensor,
        )
        n_new = max(self.config.n_ctx - inputs_tensor.shape[1], 1)
        longest = input_ids_length + n_new
        if prepared.max_length > longest:
            warnings.warn(
                f"generation ends after {n_new} new tokens, where the context of n_ctx = {self.config.n_ctx} "
                f"tokens is full; {prepared.max_length - input_ids_length} were asked for",
                stacklevel=2,
            )
            prepared.max_length = longest
            prepared.min_length = min(prepared.min_length or 0, longest)
        return prepared


_GENERATED_CARD = "This model card has been automatically generated"  # in the card of `push_to_hub`


def _kept(x_BTN: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """Return the last positions, or those in a tensor; all for 0."""
    if isinstance(logits_to_keep, Tensor) and logits_to_keep.ndim:
        return x_BTN[:, logits_to_keep]
    return x_BTN[:, -int(logits_to_keep) :]


def _selected(states: list[Tensor], indices: bool | int | list[int]) -> Any:
    """Return the hidden states of the given indices, None in place of the others; all for True."""
    if indices is True:
        return tuple(states)
    wanted = {range(len(states))[i] for i in ([indices] if isinstance(indices, int) else indices)}
    return tuple(state if i in wanted else None for i, state in enumerate(states))


def _predictions_and_targets(
    x_BTN: Tensor, labels_BT: Tensor | None, shifted_BT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the positions that predict a token, and those tokens."""
    if shifted_BT is not None:
        return x_BTN, shifted_BT.to(x_BTN.device)
    return x_BTN[:, :-1], cast(Tensor, labels_BT)[:, 1:].to(x_BTN.device)


def _loss(
    logits_BTV: Tensor, labels_BT: Tensor | None, shifted_BT: Tensor | None, n_items: Tensor | int | None
) -> Tensor:
    """Compute the mean next-token loss, in nats."""
    logits_BTV, targets_BT = _predictions_and_targets(logits_BTV, labels_BT, shifted_BT)
    logits_NV, targets_N = logits_BTV.flatten(0, 1).float(), targets_BT.flatten()
    if n_items is None:
        return F.cross_entropy(logits_NV, targets_N)
    return F.cross_entropy(logits_NV, targets_N, reduction="sum") / n_items


def _checked_tokens(tokens: Tensor, d_vocab: int) -> Tensor:
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        is_tensor = isinstance(tokens, Tensor)
        shape = f"{list(tokens.shape)} of {tokens.dtype}" if is_tensor else type(tokens).__name__
        raise TypeError(
            f"tokens must be a tensor of ids [batch, position], got {shape}: "
            'tokenizer(text, return_tensors="pt").input_ids'
        )
    if tokens.numel():
        lowest, highest = (int(t) for t in tokens.aminmax())
        if not 0 <= lowest <= highest < d_vocab:  # a GPU would stop the whole process
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"tokens must be 0 to {d_vocab - 1}, the model's vocabulary, got {wrong}")
    return tokens


def _parameter(module: nn.Module, shape: torch.Size, what: str) -> nn.Parameter:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.shape != shape:
        has = list(weight.shape) if isinstance(weight, Tensor) else "none"
        raise ValueError(
            f"expected {what} with a weight of {list(shape)}, got {has}: resize_token_embeddings changes the "
            "size of the vocabulary"
        )
    return weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.detach())


AutoConfig.register("solu", SoluConfig, exist_ok=True)
AutoModelForCausalLM.register(SoluConfig, SoluForCausalLM, exist_ok=True)
