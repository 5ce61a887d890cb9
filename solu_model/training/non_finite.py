"""Find the first NaN or infinity of a step, to explain why a run stopped."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from solu_model.training.sharding import whole


def first_non_finite(model: nn.Module, tokens_BT: Tensor, bf16: bool) -> str:
    """Name the first tensor of a step that is not finite: weights, then activations in order, then gradients.

    Collective: every process of the run must call it, before the gradients are cleared.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(whole(parameter.detach())).all()):
            return f"the weights {name} are not finite"
    non_finite: list[str] = []  # modules with such an output, in the order in which they ran
    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                hook = module.register_forward_hook(_watch(name, non_finite))
                stack.callback(hook.remove)
        with torch.autocast(tokens_BT.device.type, torch.bfloat16, enabled=bf16):
            model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False)
    if non_finite:
        return f"the output of {non_finite[0]} is not finite, although the weights are"
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not bool(torch.isfinite(whole(parameter.grad)).all()):
            return f"the gradient of {name} is not finite, although the activations are"
    return "the loss is not finite, although the activations are"


def _watch(name: str, non_finite: list[str]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if any(not bool(torch.isfinite(t).all()) for t in _tensors(output)):
            non_finite.append(name)

    return hook


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for value in output.values() if isinstance(output, dict) else output:
            yield from _tensors(value)
