"""SoLU and its LayerNorm on CUDA: buffers and launches around `triton_kernels`.

Same functions, arguments and results as `solu_model.activation.cpu`, whose formulas these are.
Under TRITON_INTERPRET=1 the same code runs on CPU tensors, which is how it is tested without a GPU.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor

from solu_model.activation import triton_kernels as kernels

_ONE_PASS_FORWARD = 16384  # widest block held in registers: 16 elements a thread of 32 warps
_ONE_PASS_BACKWARD = 8192  # half: x, its gradient, n, p and two sums are held at once
_LOOPED = 4096  # columns at a time beyond
_TILE = 2048  # elements a program at least, so that narrow rows share one
_ROWS, _COLUMNS = 16, 128  # tile of parameter_grads_looped


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    n_blocks: int,
    softmax: bool,
    return_mid: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """out, mid (`[0]` unless asked for) and stats, as `cpu.forward`."""
    x = x.detach().contiguous()
    out = torch.empty_like(x)
    mid = torch.empty_like(x) if return_mid else x.new_empty(0)
    n_rows, width = _shape(x, n_blocks)
    stats = x.new_empty(n_rows, n_blocks, 4, dtype=torch.float32)
    if not x.numel():
        return out, mid, stats
    norm = weight is not None
    arrays = (x, weight if norm else x, bias if norm else x, out, mid, stats)
    with _on(x):
        if width <= _ONE_PASS_FORWARD:
            rows, block, warps = _tile(width)
            kernels.forward_one_pass[(triton.cdiv(n_rows, rows), n_blocks)](
                *arrays, eps, n_rows, n_blocks, width, softmax, norm, return_mid, rows, block, num_warps=warps
            )
        else:
            kernels.forward_looped[(n_rows, n_blocks)](
                *arrays, eps, n_blocks, width, softmax, norm, return_mid, _LOOPED, num_warps=16
            )
    return out, mid, stats


def backward(
    grad_out: Tensor,
    grad_mid: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    stats: Tensor,
    n_blocks: int,
    softmax: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, as `cpu.backward`."""
    x, grad_out = x.detach().contiguous(), grad_out.detach().contiguous()
    grad_x = torch.empty_like(x)
    n_rows, width = _shape(x, n_blocks)
    norm = weight is not None
    rows, block, warps = _tile(width)
    one_pass = width <= _ONE_PASS_BACKWARD
    n_programs = max(1, min(triton.cdiv(n_rows, rows if one_pass else _ROWS), _programs(x, n_blocks)))
    grad_params = stats.new_zeros(n_programs, 2, x.shape[-1]) if norm else stats.new_empty(0)
    if x.numel():
        flags = (softmax, norm, grad_mid is not None)
        arrays = (
            x,
            weight if norm else x,
            stats.contiguous(),
            grad_out,
            x if grad_mid is None else grad_mid.detach().contiguous(),
            grad_x,
        )
        with _on(x):
            if one_pass:
                kernels.backward_one_pass[(n_programs, n_blocks)](
                    *arrays, grad_params, n_rows, n_blocks, width, *flags, rows, block, num_warps=warps
                )
            else:
                kernels.backward_looped[(n_rows, n_blocks)](
                    *arrays, n_blocks, width, *flags, _LOOPED, num_warps=16
                )
                if norm:
                    kernels.parameter_grads_looped[(n_programs, triton.cdiv(width, _COLUMNS), n_blocks)](
                        x, stats, grad_out, grad_params, n_rows, n_blocks, width, _ROWS, _COLUMNS
                    )
    if not norm:
        return grad_x, stats.new_empty(0), stats.new_empty(0)
    grad_weight, grad_bias = grad_params.sum(0)
    return grad_x, grad_weight.clone(), grad_bias.clone()


def _shape(x: Tensor, n_blocks: int) -> tuple[int, int]:
    """Rows and width of a block."""
    M = x.shape[-1]
    return (x.numel() // M if M else 0), M // n_blocks


def _tile(width: int) -> tuple[int, int, int]:
    """Rows at a time, columns (a power of two) and warps of the one-pass kernels."""
    block: int = triton.next_power_of_2(max(width, 1))
    rows = max(1, _TILE // block)
    return rows, block, max(4, min(32, rows * block // 512))


def _programs(x: Tensor, n_blocks: int) -> int:
    """Programs that share the rows of a backward pass: a few for each multiprocessor."""
    if not x.is_cuda:
        return 3
    count = torch.cuda.get_device_properties(x.device).multi_processor_count
    return max(1, 4 * count // n_blocks)


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be x's."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
