"""SoLU and its LayerNorm on CPU: threads and buffers around the kernels of `cpu_kernels`.

Legend: N rows, M d_mlp, blocks of W = M / n_blocks neurons.

Forward, a row's block at a time: m = max x, s = sum exp(x - m), mid = x exp(x - m) / s,
y = (mid - mean) r weight + bias with r = 1 / sqrt(variance + eps). Kept: m, 1 / s, s mean, r: 16 bytes.

Backward: p = exp(x - m) / s, n = (x p - mean) r, h = g weight, d = r (h - mean(h) - n mean(h n)),
grad_x = p (d + (d x - sum(d x p))). The sum equals sum(h n) eps r^2, which would save a pass, but it
is taken of the very d it is subtracted from: in rows with one large p their rounding errors must
cancel (without that, 20 times the definition's error at inputs of scale 10).
For x exp(x), which has no denominator, the sum is absent, m = 0 and s = 1.
"""

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from solu_model.activation.cpu_threads import run_threads

_SERIAL = 2**15  # elements: below, waking a thread costs more than it saves
_MIN_CHUNK_ROWS, _MAX_CHUNKS = 32, 64  # backward; fixed, so that sums don't depend on the threads

_lock = threading.Lock()


class _Kernels(NamedTuple):
    """Addresses of the compiled C functions."""

    forward: int
    backward: int
    words: Any
    """`cpu_kernels`: the layout of the argument."""
    keep: Any
    """What the addresses point into."""


@cache
def _compiled() -> _Kernels:
    from numba import cfunc

    from solu_model.activation import cpu_kernels, cpu_rows

    def compiled(kernel: Callable[[Any], None]) -> Any:
        try:
            return cfunc("void(voidptr)", cache=True)(kernel)
        except RuntimeError:  # no folder for the cache can be written to
            return cfunc("void(voidptr)")(kernel)

    forward, backward = compiled(cpu_kernels.forward), compiled(cpu_kernels.backward)
    return _Kernels(forward.address, backward.address, cpu_rows, (forward, backward))


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


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    n_blocks: int,
    softmax: bool,
    return_mid: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activation, LayerNorm where `weight` is given, mid where asked for.

    Args:
        x: `[..., M]`, float32, bfloat16 or float16.
        weight, bias: `[M]`, any floating dtype, or None.
        eps: of the LayerNorm.
        n_blocks: blocks of neurons; divides M.
        softmax: x * softmax(x); otherwise x * exp(x).
        return_mid: write `mid` as well.

    Returns:
        out `[..., M]`, mid `[..., M]` or `[0]`, stats `[N, n_blocks, 4]` float32.
    """
    words = _compiled().words
    x = x.detach().contiguous()
    out = torch.empty_like(x)
    mid = torch.empty_like(x) if return_mid else x.new_empty(0)
    n_rows, _ = _shape(x, n_blocks)
    stats = torch.empty(n_rows, n_blocks, 4)
    chunk_rows = max(1, -(-n_rows // (8 * torch.get_num_threads())))
    _run(
        _compiled().forward,
        x,
        n_blocks,
        chunk_rows,
        softmax,
        eps,
        {
            words.WEIGHT: _parameter(weight),
            words.BIAS: _parameter(bias),
            words.STATS: stats,
            words.OUT: out,
            words.MID: mid if return_mid else None,
        },
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
    """Gradients of x, weight and bias, from x and the forward pass's `stats`.

    Args:
        grad_out: `[..., M]` in x's dtype.
        grad_mid: the same, or None where mid has no gradient.
        x, weight, n_blocks, softmax: as in `forward`.
        stats: `[N, n_blocks, 4]`.

    Returns:
        grad_x `[..., M]` in x's dtype; float32 `[M]` of weight and of bias, `[0]` without LayerNorm.
    """
    words = _compiled().words
    x = x.detach().contiguous()
    grad_x = torch.empty_like(x)
    n_rows, _ = _shape(x, n_blocks)
    chunk_rows = max(_MIN_CHUNK_ROWS, -(-n_rows // _MAX_CHUNKS))
    n_chunks = -(-n_rows // chunk_rows)
    grad_params = torch.empty(n_chunks, 2, x.shape[-1]) if weight is not None else None
    _run(
        _compiled().backward,
        x,
        n_blocks,
        chunk_rows,
        softmax,
        0.0,
        {
            words.WEIGHT: _parameter(weight),
            words.STATS: stats.contiguous(),
            words.GRAD_OUT: grad_out.detach().contiguous(),
            words.GRAD_MID: grad_mid.detach().contiguous() if grad_mid is not None else None,
            words.GRAD_X: grad_x,
            words.GRAD_PARAMS: grad_params,
        },
    )
    if grad_params is None:
        return grad_x, stats.new_empty(0), stats.new_empty(0)
    grad_weight, grad_bias = grad_params.sum(0)
    return grad_x, grad_weight.clone(), grad_bias.clone()


def _shape(x: Tensor, n_blocks: int) -> tuple[int, int]:
    """Rows and width of a block."""
    M = x.shape[-1]
    return (x.numel() // M if M else 0), M // n_blocks


def _parameter(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach().float().contiguous()


def _code(words: Any, dtype: torch.dtype) -> int:
    codes = {torch.float32: words.FLOAT32, torch.bfloat16: words.BFLOAT16, torch.float16: words.FLOAT16}
    return int(codes[dtype])


def _run(
    kernel: int,
    x: Tensor,
    n_blocks: int,
    chunk_rows: int,
    softmax: bool,
    eps: float,
    arrays: dict[int, Tensor | None],
) -> None:
    """Call a kernel with its words filled in; returns when every row is done."""
    if not x.numel():
        return
    words = _compiled().words
    n_rows, width = _shape(x, n_blocks)
    n_chunks = -(-n_rows // chunk_rows)
    n_threads = min(torch.get_num_threads(), n_chunks) if x.numel() > _SERIAL else 1
    counters = torch.zeros(2, dtype=torch.int64)
    scratch = torch.empty(n_threads, words.N_SCRATCH, width)
    epsilon = torch.tensor([eps], dtype=torch.float32)
    filled = {
        words.NEXT_CHUNK: counters[0].data_ptr(),
        words.NEXT_SLOT: counters[1].data_ptr(),
        words.N_CHUNKS: n_chunks,
        words.CHUNK_ROWS: chunk_rows,
        words.N_ROWS: n_rows,
        words.N_BLOCKS: n_blocks,
        words.WIDTH: width,
        words.DTYPE: _code(words, x.dtype),
        words.SOFTMAX: int(softmax),
        words.EPS: epsilon.data_ptr(),
        words.SCRATCH: scratch.data_ptr(),
        words.X: x.data_ptr(),
    }
    filled |= {word: 0 if array is None else array.data_ptr() for word, array in arrays.items()}
    argument = (ctypes.c_int64 * words.N_WORDS)(*(filled.get(word, 0) for word in range(words.N_WORDS)))
    run_threads(kernel, ctypes.addressof(argument), n_threads)
