"""Wrap other causal models as `NeuronModel`: GPT-2, GPT-NeoX (Pythia), Llama, and similar ones.

A model is recognised by the modules of its blocks, not by its name. A plain MLP computes
`hook_pre = x W_in + b_in` and `hook_post = act(hook_pre)`; a gated one, in TransformerLens's terms,
`hook_pre = x W_gate` and `hook_post = act(hook_pre) * (x W_in)`. In both, W_out multiplies `hook_post`, and
there is no `hook_mid`.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import CheckpointError, load_tokenizer, load_with_tokenizer
from solu_model.protocols import NeuronModel, OutputPath
from solu_model.taps import AllTaken, Taps, Visit

# Names, in a block's MLP, of the linear map that computes hook_pre and of the one that reads hook_post.
_MLP_MODULES = (
    ("c_fc", "c_proj"),  # GPT-2
    ("dense_h_to_4h", "dense_4h_to_h"),  # GPT-NeoX
    ("gate_proj", "down_proj"),  # Llama, Mistral, Qwen, Gemma, OLMo: gated
    ("fc1", "fc2"),  # Phi
    ("fc_in", "fc_out"),  # GPT-J
    ("up_proj", "down_proj"),  # plain MLPs of Llama's relatives
)
MLPMaps = tuple[nn.Module, nn.Module]
"""The linear maps into and out of a block's neurons."""

_FINAL_NORMS = ("ln_f", "final_layer_norm", "final_layernorm", "norm")


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

    def __init__(self, model: PreTrainedModel, mlps: list[MLPMaps], norm: nn.Module) -> None:
        self.model = model
        self._mlps = mlps
        self._norm = norm
        self.config = _sizes(model, mlps)

    def point_names(self) -> list[str]:
        """Return the names of `hook_pre` and `hook_post` of every block, in the order of the forward pass."""
        return [f"blocks.{i}.mlp.{p}" for i in range(len(self._mlps)) for p in ("hook_pre", "hook_post")]

    @torch.no_grad()
    def run_with_cache(self, tokens: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits `[B, T, V]` and activations `[B, T, M]` of one pass; see `NeuronModel`."""
        taps = Taps(names, self.point_names())
        self._check_length(tokens)
        with self._tapped(taps):
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
        with self._tapped(taps), suppress(AllTaken):
            self.model(input_ids=tokens, attention_mask=attention_mask, use_cache=False)
        return taps.taken

    def output_path(self, layer: int) -> OutputPath:
        """Return the weights between the neurons of `layer` and the logits; see `NeuronModel`.

        Raises:
            TypeError: the final norm has no weight.
        """
        name = type(self._norm).__name__
        weight = self._norm.weight
        if not isinstance(weight, Tensor):
            raise TypeError(
                f"expected the final norm {name} to have a weight: this model has no logit effects"
            )
        if name.startswith("Gemma"):  # Gemma's norm multiplies by 1 + weight
            weight = 1 + weight
        W_U = self.model.get_output_embeddings().weight.T
        return OutputPath(
            W_out=_weight(self._mlps[layer][1]),
            mlp_norm=None,
            final_norm=weight.detach(),
            centres="RMS" not in name,
            W_U=W_U.detach(),
        )

    def input_weights(self, layer: int) -> Tensor:
        """Return the weights from the residual stream to `hook_pre`, `[D, M]`; see `NeuronModel`."""
        return _weight(self._mlps[layer][0])

    def _check_length(self, tokens: Tensor) -> None:
        if tokens.shape[1] > self.config.n_ctx:
            raise ValueError(
                f"a context holds at most n_ctx = {self.config.n_ctx} tokens, got {tokens.shape[1]}: "
                "shorten the text"
            )

    @contextmanager
    def _tapped(self, taps: Taps) -> Iterator[None]:
        """Register hooks for the points that `taps` wants, for this thread, until the block ends."""
        thread = threading.get_ident()
        handles = []
        try:
            for layer, (inward, outward) in enumerate(self._mlps):
                pre, post = (f"blocks.{layer}.mlp.{p}" for p in ("hook_pre", "hook_post"))
                if pre in taps.wanted:
                    handles.append(inward.register_forward_hook(_output_hook(taps, pre, thread)))
                if post in taps.wanted:
                    handles.append(outward.register_forward_pre_hook(_input_hook(taps, post, thread)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def adapt(model: PreTrainedModel) -> AdaptedModel:
    """Wrap a transformers causal language model as a `NeuronModel`, in evaluation mode.

    Args:
        model: a model with one MLP per block, plain or gated, whose linear maps have one of the known names.

    Raises:
        ValueError: the model has no such MLPs (a mixture of experts, an encoder, ...), not exactly one final
            norm, or no unembedding. The message lists the names that are known.
    """
    mlps = _find_mlps(model)
    norms = [m for n, m in model.base_model.named_children() if n in _FINAL_NORMS]
    if len(norms) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(norms)} final norms: expected 1 called "
            f"{', '.join(_FINAL_NORMS)}"
        )
    if model.get_output_embeddings() is None:
        raise ValueError(f"{type(model).__name__} has no unembedding: expected a causal language model")
    model.eval()
    return AdaptedModel(model, mlps, norms[0])


def load_neuron_model(
    path: str | Path, *, tokenizer: str | Path | None = None
) -> tuple[NeuronModel, PreTrainedTokenizerFast]:
    """Load any checkpoint whose neurons can be cached: ours, TransformerLens's, or another causal model.

    Args:
        path: a path or hub name as in `load_checkpoint`, or a local folder of another causal model that
            transformers can read, with safetensors weights.
        tokenizer: a tokenizer in place of the checkpoint's own.

    Returns:
        The model, in evaluation mode and float32, and its tokenizer.

    Raises:
        CheckpointError: as in `load_checkpoint`; the folder cannot be read; its MLPs are not of a known kind.
    """
    folder = Path(path)
    model_type = _model_type(folder / "config.json")
    if model_type is None or model_type == SoluConfig.model_type:
        return load_with_tokenizer(path, tokenizer=tokenizer)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        adapted = adapt(model)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder} holds a model of type {model_type!r} that cannot be read: {reason}"
        ) from error
    return adapted, load_tokenizer(tokenizer or folder)


def _model_type(file: Path) -> str | None:
    """Return the `model_type` that transformers writes to config.json; None without one."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    model_type = fields.get("model_type") if isinstance(fields, dict) else None
    return model_type if isinstance(model_type, str) else None


def _find_mlps(model: PreTrainedModel) -> list[MLPMaps]:
    n_layers = model.config.num_hidden_layers
    # The blocks are the first module list with as many elements as layers, each with an MLP.
    for blocks in (m for m in model.base_model.modules() if isinstance(m, nn.ModuleList)):
        if len(blocks) != n_layers:
            continue
        mlps = [pair for pair in map(_find_mlp, blocks) if pair is not None]
        if len(mlps) == n_layers:
            return mlps
    looked_for = "; ".join(" and ".join(pair) for pair in _MLP_MODULES)
    raise ValueError(
        f"{type(model).__name__} has no MLP in each of its {n_layers} blocks that could be read: looked for "
        f"a module `mlp` with {looked_for}"
    )


def _find_mlp(block: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    mlp = getattr(block, "mlp", None)
    for inward, outward in _MLP_MODULES:
        pair = getattr(mlp, inward, None), getattr(mlp, outward, None)
        if isinstance(pair[0], nn.Module) and isinstance(pair[1], nn.Module):
            return pair[0], pair[1]
    return None


def _sizes(model: PreTrainedModel, mlps: list[MLPMaps]) -> AdaptedConfig:
    d_mlp, d_model = _weight(mlps[0][1]).shape
    config = model.config
    act_fn = getattr(config, "hidden_act", None) or getattr(config, "activation_function", None) or "unknown"
    return AdaptedConfig(
        d_model=d_model,
        n_layers=len(mlps),
        d_mlp=d_mlp,
        n_ctx=config.max_position_embeddings,
        d_vocab=config.vocab_size,
        act_fn=str(act_fn),
        bos_token_id=config.bos_token_id,
        model_type=config.model_type,
    )


def _weight(linear: nn.Module) -> Tensor:
    """Return the matrix of a linear map as `[in, out]`: GPT-2's Conv1D stores it so, nn.Linear transposed."""
    weight = linear.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"expected {type(linear).__name__} to have a weight tensor")
    transposed = re.search("Conv1D", type(linear).__name__) is None
    return (weight.T if transposed else weight).detach()


def _output_hook(taps: Taps, name: str, thread: int) -> Callable[..., None]:
    def take(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == thread:
            taps.take(name, output)

    return take


def _input_hook(taps: Taps, name: str, thread: int) -> Callable[..., None]:
    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            taps.take(name, inputs[0])

    return take
