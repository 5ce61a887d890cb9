"""SoLU and its LayerNorm on CPU: threads and memory around the kernels of `kernels`.

Legend: R rows, M d_mlp, B blocks of W = M / B neurons.

Forward, a row's block at a time: m = max x, s = sum exp(x - m), mid = x exp(x - m) / s,
y = (mid - mean) r weight + bias with r = 1 / sqrt(variance + eps). Kept: m, 1 / s, s mean, r: 16 bytes.

Backward: p = exp(x - m) / s, n = (x p - mean) r, h = g weight, d = r (h - mean(h) - n mean(h n)),
grad_x = p (d + (d x - sum(d x p))). The sum equals sum(h n) eps r^2, which would save a pass, but it
is taken of the very d it is subtracted from: in rows with one large p their rounding errors must
cancel (without that, 20 times the definition's error at inputs of scale 10).
For x exp(x), which has no denominator, the sum is absent, m = 0 and s = 1.
"""

import ctypes
import hashlib
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from solu_model.activation.cpu.threads import run_threads
from solu_model.activation.kernel_arguments import Backward, Forward, Pass

_SERIAL = 2**15  # elements: below, waking a thread costs more than it saves
_MIN_CHUNK_ROWS, _MAX_CHUNKS = 32, 64  # backward; fixed, so that sums don't depend on the threads

_lock = threading.Lock()


class _Kernels(NamedTuple):
    """Addresses of the compiled C functions."""

    forward: int
    backward: int
    words: Any
    """`rows`: the layout of the argument."""
    keep: Any
    """What the addresses point into."""


@cache
def _compiled() -> _Kernels:
    from numba import cfunc

    from solu_model.activation.cpu import compiled_cache, intrinsics, kernels, rows

    files = [Path(str(m.__file__)) for m in (intrinsics, rows, kernels)]
    compiled_cache.fill(files, "from solu_model.activation.cpu import backend; backend.load()")
    sources = b"".join(file.read_bytes() for file in files[:2])
    version = 1 + int.from_bytes(hashlib.sha256(sources).digest()[:7], "big")
    compiled: list[Any] = []
    for kernel in kernels.entry_points(version):
        try:
            compiled.append(cfunc("void(voidptr)", cache=True)(kernel))
        except RuntimeError:  # no folder for the cache can be written to
            compiled.append(cfunc("void(voidptr)")(kernel))
    forward, backward = compiled
    return _Kernels(forward.address, backward.address, rows, compiled)


def load() -> None:
    """Compile the kernels, or load them from numba's cache. Raises whatever keeps them from running here."""
    with _lock:
        _compiled()


def supports(dtype: torch.dtype) -> bool:
    """Whether the kernels take this dtype on this processor; `load` comes first."""
    return dtype in (torch.float32, torch.bfloat16) or (dtype == torch.float16 and _has_half())


@cache
def _has_half() -> bool:
    """float16 is widened by the processor itself: every ARM, and x86 with F16C (2012 and later)."""
    import llvmlite.binding as llvm

    target = llvm.get_default_triple().partition("-")[0]
    features: dict[str, bool] = llvm.get_host_cpu_features()
    return target in ("aarch64", "arm64") or features.get("f16c", False)


def forward(given: Forward) -> None:
    """`passes.Backend.forward`."""
    kernels = _compiled()
    words = kernels.words
    eps = torch.tensor([given.eps], dtype=torch.float32)
    arrays = {
        words.EPS: eps,
        words.BIAS: None if given.bias is None else given.bias.float(),
        words.OUT: given.out,
        words.MID: given.mid,
    }
    _run(kernels.forward, given, -(-given.n_rows // (8 * torch.get_num_threads())), arrays)


def backward(given: Backward) -> Tensor:
    """`passes.Backend.backward`, a share of the parameters' gradients a chunk of rows."""
    kernels = _compiled()
    words = kernels.words
    chunk_rows = max(_MIN_CHUNK_ROWS, -(-given.n_rows // _MAX_CHUNKS))
    n_chunks = -(-given.n_rows // chunk_rows)
    grad_params = torch.empty(n_chunks, 2, 0 if given.weight is None else given.x.shape[-1])
    arrays = {
        words.GRAD_OUT: given.grad_out,
        words.GRAD_MID: given.grad_mid,
        words.GRAD_X: given.grad_x,
        words.GRAD_PARAMS: grad_params,
    }
    _run(kernels.backward, given, chunk_rows, arrays)
    return grad_params


def _run(kernel: int, given: Pass, chunk_rows: int, arrays: dict[int, Tensor | None]) -> None:
    """Call a kernel with its words filled in; returns when every row is done."""
    words = _compiled().words
    n_chunks = -(-given.n_rows // chunk_rows)
    n_threads = min(torch.get_num_threads(), n_chunks) if given.x.numel() > _SERIAL else 1
    counters = torch.zeros(1 + n_threads, dtype=torch.int64)
    arrays = arrays | {
        words.NEXT_SLOT: counters,
        words.NEXT_TICKETS: counters[1:],
        words.SCRATCH: torch.empty(n_threads, words.N_SCRATCH, given.width),
        words.X: given.x,
        words.WEIGHT: None if given.weight is None else given.weight.float(),
        words.STATS: given.stats,
    }
    codes = {torch.float32: words.FLOAT32, torch.bfloat16: words.BFLOAT16, torch.float16: words.FLOAT16}
    filled = {
        words.N_CHUNKS: n_chunks,
        words.CHUNK_ROWS: chunk_rows,
        words.N_ROWS: given.n_rows,
        words.N_BLOCKS: given.n_blocks,
        words.WIDTH: given.width,
        words.DTYPE: codes[given.x.dtype],
        words.SOFTMAX: int(given.softmax),
        words.N_THREADS: n_threads,
    }
    filled |= {word: 0 if array is None else array.data_ptr() for word, array in arrays.items()}
    argument = (ctypes.c_int64 * words.N_WORDS)(*(filled.get(word, 0) for word in range(words.N_WORDS)))
    run_threads(kernel, ctypes.addressof(argument), n_threads)
