"""Measure what lies between the neurons of another causal model and its logits.

Names of classes say little about arithmetic: a norm may multiply by 1 + weight, follow the MLP, or have no
weight; logits may be scaled or capped. So the model runs once on a few tokens, with its blocks run twice, and
what `direct_logit_effects` relies on is compared with what the model does:

- the final norm, with known vectors: its weight, and whether it subtracts the mean;
- each block, with one neuron changed: the residual stream must change by a constant times W_out[n], and a
  block must pass the stream on unchanged;
- the logits, with the unembedding's output multiplied: they must follow it in proportion;
- the whole model, with one neuron of the last layer changed: the logits must change by the direct effect.

Legend: T position, D d_model, M d_mlp, V d_vocab.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solu_model.loading.adapted_mlps import (
    AdaptedBlock,
    MLPMaps,
    activation_of,
    configured_activation,
)
from solu_model.loading.checkpoint_files import shortened

_N_TOKENS = 4
# Rows of the batch, which have the same tokens.
_CLEAN, _CHANGED, _SCALED = 0, 1, 2
_N_ROWS = 3
_SMALLER = 1 / 8
"""The smaller of two changes of a neuron, divided by the larger."""
_STREAM_FACTOR = 2.0**20
"""Factor on a block's input. Its MLP and attention read a norm, so they are negligible beside it."""


class NotLinearError(Exception):
    """A part of the model for which a neuron's effect on the logits does not follow from the weights."""


@dataclass(frozen=True)
class MeasuredOutput:
    """The way from a model's neurons to its logits, as measured."""

    act_fn: str
    """transformers' name of the activation."""
    mlps: tuple[MLPMaps, ...]
    """The MLPs, with the half of a fused matrix that computes `hook_pre`."""
    final_norm: Tensor | None = None
    """`[D]`, the final norm's weight times the factor on the logits; None where effects are refused."""
    centres: bool = False
    """True if the final norm subtracts the mean."""
    residual_factors: tuple[float, ...] = ()
    """For each layer, the change of the residual stream divided by W_out."""
    error: float = float("nan")
    """Largest relative difference between a neuron's direct effect and its effect through the model."""
    refusal: str = ""
    """The reason why there are no direct effects; empty if there are."""


@torch.no_grad()
def measure_output(model: PreTrainedModel, blocks: Sequence[AdaptedBlock]) -> MeasuredOutput:
    """Run a model on a few tokens and measure its activation and the way from its neurons to its logits.

    Args:
        model: a causal language model in evaluation mode.
        blocks: its blocks.

    Raises:
        ValueError: one matrix holds both maps of the MLP, and no known activation tells which half is
            `hook_pre`.
    """
    run = _Run(model, blocks)
    run.forward()
    act_fn, mlps = run.activation, tuple(block.mlp for block in blocks)
    if mlps[0].is_fused:
        if act_fn is None:
            raise ValueError(
                f"{type(model).__name__} has both maps of its MLP in one matrix, and none of the known "
                "activations tells which half is which"
            )
        mlps = tuple(MLPMaps(m.inward, m.outward, m.factor, run.first_half) for m in mlps)
    name = act_fn or configured_activation(model)
    try:
        factors = run.residual_factors()
        logit_factor = run.logit_factor()
        weight, bias, centres = _measure_norm(run.final_norm(), run.d_model, run.device)
        error = run.check_whole_model(factors[-1], logit_factor, weight, bias, centres=centres)
    except NotLinearError as error_found:
        return MeasuredOutput(name, mlps, refusal=str(error_found))
    return MeasuredOutput(name, mlps, weight * logit_factor, centres, tuple(factors), error)


@dataclass
class _BlockRun:
    """One block's input and output, and its output when it ran again.

    Then a neuron was changed in row `_CHANGED`, and less in row `_CLEAN`, and the input was multiplied in row
    `_SCALED`.
    """

    before: Tensor
    clean: Tensor
    again: Tensor


@dataclass
class _Run:
    """One forward pass with everything that is measured in it. Rows of the batch have the same tokens."""

    model: PreTrainedModel
    blocks: Sequence[AdaptedBlock]
    activation: str | None = None
    first_half: bool = True
    logits: Tensor = field(init=False)
    """`[row, T, V]`"""

    def __post_init__(self) -> None:
        self.head = self.model.get_output_embeddings()
        self.embed: Tensor = self.model.get_input_embeddings().weight  # type: ignore[assignment]
        self.device, self.dtype = self.embed.device, self.blocks[-1].mlp.W_out.dtype
        self.d_model = self.blocks[-1].mlp.W_out.shape[1]
        is_half = self.dtype == torch.float16  # which overflows at 65,504
        self.stream_factor = 2.0**6 if is_half else _STREAM_FACTOR
        self.logit_probe = 2.0**6 if is_half else 2.0**20
        # In float32 1e-3; in bfloat16, whose rounding errors are this large, 0.25.
        self.tolerance = max(1e-3, 32 * torch.finfo(self.dtype).eps)
        self.neurons = [_longest_row(block.mlp.W_out) for block in self.blocks]
        self._block_runs: list[_BlockRun] = []
        self._rerun: int | None = None
        self._deltas = [1.0] * len(self.blocks)
        self._outputs: list[tuple[nn.Module, Tensor, Tensor]] = []

    def forward(self) -> None:
        """Run the model, with all hooks registered."""
        tokens = (torch.arange(_N_TOKENS) * 7919 + 11) % self.embed.shape[0]
        inside = {id(m) for block in self.blocks for m in block.module.modules()}
        with ExitStack() as stack:

            def add(handle: Any) -> None:
                stack.callback(handle.remove)

            for layer, block in enumerate(self.blocks):
                add(block.module.register_forward_pre_hook(self._before_block(layer), with_kwargs=True))
                add(block.mlp.outward.register_forward_pre_hook(self._change_neuron(layer)))
                add(block.module.register_forward_hook(self._after_block(layer), with_kwargs=True))
            for module in self.model.base_model.modules():
                if id(module) not in inside:
                    add(module.register_forward_hook(self._keep_output))
            add(self.head.register_forward_hook(self._after_head))
            self.logits = self.model(
                input_ids=tokens.to(self.device).expand(_N_ROWS, -1), use_cache=False
            ).logits.float()

    def _before_block(self, layer: int) -> Callable[..., None]:
        def measure(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            if self._rerun is None:
                # A change as large as the stream, so that rounding errors are small beside it.
                length = _stream(inputs, named).float().norm(dim=-1).square().mean().sqrt()
                row = self.blocks[layer].mlp.W_out[self.neurons[layer]].float().norm()
                self._deltas[layer] = float(length / row) if float(row) else 1.0

        return measure

    def _change_neuron(self, layer: int) -> Callable[..., tuple[Tensor, ...] | None]:
        last = len(self.blocks) - 1

        def change(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._rerun != layer and not (self._rerun is None and layer == last):
                return None
            post_BTM = inputs[0].clone()
            rows = post_BTM.view(_N_ROWS, _N_TOKENS, -1)  # OPT joins batch and positions
            rows[_CHANGED, :, self.neurons[layer]] += self._deltas[layer]
            if self._rerun is not None:
                rows[_CLEAN, :, self.neurons[layer]] += self._deltas[layer] * _SMALLER
            return (post_BTM, *inputs[1:])

        return change

    def _after_block(self, layer: int) -> Callable[..., None]:
        def run_again(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if self._rerun is not None:
                return
            x = _stream(inputs, named)
            scaled = x.clone()
            scaled[_SCALED] *= self.stream_factor
            again_inputs, again_named = _with_stream(inputs, named, scaled)
            self._rerun = layer
            try:
                again = _hidden(module(*again_inputs, **again_named))
                if layer == 0:
                    self._rerun = -1  # no neuron is changed
                    self.activation, maps = activation_of(
                        self.model, self.blocks[0].mlp, lambda: module(*inputs, **named)
                    )
                    self.first_half = maps.first_half
            finally:
                self._rerun = None
            self._block_runs.append(_BlockRun(_kept(x), _kept(_hidden(output)), _kept(again)))

        return run_again

    def _keep_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
            # The output itself: `final_norm` compares where it lies in memory.
            self._outputs.append((module, _kept(inputs[0]), output))

    def _after_head(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self._unembedded, self._head_output = inputs[0], _kept(output)
        probed = output.clone()
        probed[_SCALED] *= self.logit_probe
        return probed

    def residual_factors(self) -> list[float]:
        """Return, for each layer, the change of the residual stream per W_out[n] and unit of `hook_post`."""
        factors = []
        for layer, run in enumerate(self._block_runs):
            W_out = self.blocks[layer].mlp.W_out[self.neurons[layer]].float().to(run.clean.device)
            expected_D = W_out * self._deltas[layer]
            change_TD = run.again[_CHANGED] - run.clean[_CLEAN]
            less_TD = (run.again[_CLEAN] - run.clean[_CLEAN]) / _SMALLER
            factor = float((change_TD @ expected_D).median() / expected_D.square().sum())
            # A norm after the MLP gives a large and a small change of a neuron the same length.
            errors_TD = torch.cat([change_TD, less_TD]) - factor * expected_D
            error = self._worst(errors_TD.norm(dim=-1) / expected_D.norm())
            if not error <= self.tolerance * max(abs(factor), 1e-3):
                raise NotLinearError(
                    f"in layer {layer} a neuron does not add a multiple of its row of W_out to the residual "
                    f"stream (they differ by {error:.0%}), as where a norm follows the MLP"
                )
            passed = run.again[_SCALED] / self.stream_factor
            lost = float((passed - run.before[_SCALED]).norm() / run.before[_SCALED].norm())
            if self.dtype != torch.float16 and not lost <= 0.05:
                raise NotLinearError(
                    f"block {layer} does not pass the residual stream on unchanged, as where a norm follows "
                    "the sum"
                )
            factors.append(1.0 if abs(factor - 1) < self.tolerance / 10 else factor)
        return factors

    def _worst(self, errors_T: Tensor) -> float:
        """Return the largest of relative errors; the median in half precision.

        There rounding errors at a position of massive activations are larger than any change.
        """
        return float(errors_T.max() if self.dtype == torch.float32 else errors_T.median())

    def logit_factor(self) -> float:
        """Return the factor from the unembedding's output to the logits."""
        out, logits = self._head_output, self.logits.to(self._head_output.device)
        factor = float((out[_CLEAN] * logits[_CLEAN]).sum() / out[_CLEAN].square().sum())
        for row, probe in ((_CLEAN, 1.0), (_SCALED, self.logit_probe)):
            expected = out[row] * (factor * probe)
            if not float((logits[row] - expected).norm() / expected.norm()) <= self.tolerance:
                raise NotLinearError(
                    "the logits are not in proportion to the unembedding's output, as where a soft cap "
                    "bounds them"
                )
        return 1.0 if abs(factor - 1) < self.tolerance / 10 else factor

    def final_norm(self) -> nn.Module:
        """Return the module whose output the unembedding reads."""
        wanted = self._unembedded
        if wanted.shape[-1] != self.d_model:
            raise NotLinearError(
                f"the unembedding reads {wanted.shape[-1]} numbers where the residual stream has "
                f"{self.d_model}, as where a projection lies between them"
            )
        for module, _, output in self._outputs:  # innermost first
            if output.data_ptr() == wanted.data_ptr() and output.numel() == wanted.numel():
                return module
        raise NotLinearError("no module between the last block and the unembedding is a norm")

    def check_whole_model(
        self, residual_factor: float, logit_factor: float, weight: Tensor, bias: Tensor, *, centres: bool
    ) -> float:
        """Return the relative difference between a direct effect and the change of the logits.

        The final norm's divisor, which the change of the neuron changes, is taken out.

        Raises:
            NotLinearError: the difference is more than rounding explains.
        """
        norm = self.final_norm()
        x = next(i for module, i, _ in self._outputs if module is norm)
        device = x.device
        weight, bias = weight.to(device), bias.to(device)

        def centred(y: Tensor) -> Tensor:
            return y - y.mean(-1, keepdim=True) if centres else y

        W_U = self.head.weight.T
        b_U = getattr(self.head, "bias", None)
        base_V = (bias.to(W_U.dtype).to(W_U.device) @ W_U).float()
        base_V = (base_V + (0 if b_U is None else b_U.float())) * logit_factor
        undivided = weight * centred(x)
        z = self._unembedded.float().to(device).view_as(x)
        sigma = undivided.square().sum(-1) / ((z - bias) * undivided).sum(-1)
        scaled = (self.logits.to(device) - base_V.to(device)) * sigma[..., None]
        change_TV = scaled[_CHANGED] - scaled[_CLEAN]
        r_D = self.blocks[-1].mlp.W_out[self.neurons[-1]].float().to(device) * residual_factor
        direct_V = ((weight * centred(r_D)).to(W_U.dtype).to(W_U.device) @ W_U).float().to(device)
        direct_V = (direct_V - direct_V.mean()) * (logit_factor * self._deltas[-1])
        change_TV = change_TV - change_TV.mean(-1, keepdim=True)
        error = self._worst((change_TV - direct_V).norm(dim=-1) / direct_V.norm())
        if not error <= self.tolerance:
            raise NotLinearError(
                f"the logits change by something other than a neuron's direct effect (they differ by "
                f"{error:.1%})"
            )
        return error


def _measure_norm(norm: nn.Module, d_model: int, device: torch.device) -> tuple[Tensor, Tensor, bool]:
    """Measure a norm with known vectors.

    Returns:
        Its weight and bias, `[D]` each, and True if it subtracts the mean.
    """
    parameter = next(norm.parameters(), None)
    device = device if parameter is None else parameter.device
    exact = copy.deepcopy(norm).float()
    signs = torch.ones(d_model, device=device)
    signs[1::2] = -1
    generator = torch.Generator().manual_seed(0)
    other = torch.randn(d_model, generator=generator).to(device) + 1
    probes = torch.stack([torch.zeros_like(signs), 1024 * signs, 1024 * other])
    try:
        zero, first, second = exact(probes[None])[0].float()
    except Exception as error:  # a module of somebody else, which may be anything
        raise NotLinearError(f"the final norm cannot be run alone ({shortened(error, 100)})") from error

    def normalized(x: Tensor, *, centres: bool) -> Tensor:
        x = x - x.mean() if centres else x
        return x / x.square().mean().sqrt()

    for centres in (False, True):
        weight = (first - zero) / normalized(probes[1], centres=centres)
        expected = weight * normalized(probes[2], centres=centres) + zero
        if float((second - expected).norm() / (second - zero).norm()) < 1e-4:
            return weight, zero, centres
    raise NotLinearError(f"the final norm, {type(norm).__name__}, is neither LayerNorm nor RMS")


def _kept(tensor: Tensor) -> Tensor:
    """Return a copy in float32: a model may add to its tensors in place."""
    return tensor.detach().to(torch.float32, copy=True)


def _longest_row(W_out: Tensor) -> int:
    return int(W_out.float().norm(dim=-1).argmax())


def _stream(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    stream = inputs[0] if inputs else named["hidden_states"]
    assert isinstance(stream, Tensor)
    return stream


def _with_stream(
    inputs: tuple[Any, ...], named: dict[str, Any], stream: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if inputs:
        return (stream, *inputs[1:]), named
    return inputs, {**named, "hidden_states": stream}


def _hidden(output: Any) -> Tensor:
    hidden = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(hidden, Tensor)
    return hidden
