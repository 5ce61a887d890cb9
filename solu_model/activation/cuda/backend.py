"""SoLU and its LayerNorm on CUDA: launches of the Triton kernels, whose formulas are those of `cpu`.

Under TRITON_INTERPRET=1 the same code runs on CPU tensors, which is how it is tested without a GPU.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor

from solu_model.activation.cuda import looped_kernels, one_pass_kernels
from solu_model.activation.kernel_arguments import Backward, Forward, Pass

_ONE_PASS_FORWARD = 16384  # widest block held in registers: 16 elements a thread of 32 warps
_ONE_PASS_BACKWARD = 8192  # half: x, its gradient, n, p and two sums are held at once
_LOOPED = 4096  # columns at a time beyond
_TILE = 2048  # elements a program at least, so that narrow rows share one
_ROWS, _COLUMNS = 16, 128  # tile of parameter_grads


def forward(given: Forward) -> None:
    """`passes.Backend.forward`."""
    x, n_rows, n_blocks, width = given.x, given.n_rows, given.n_blocks, given.width
    norm, wanted = given.weight is not None, given.mid is not None
    arrays = (x, _or(given.weight, x), _or(given.bias, x), given.out, _or(given.mid, x), given.stats)
    flags = (given.softmax, norm, wanted)
    with _on(x):
        if width <= _ONE_PASS_FORWARD:
            rows, block, warps = _tile(width)
            one_pass_kernels.forward[(triton.cdiv(n_rows, rows), n_blocks)](
                *arrays, given.eps, n_rows, n_blocks, width, *flags, rows, block, num_warps=warps
            )
        else:
            looped_kernels.forward[(n_rows, n_blocks)](
                *arrays, given.eps, n_blocks, width, *flags, _LOOPED, num_warps=16
            )


def backward(given: Backward) -> Tensor:
    """`passes.Backend.backward`, a share of the parameters' gradients a program."""
    x, n_rows, n_blocks, width = given.x, given.n_rows, given.n_blocks, given.width
    norm, one_pass = given.weight is not None, width <= _ONE_PASS_BACKWARD
    rows, block, warps = _tile(width)
    n_programs = max(1, min(triton.cdiv(n_rows, rows if one_pass else _ROWS), _programs(given)))
    shares = given.stats.new_zeros(n_programs, 2, x.shape[-1] if norm else 0)
    flags = (given.softmax, norm, given.grad_mid is not None)
    arrays = (
        x,
        _or(given.weight, x),
        given.stats,
        given.grad_out,
        _or(given.grad_mid, x),
        given.grad_x,
    )
    with _on(x):
        if one_pass:
            one_pass_kernels.backward[(n_programs, n_blocks)](
                *arrays, shares, n_rows, n_blocks, width, *flags, rows, block, num_warps=warps
            )
            return shares
        looped_kernels.backward[(n_rows, n_blocks)](*arrays, n_blocks, width, *flags, _LOOPED, num_warps=16)
        if norm:
            looped_kernels.parameter_grads[(n_programs, triton.cdiv(width, _COLUMNS), n_blocks)](
                x, given.stats, given.grad_out, shares, n_rows, n_blocks, width, _ROWS, _COLUMNS
            )
    return shares


def _or(array: Tensor | None, x: Tensor) -> Tensor:
    """What stands for an array that a kernel will not touch."""
    return x if array is None else array


def _tile(width: int) -> tuple[int, int, int]:
    """Rows at a time, columns (a power of two) and warps of the one-pass kernels."""
    block: int = triton.next_power_of_2(max(width, 1))
    rows = max(1, _TILE // block)
    return rows, block, max(4, min(32, rows * block // 512))


def _programs(given: Pass) -> int:
    """Programs that share the rows of a backward pass: a few for each multiprocessor."""
    if not given.x.is_cuda:
        return 3
    count = torch.cuda.get_device_properties(given.x.device).multi_processor_count
    return max(1, 4 * count // given.n_blocks)


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be x's."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
