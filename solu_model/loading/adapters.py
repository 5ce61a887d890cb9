"""Wrap other causal models as `NeuronModel`: GPT-2, GPT-NeoX (Pythia), Llama, and similar ones.

`adapted_mlps` finds their neurons, `measured_output` measures what those do to the logits;
docs/model_families.md lists the families that were tried. There is no `hook_mid`.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from solu_model.config import SoluConfig
from solu_model.loading.adapted_mlps import AdaptedBlock, MLPMaps, find_blocks
from solu_model.loading.checkpoint_files import CheckpointError, is_transformerlens, shortened
from solu_model.loading.checkpoints import Checkpoint, load_solu, locate, with_tokenizer
from solu_model.loading.devices import AUTOMATIC, checked_device, checked_dtype
from solu_model.loading.measured_output import MeasuredOutput, measure_output
from solu_model.loading.other_models import load_other_model
from solu_model.protocols import Index, NeuronModel, OutputPath, checked_index
from solu_model.taps import Activations, AllTaken, Names, Taps, Visit

_log = logging.getLogger(__name__)

_UNLIMITED_CONTEXT = 2048
"""Longest context of a model that has no limit of its own (ALiBi): the one that BLOOM was trained with."""


@dataclass(frozen=True)
class AdaptedConfig:
    """The sizes of an adapted model; the fields are those of `NeuronModelConfig`."""

    d_model: int
    n_layers: int
    d_mlp: int
    n_ctx: int
    d_vocab: int
    act_fn: str
    bos_token_id: int | None
    model_type: str
    """transformers' name of the architecture."""
    has_mlp_norm: bool = False


class AdaptedModel:
    """A transformers causal language model with the interface of `NeuronModel`; made by `adapt`.

    No weights are copied. Hooks are registered only during a pass, and a hook ignores the passes of other
    threads, so threads can share the model.
    """

    def __init__(self, model: PreTrainedModel, measured: MeasuredOutput) -> None:
        self.model = model
        self.measured = measured
        """The path from the neurons to the logits, as measured when the model was adapted."""
        self._mlps = measured.mlps
        self.config = _sizes(model, measured)

    @property
    def device(self) -> torch.device:
        """Device on which it takes tokens."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.device

    def point_names(self) -> list[str]:
        """Return the names of `hook_pre` and `hook_post` of every block, in the order of the forward pass."""
        return [f"blocks.{i}.mlp.{p}" for i in range(len(self._mlps)) for p in ("hook_pre", "hook_post")]

    @torch.no_grad()
    def run_with_cache(
        self, tokens: Tensor, names: Names = None, *, names_filter: Names = None
    ) -> tuple[Tensor, Activations]:
        """Return logits `[B, T, V]` and activations `[B, T, M]` of one pass; see `SoluForCausalLM`."""
        if names is not None and names_filter is not None:
            raise TypeError("names and names_filter mean the same: give one of them")
        taps = Taps(names if names_filter is None else names_filter, self.point_names())
        self._check_length(tokens)
        with self._tapped(taps, tokens.shape):
            logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits, taps.taken

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
        self._check_length(tokens)
        with self._tapped(taps, tokens.shape), suppress(AllTaken):
            self.model(input_ids=tokens, attention_mask=attention_mask, use_cache=False)
        return taps.taken

    def output_path(self, layer: Index) -> OutputPath:
        """Return the weights between the neurons of `layer` and the logits; see `NeuronModel`.

        Raises:
            IndexError: there is no such layer.
            TypeError: the effect of a neuron does not follow from the weights in this model.
        """
        mlp = self._mlp(layer)
        measured = self.measured
        if measured.final_norm is None:
            raise TypeError(
                f"{type(self.model).__name__} has no logit effects that follow from its weights: "
                f"{measured.refusal}. Its activations and its neurons' weights can be read"
            )
        W_U = self.model.get_output_embeddings().weight.T.detach()
        factor = measured.residual_factors[checked_index(layer, len(self._mlps), "layer")]
        W_out = mlp.W_out if factor == 1 else mlp.W_out * factor
        return OutputPath(
            W_out=W_out.to(W_U.device),
            mlp_norm=None,
            final_norm=measured.final_norm.to(W_U.device, W_U.dtype),
            centres=measured.centres,
            W_U=W_U,
        )

    def input_weights(self, layer: Index) -> Tensor:
        """Return the weights from the residual stream to `hook_pre`, `[D, M]`; see `NeuronModel`."""
        return self._mlp(layer).W_in

    def output_weights(self, layer: Index) -> Tensor:
        """Return the weights that multiply `hook_post`, `[M, D]`; see `NeuronModel`."""
        return self._mlp(layer).W_out

    def _mlp(self, layer: Index) -> MLPMaps:
        return self._mlps[checked_index(layer, len(self._mlps), "layer")]

    def _check_length(self, tokens: Tensor) -> None:
        if tokens.shape[1] > self.config.n_ctx:
            raise ValueError(
                f"a context holds at most n_ctx = {self.config.n_ctx} tokens, got {tokens.shape[1]}: "
                "shorten the text"
            )

    @contextmanager
    def _tapped(self, taps: Taps, shape: torch.Size) -> Iterator[None]:
        """Register hooks for the points that `taps` wants, for this thread, until the block ends.

        `shape` is that of the tokens, `[B, T]`.
        """
        thread = threading.get_ident()
        handles = []
        try:
            for layer, mlp in enumerate(self._mlps):
                pre, post = (f"blocks.{layer}.mlp.{p}" for p in ("hook_pre", "hook_post"))
                if pre in taps.wanted:
                    hook = _output_hook(taps, pre, thread, shape, mlp.pre_of)
                    handles.append(mlp.inward.register_forward_hook(hook))
                if post in taps.wanted:
                    handles.append(
                        mlp.outward.register_forward_pre_hook(_input_hook(taps, post, thread, shape))
                    )
            yield
        finally:
            for handle in handles:
                handle.remove()


def adapt(model: PreTrainedModel) -> AdaptedModel:
    """Wrap a transformers causal language model as a `NeuronModel`, in evaluation mode.

    The model runs once on a few tokens, to measure what its neurons do to its logits. Where that does not
    follow from the weights, `output_path` is refused; everything else can be used.

    Args:
        model: a model with one MLP per block, plain or gated, whose linear maps have one of the known names.

    Raises:
        ValueError: the model has no such MLPs (a mixture of experts, an encoder, ...), or no unembedding. The
            message lists the names that are known.
    """
    blocks = checked_blocks(model)
    model.eval()
    return AdaptedModel(model, measure_output(model, blocks))


def checked_blocks(model: PreTrainedModel) -> Sequence[AdaptedBlock]:
    """Return the blocks of a model that can be adapted; it may be on the meta device.

    Raises:
        ValueError: as in `adapt`.
    """
    blocks = find_blocks(model)
    if model.get_output_embeddings() is None:
        raise ValueError(f"{type(model).__name__} has no unembedding: expected a causal language model")
    return blocks


def load_neuron_model(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    tokens: int | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = torch.float32,
) -> tuple[NeuronModel, PreTrainedTokenizerFast]:
    """Load any checkpoint whose neurons can be cached: ours, TransformerLens's, or another causal model.

    It loads all that `load_checkpoint` loads, and folders of other causal models that transformers can read.
    No code from a checkpoint is run. The weights are read into memory of their own, so the files may be
    replaced while the model is in use.

    Args:
        path: a folder, a weights file in one, or a hub name, as in `load_checkpoint`.
        tokenizer: a tokenizer in place of the checkpoint's own.
        tokens: load the training checkpoint taken after this many tokens (TransformerLens's format).
        device: `cpu`, `cuda`, `cuda:1` ...; or `auto`, to divide another causal model between all devices of
            this machine (needs the package accelerate).
        dtype: `float32`, `bfloat16` or `float16`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: as in `load_checkpoint`; its MLPs are not of a known kind; there is no such device or
            dtype.
    """
    model, found = load_any_model(path, tokens=tokens, device=device, dtype=dtype)
    return model, with_tokenizer(model, found, tokenizer, path)


def load_any_model(
    path: str | Path,
    *,
    tokens: int | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = torch.float32,
) -> tuple[NeuronModel, Checkpoint]:
    """Load a model without a tokenizer. Arguments and errors as in `load_neuron_model`."""
    wanted = checked_dtype(dtype)
    automatic = device == AUTOMATIC
    place = torch.device("cpu") if automatic else checked_device(device)
    found = locate(path, tokens)
    model_type = found.fields.get("model_type")
    if is_transformerlens(found.fields) or model_type == SoluConfig.model_type:
        if automatic:
            raise CheckpointError(
                "device 'auto' divides other causal models between devices: give cpu or cuda for this one"
            )
        solu = load_solu(found)
        torch.nn.Module.to(solu, device=place, dtype=wanted)
        return solu, found
    model = load_other_model(
        found, dtype=wanted, device=AUTOMATIC if automatic else place, check=checked_blocks
    )
    try:
        return adapt(model), found
    except Exception as error:  # of any kind: the model's own code has run
        reason = shortened(error) or type(error).__name__
        raise CheckpointError(f"{found.folder} cannot be adapted: {reason}") from error


def _sizes(model: PreTrainedModel, measured: MeasuredOutput) -> AdaptedConfig:
    d_mlp, d_model = measured.mlps[0].W_out.shape
    config = model.config
    n_ctx = getattr(config, "max_position_embeddings", None)
    if not isinstance(n_ctx, int):
        n_ctx = next(
            (v for n in ("max_seq_len", "seq_length") if isinstance(v := getattr(config, n, None), int)),
            _UNLIMITED_CONTEXT,
        )
        _log.info("%s has no longest context of its own: contexts have %d tokens", config.model_type, n_ctx)
    return AdaptedConfig(
        d_model=d_model,
        n_layers=len(measured.mlps),
        d_mlp=d_mlp,
        n_ctx=n_ctx,
        d_vocab=model.get_output_embeddings().weight.shape[0],
        act_fn=measured.act_fn,
        bos_token_id=getattr(config, "bos_token_id", None),
        model_type=config.model_type,
    )


def _output_hook(
    taps: Taps, name: str, thread: int, shape: torch.Size, part_of: Callable[[Tensor], Tensor]
) -> Callable[..., None]:
    def take(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == thread:
            taps.take(name, part_of(output).unflatten(0, shape) if output.ndim == 2 else part_of(output))

    return take


def _input_hook(taps: Taps, name: str, thread: int, shape: torch.Size) -> Callable[..., None]:
    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            taps.take(name, inputs[0].unflatten(0, shape) if inputs[0].ndim == 2 else inputs[0])

    return take
