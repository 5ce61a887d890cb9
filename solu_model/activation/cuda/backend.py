"""The backend `triton`: launch the Triton kernels of SoLU and its LayerNorm.

The formulas are those of `solu_model.activation.cpu.backend`. Under TRITON_INTERPRET=1 the same code runs on
CPU tensors, which is how it is tested without a GPU.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor

from solu_model.activation.cuda import looped_kernels, one_pass_kernels
from solu_model.activation.kernel_arguments import BackwardArguments, ForwardArguments, KernelArguments

# Widest blocks that the one-pass kernels hold in registers. Forward: 16 elements in each thread of 32 warps.
# Backward: half, because x, its gradient, n, p and two sums are held at once.
_ONE_PASS_FORWARD = 16384
_ONE_PASS_BACKWARD = 8192
_LOOPED_COLUMNS = 4096  # columns that a looped kernel holds at a time
_MIN_TILE = 2048  # fewest elements a program takes, so that narrow rows share a program
_ROWS, _COLUMNS = 16, 128  # tile of parameter_grads


def forward(args: ForwardArguments) -> None:
    """Implement `Backend.forward`."""
    x, n_rows, n_blocks, width = args.x, args.n_rows, args.n_blocks, args.width
    norm, want_mid = args.weight is not None, args.mid is not None
    arrays = (x, _or(args.weight, x), _or(args.bias, x), args.out, _or(args.mid, x), args.stats)
    flags = (args.softmax, norm, want_mid)
    with _on(x):
        if width <= _ONE_PASS_FORWARD:
            rows, block, warps = _tile(width)
            one_pass_kernels.forward[(triton.cdiv(n_rows, rows), n_blocks)](
                *arrays, args.eps, n_rows, n_blocks, width, *flags, rows, block, num_warps=warps
            )
        else:
            looped_kernels.forward[(n_rows, n_blocks)](
                *arrays, args.eps, n_blocks, width, *flags, _LOOPED_COLUMNS, num_warps=16
            )


def backward(args: BackwardArguments) -> Tensor:
    """Implement `Backend.backward`; the result has one partial gradient for each program."""
    x, n_rows, n_blocks, width = args.x, args.n_rows, args.n_blocks, args.width
    norm, one_pass = args.weight is not None, width <= _ONE_PASS_BACKWARD
    rows, block, warps = _tile(width)
    n_programs = max(1, min(triton.cdiv(n_rows, rows if one_pass else _ROWS), _programs(args)))
    partial_grads = args.stats.new_zeros(n_programs, 2, x.shape[-1] if norm else 0)
    flags = (args.softmax, norm, args.grad_mid is not None)
    arrays = (
        x,
        _or(args.weight, x),
        args.stats,
        args.grad_out,
        _or(args.grad_mid, x),
        args.grad_x,
    )
    with _on(x):
        if one_pass:
            one_pass_kernels.backward[(n_programs, n_blocks)](
                *arrays, partial_grads, n_rows, n_blocks, width, *flags, rows, block, num_warps=warps
            )
            return partial_grads
        looped_kernels.backward[(n_rows, n_blocks)](
            *arrays, n_blocks, width, *flags, _LOOPED_COLUMNS, num_warps=16
        )
        if norm:
            looped_kernels.parameter_grads[(n_programs, triton.cdiv(width, _COLUMNS), n_blocks)](
                x, args.stats, args.grad_out, partial_grads, n_rows, n_blocks, width, _ROWS, _COLUMNS
            )
    return partial_grads


def _or(array: Tensor | None, x: Tensor) -> Tensor:
    """Return `array`, or x as a placeholder for an absent array, which the kernel does not touch."""
    return x if array is None else array


def _tile(width: int) -> tuple[int, int, int]:
    """Return rows at a time, columns (a power of two) and warps of a one-pass kernel."""
    block: int = triton.next_power_of_2(max(width, 1))
    rows = max(1, _MIN_TILE // block)
    return rows, block, max(4, min(32, rows * block // 512))


def _programs(args: KernelArguments) -> int:
    """Return the number of programs that share the rows of a backward pass.

    On a GPU a few for each multiprocessor: each program writes a partial gradient that is summed afterwards.
    """
    if not args.x.is_cuda:
        return 3  # interpreted: any number above 1, so that tests sum several partial gradients
    count = torch.cuda.get_device_properties(args.x.device).multi_processor_count
    return max(1, 4 * count // args.n_blocks)


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Make x's device the current one: Triton launches there, whatever device its arguments are on."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
