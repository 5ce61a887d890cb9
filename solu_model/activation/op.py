"""The registered operation `solu::activation`, its gradient, and the choice of its backend.

Backends: `numba` (CPU), `triton` (CUDA) and `reference`. The reference is the definition; it serves float64,
other devices, and machines where the fast backend cannot run. The two fast backends implement one registered
operation, with a fake tensor and a gradient, so `torch.compile`, `torch.export`, autocast and FSDP see a
single node. The reference consists of plain torch operations, which a compiler may fuse.

To force a backend, pass `backend=` or set SOLU_ACTIVATION_BACKEND. For the backward pass the operation keeps
x, the weight, and 16 bytes for each row and block of neurons. Only the reference has second derivatives.

Legend: M d_mlp, `...` any leading dimensions.
"""

import logging
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from solu_model.activation.cpu import backend as cpu
from solu_model.activation.cpu.huge_pages import empty_like
from solu_model.activation.kernel_arguments import Backend, BackwardArguments, ForwardArguments

_log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "SOLU_ACTIVATION_BACKEND"
_BACKENDS = ("numba", "triton", "reference")


@torch.compiler.assume_constant_result
def backend_name(
    device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, backend: str | None = None
) -> str:
    """Return the name of the backend that computes the activation: `numba`, `triton` or `reference`.

    Args:
        device: device of x, e.g. `cpu` or `cuda:0`.
        dtype: dtype of x.
        backend: the backend to force; None: SOLU_ACTIVATION_BACKEND decides if it is set, otherwise the
            device and dtype.

    Raises:
        ValueError: no backend has this name, or `backend` does not support this device and dtype.
    """
    forced = backend or os.environ.get(ENVIRONMENT_VARIABLE) or None
    kind = torch.device(device).type
    if forced is None:
        fast = {"cpu": "numba", "cuda": "triton"}.get(kind, "reference")
        return fast if not _obstacle(fast, kind, dtype) else "reference"
    if forced not in _BACKENDS:
        raise ValueError(f"the activation's backend must be one of {', '.join(_BACKENDS)}, got {forced!r}")
    if obstacle := _obstacle(forced, kind, dtype):
        if backend is None:  # the environment variable is a preference, not an order
            return "reference"
        raise ValueError(f"the {forced} backend {obstacle}: leave backend out, or give 'reference'")
    return forced


def _obstacle(name: str, device_type: str, dtype: torch.dtype) -> str:
    """Return the reason why a backend cannot take x, as the end of a sentence; empty if it can."""
    if name == "reference":
        return ""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"takes float32, bfloat16 and float16, got {dtype}"
    if name == "numba" and device_type != "cpu":
        return f"runs on cpu, got {device_type}"
    if name == "triton" and device_type != "cuda" and not (device_type == "cpu" and _interpreting()):
        return f"runs on cuda (on cpu under TRITON_INTERPRET=1), got {device_type}"
    if failure := _failure(name):
        return f"cannot run here ({failure})"
    if name == "numba" and not cpu.supports(dtype):
        return f"cannot convert {dtype} on this processor"
    return ""


def _interpreting() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _failure(name: str) -> str:
    """Try to load a backend, once in this process; log and return the failure, empty if there is none."""
    try:
        if name == "numba":
            cpu.load()
        else:
            _cuda()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
        _log.warning("the %s activation cannot run here, using its slower definition: %s", name, failure)
        return failure
    return ""


def run_activation(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `activation_op`, without PyTorch's dispatcher where nothing would notice.

    The dispatcher takes 40 microseconds, more than the activation of one token.
    """
    plain = type(x) in _PLAIN and type(weight) in _PLAIN and type(bias) in _PLAIN
    if plain and not _is_observed():
        return _compute(x, weight, bias, *settings)
    result: tuple[Tensor, Tensor, Tensor] = activation_op(x, weight, bias, *settings)
    return result


_PLAIN = (Tensor, Parameter, type(None))


def _is_observed() -> bool:
    """Return True if gradients, a compiler, a mode or a transform of functions is at work."""
    return (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


@torch.library.custom_op("solu::activation", mutates_args=())
def activation_op(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    n_blocks: int,
    softmax: bool,
    return_mid: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the activation; see `functional` for the arguments. R is the number of rows.

    Returns:
        out `[..., M]`; mid `[..., M]`, or `[0]` without `return_mid`; stats `[R, n_blocks, 4]` float32, for
        the backward pass.
    """
    return _compute(x, weight, bias, eps, n_blocks, softmax, return_mid, backend)


def _compute(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    n_blocks: int,
    softmax: bool,
    return_mid: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    x = x.detach().contiguous()
    out = empty_like(x)
    mid = empty_like(x) if return_mid else None
    stats = x.new_empty(_stats_shape(x, n_blocks), dtype=torch.float32)
    if x.numel():
        args = ForwardArguments(
            x=x,
            weight=_contiguous(weight),
            bias=_contiguous(bias),
            stats=stats,
            softmax=softmax,
            eps=eps,
            out=out,
            mid=mid,
        )
        _backend(backend).forward(args)
    return out, x.new_empty(0) if mid is None else mid, stats


@torch.library.custom_op("solu::activation_backward", mutates_args=())
def _activation_backward(
    grad_out: Tensor,
    grad_mid: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    stats: Tensor,
    softmax: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of x, in its dtype, and of weight and bias, float32 (`[0]` without LayerNorm)."""
    x = x.detach().contiguous()
    grad_x = empty_like(x)
    n_params = 0 if weight is None else x.shape[-1]
    if not x.numel():
        return grad_x, stats.new_zeros(n_params), stats.new_zeros(n_params)
    args = BackwardArguments(
        x=x,
        weight=_contiguous(weight),
        stats=stats.contiguous(),
        softmax=softmax,
        grad_out=grad_out.detach().contiguous(),
        grad_mid=_contiguous(grad_mid),
        grad_x=grad_x,
    )
    partial_grads = _backend(backend).backward(args)
    if weight is None:
        return grad_x, stats.new_empty(0), stats.new_empty(0)
    grad_weight, grad_bias = partial_grads.sum(0)
    # An operation must not return two views of one tensor.
    return grad_x, grad_weight.clone(), grad_bias.clone()


def _stats_shape(x: Tensor, n_blocks: int) -> tuple[int, int, int]:
    return x.shape[:-1].numel(), n_blocks, 4


def _contiguous(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.detach().contiguous()


def _backend(name: str) -> Backend:
    return cpu if name == "numba" else _cuda()  # a module is a Backend


def _cuda() -> Backend:
    """Import the CUDA backend, which needs Triton, on first use."""
    from solu_model.activation.cuda import backend

    return backend


@activation_op.register_fake
def _(x: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    _, _, _, n_blocks, _, return_mid, _ = settings
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    stats = x.new_empty(_stats_shape(x, n_blocks), dtype=torch.float32)
    return out, torch.empty_like(out) if return_mid else x.new_empty(0), stats


@_activation_backward.register_fake
def _(
    _grad_out: Tensor, _grad_mid: Tensor | None, x: Tensor, *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    weight, stats, *_ = settings
    n = 0 if weight is None else x.shape[-1]
    return torch.empty_like(x, memory_format=torch.contiguous_format), stats.new_empty(n), stats.new_empty(n)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, *settings = inputs
    _eps, _n_blocks, softmax, return_mid, backend = settings
    ctx.save_for_backward(x, weight, output[2])
    ctx.settings = (softmax, backend)
    ctx.return_mid = return_mid
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.set_materialize_grads(False)  # an unused output has gradient None, not a tensor of zeros


def _backward(
    ctx: Any, grad_out: Tensor | None, grad_mid: Tensor | None, _grad_stats: Tensor | None
) -> tuple[Tensor | None, ...]:
    x, weight, stats = ctx.saved_tensors
    if grad_out is None:
        grad_out = torch.zeros_like(x)
    grads = _activation_backward(
        grad_out, grad_mid if ctx.return_mid else None, x, weight, stats, *ctx.settings
    )
    grad_x, grad_weight, grad_bias = grads
    if weight is None:
        return (grad_x, *[None] * 7)  # one for each argument of `activation_op`
    return (grad_x, grad_weight.to(weight.dtype), grad_bias.to(ctx.bias_dtype), *[None] * 5)


activation_op.register_autograd(_backward, setup_context=_setup_context)
