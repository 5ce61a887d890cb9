"""Find the MLPs of another causal model, and measure what its neurons compute.

A model is recognised by the modules of its blocks, not by its name. A plain MLP computes
`hook_pre = x W_in + b_in` and `hook_post = act(hook_pre)`; a gated one, in TransformerLens's terms,
`hook_pre = x W_gate` and `hook_post = act(hook_pre) * (x W_in)`. In both, W_out multiplies `hook_post`.
Legend: B batch, T position, D d_model, M d_mlp.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

# Names, in a block's MLP, of the linear map that computes hook_pre, of the one that reads hook_post, and of
# the one whose output multiplies the activation ("" in a plain MLP).
_NAMES = (
    ("c_fc", "c_proj", ""),  # GPT-2, GPTBigCode, GPT-Neo, Starcoder2
    ("dense_h_to_4h", "dense_4h_to_h", ""),  # GPT-NeoX, BLOOM, Falcon, Persimmon
    ("gate_proj", "down_proj", "up_proj"),  # Llama, Mistral, Qwen, Gemma, OLMo: gated
    ("gate_up_proj", "down_proj", "gate_up_proj"),  # Phi-3, GLM: gated, both maps in one matrix
    ("fc1", "fc2", ""),  # Phi, OPT
    ("w1", "w2", "w3"),  # LFM2: gated
    ("fc_in", "fc_out", ""),  # GPT-J
    ("up_proj", "down_proj", ""),  # Nemotron, and other plain relatives of Llama
)
_PLACES = ("mlp", "ffn", "feed_forward", "")
"""Names of the MLP in its block; "" where the block holds the maps itself (OPT)."""
_CONFIGURED = ("hidden_activation", "hidden_act", "activation_function", "activation")
"""Fields of configurations that name the activation."""
_ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "relu2", "quick_gelu", "leaky_relu", "sigmoid", "tanh")
"""Activations that are tried where a configuration names none, or another than the model computes."""


@dataclass(frozen=True)
class MLPMaps:
    """The linear maps around a block's neurons."""

    inward: nn.Module
    """The map that computes `hook_pre`."""
    outward: nn.Module
    """The map that reads `hook_post`."""
    factor: nn.Module | None
    """The map whose output multiplies the activation; `inward` itself if one matrix holds both."""
    first_half: bool = True
    """True if the first half of a matrix that holds both computes `hook_pre`."""

    @property
    def is_fused(self) -> bool:
        """True if one matrix computes `hook_pre` and the factor of the activation."""
        return self.factor is self.inward

    def pre_of(self, output: Tensor) -> Tensor:
        """Return `hook_pre` in the output of `inward`."""
        return output.chunk(2, dim=-1)[0 if self.first_half else 1] if self.is_fused else output

    @property
    def W_in(self) -> Tensor:  # noqa: N802 a matrix
        """The weights that compute `hook_pre`, `[D, M]`."""
        return self.pre_of(weight_of(self.inward))

    @property
    def W_out(self) -> Tensor:  # noqa: N802 a matrix
        """The weights that multiply `hook_post`, `[M, D]`."""
        return weight_of(self.outward)


@dataclass(frozen=True)
class AdaptedBlock:
    """A block of another model and its MLP."""

    module: nn.Module
    mlp: MLPMaps


def find_blocks(model: PreTrainedModel) -> list[AdaptedBlock]:
    """Return the blocks of a model, each with one MLP.

    Raises:
        ValueError: the model has no such blocks (a mixture of experts, an encoder, ...).
    """
    n_layers = model.config.num_hidden_layers
    # The blocks are the first module list with as many elements as layers, each with an MLP.
    for modules in (m for m in model.base_model.modules() if isinstance(m, nn.ModuleList)):
        if len(modules) != n_layers:
            continue
        found = [AdaptedBlock(block, maps) for block in modules if (maps := _find_maps(block)) is not None]
        if len(found) == n_layers:
            return found
    looked_for = "; ".join(" and ".join(pair) for *pair, _ in _NAMES)
    raise ValueError(
        f"{type(model).__name__} has no MLP in each of its {n_layers} blocks that could be read: looked for "
        f"a module `mlp` with {looked_for}"
    )


def weight_of(linear: nn.Module) -> Tensor:
    """Return the matrix of a linear map as `[in, out]`: GPT-2's Conv1D stores it so, nn.Linear transposed."""
    weight = linear.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"expected {type(linear).__name__} to have a weight tensor")
    return (weight if type(linear).__name__ == "Conv1D" else weight.T).detach()


def configured_activation(model: PreTrainedModel) -> str:
    """Return the activation that the configuration names; `unknown` if it names none."""
    return next(_configured(model), "unknown")


def activation_of(
    model: PreTrainedModel, maps: MLPMaps, run: Callable[[], object]
) -> tuple[str | None, MLPMaps]:
    """Measure the activation of an MLP: pre-activations of known values are put into it.

    Args:
        model: the model, for the names in its configuration, which are tried first.
        maps: an MLP of it.
        run: a function that runs the MLP.

    Returns:
        transformers' name of the activation that gives the same `hook_post`, None if no known one does; and
        `maps`, with the half of a fused matrix that computes `hook_pre`.
    """
    taken: dict[str, Tensor] = {}

    def give_known_values(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        known = torch.linspace(-6, 6, output.shape[-1], device=output.device)
        if maps.is_fused:  # two different functions of the neuron
            known = torch.cat([known[::2], known.flip(0)[1::2] * 0.7 + 0.3])
        taken["pre"] = known.to(output.dtype).float()
        return known.to(output.dtype).expand_as(output).contiguous()

    def take_factor(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        taken["factor"] = output.detach().float()

    def take_post(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taken["post"] = inputs[0].detach().float()

    handles = [
        maps.inward.register_forward_hook(give_known_values),
        maps.outward.register_forward_pre_hook(take_post),
    ]
    if maps.factor is not None and not maps.is_fused:
        handles.append(maps.factor.register_forward_hook(take_factor))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    pre, factor = taken["pre"], taken.get("factor", torch.ones(()))
    candidates = [(maps, pre, factor)]
    if maps.is_fused:
        first, second = pre.chunk(2)
        candidates = [
            (MLPMaps(maps.inward, maps.outward, maps.factor, first_half=True), first, second),
            (MLPMaps(maps.inward, maps.outward, maps.factor, first_half=False), second, first),
        ]
    # The two forms of GELU differ by up to 4.7e-4.
    tolerance = max(3e-5, 8 * torch.finfo(maps.W_out.dtype).eps)
    for name in dict.fromkeys([*_configured(model), *_ACTIVATIONS]):
        if name not in ACT2FN:
            continue
        for candidate, pre_M, factor_M in candidates:
            expected = ACT2FN[name].to(pre_M.device)(pre_M) * factor_M
            error = (taken["post"] - expected).abs().max()
            if error <= tolerance * 6 * factor_M.abs().max():
                return name, candidate
    return None, maps


def _configured(model: PreTrainedModel) -> Iterator[str]:
    for field in _CONFIGURED:
        if isinstance(name := getattr(model.config, field, None), str):
            yield name


def _find_maps(block: nn.Module) -> MLPMaps | None:
    for place in _PLACES:
        mlp = getattr(block, place, None) if place else block
        for inward, outward, factor in _NAMES:
            names = (inward, outward, factor) if factor else (inward, outward)
            found: list[nn.Module] = [
                module
                for name in names
                if isinstance(module := getattr(mlp, name, None), nn.Module)
                and isinstance(getattr(module, "weight", None), Tensor)
            ]
            if len(found) == len(names):
                return MLPMaps(found[0], found[1], found[2] if factor else None)
    return None
