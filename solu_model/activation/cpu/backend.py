"""The backend `numba`: SoLU and its LayerNorm on CPU, forward and backward.

This file chooses threads and chunks of rows; the arithmetic is in `kernels`.
Legend: R rows, M d_mlp, B blocks of W = M / B neurons.

Forward, for one block of a row:

    m = max x,  s = sum exp(x - m),  mid = x exp(x - m) / s
    r = 1 / sqrt(variance(mid) + eps),  y = (mid - mean(mid)) r weight + bias

Kept for the backward pass: m, 1 / s, s mean(mid) and r, 16 bytes for each row and block.

Backward, with g the gradient of y:

    p = exp(x - m) / s,  n = (x p - mean(mid)) r,  h = g weight
    d = r (h - mean(h) - n mean(h n))
    grad_x = p (d + (d x - sum(d x p)))

The last sum equals sum(h n) eps r^2, which would save a pass over the row. It is computed from d nonetheless:
in rows with one large p, the rounding errors of d x and of the sum must cancel. With the shorter formula the
error was 20 times that of the definition at inputs of scale 10.

For x exp(x), which has no denominator, the last sum is absent, m = 0 and s = 1.
"""

import ctypes
import hashlib
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from solu_model.activation.cpu import words
from solu_model.activation.cpu.threads import run_threads
from solu_model.activation.kernel_arguments import BackwardArguments, ForwardArguments, KernelArguments

# Elements of x up to which one thread computes: waking a second one would cost more than it saves.
_SERIAL_ELEMENTS = 2**15

# The chunks of the backward pass depend on the number of rows alone: each chunk sums the gradients of weight
# and bias, so a split by threads would make the result depend on the number of threads.
_MIN_CHUNK_ROWS, _MAX_CHUNKS = 32, 64

_lock = threading.Lock()


class _Kernels(NamedTuple):
    """Addresses of the compiled C functions."""

    forward: int
    backward: int
    owners: Any
    """The objects that own the compiled code: the addresses are valid as long as these live."""


@cache
def _compiled() -> _Kernels:
    from numba import cfunc

    from solu_model.activation.cpu import compiled_cache, intrinsics, kernels, rows

    # numba's cache on disk watches the kernels' own file alone. A change of the other files reaches it
    # through `version`, which the kernels close over.
    imported = [Path(str(m.__file__)) for m in (intrinsics, words, rows)]
    compiled_cache.fill(
        [*imported, Path(str(kernels.__file__))],
        "from solu_model.activation.cpu import backend; backend.load()",
    )
    sources = b"".join(file.read_bytes() for file in imported)
    version = 1 + int.from_bytes(hashlib.sha256(sources).digest()[:7], "big")
    compiled: list[Any] = []
    for kernel in kernels.entry_points(version):
        try:
            compiled.append(cfunc("void(voidptr)", cache=True)(kernel))
        except RuntimeError:  # no folder for the cache can be written to
            compiled.append(cfunc("void(voidptr)")(kernel))
    forward, backward = compiled
    return _Kernels(forward.address, backward.address, compiled)


def load() -> None:
    """Compile the kernels, or load them from numba's cache.

    Raises:
        Exception: any error of numba or LLVM that keeps the kernels from running on this machine.
    """
    with _lock:
        _compiled()


def supports(dtype: torch.dtype) -> bool:
    """Return True if the kernels can convert this dtype on this processor. Call `load` first."""
    return dtype in (torch.float32, torch.bfloat16) or (dtype == torch.float16 and _has_half())


@cache
def _has_half() -> bool:
    """Return True if the processor has instructions for float16: all ARM, and x86 with F16C (since 2012)."""
    import llvmlite.binding as llvm

    target = llvm.get_default_triple().partition("-")[0]
    features: dict[str, bool] = llvm.get_host_cpu_features()
    return target in ("aarch64", "arm64") or features.get("f16c", False)


def forward(args: ForwardArguments) -> None:
    """Implement `Backend.forward`."""
    # The kernel reads these arrays by address: the locals keep them alive until `_run` returns.
    eps = torch.tensor([args.eps], dtype=torch.float32)
    arrays = {
        words.EPS: eps,
        words.BIAS: None if args.bias is None else args.bias.float(),
        words.OUT: args.out,
        words.MID: args.mid,
    }
    # Eight chunks a thread, so that a thread that starts late or is interrupted leaves work to the others.
    chunk_rows = -(-args.n_rows // (8 * torch.get_num_threads()))
    _run(_compiled().forward, args, chunk_rows, arrays)


def backward(args: BackwardArguments) -> Tensor:
    """Implement `Backend.backward`; the result has one partial gradient for each chunk of rows."""
    chunk_rows = max(_MIN_CHUNK_ROWS, -(-args.n_rows // _MAX_CHUNKS))
    n_chunks = -(-args.n_rows // chunk_rows)
    grad_params = torch.empty(n_chunks, 2, 0 if args.weight is None else args.x.shape[-1])
    arrays = {
        words.GRAD_OUT: args.grad_out,
        words.GRAD_MID: args.grad_mid,
        words.GRAD_X: args.grad_x,
        words.GRAD_PARAMS: grad_params,
    }
    _run(_compiled().backward, args, chunk_rows, arrays)
    return grad_params


def _run(kernel: int, args: KernelArguments, chunk_rows: int, arrays: dict[int, Tensor | None]) -> None:
    """Fill in the words of a kernel's argument and call it; return when every row is done."""
    n_chunks = -(-args.n_rows // chunk_rows)
    n_threads = min(torch.get_num_threads(), n_chunks) if args.x.numel() > _SERIAL_ELEMENTS else 1
    counters = torch.zeros(1 + n_threads, dtype=torch.int64)
    arrays = arrays | {
        words.NEXT_SLOT: counters,
        words.NEXT_TICKETS: counters[1:],
        words.SCRATCH: torch.empty(n_threads, words.N_SCRATCH, args.width),
        words.X: args.x,
        words.WEIGHT: None if args.weight is None else args.weight.float(),
        words.STATS: args.stats,
    }
    codes = {torch.float32: words.FLOAT32, torch.bfloat16: words.BFLOAT16, torch.float16: words.FLOAT16}
    values = {
        words.N_CHUNKS: n_chunks,
        words.CHUNK_ROWS: chunk_rows,
        words.N_ROWS: args.n_rows,
        words.N_BLOCKS: args.n_blocks,
        words.WIDTH: args.width,
        words.DTYPE: codes[args.x.dtype],
        words.SOFTMAX: int(args.softmax),
        words.N_THREADS: n_threads,
    }
    values |= {word: 0 if array is None else array.data_ptr() for word, array in arrays.items()}
    argument = (ctypes.c_int64 * words.N_WORDS)(*(values.get(word, 0) for word in range(words.N_WORDS)))
    run_threads(kernel, ctypes.addressof(argument), n_threads)
