"""Kernels of SoLU and its LayerNorm in numba, forward and backward, for x86 and ARM processors.

`entry_points` returns C functions of one argument, laid out in `words`. Each thread that calls one takes
chunks of rows until none is left, and needs neither the interpreter lock nor Python objects. A row is read
from memory once: the first pass over it prefetches the next row, and later passes find it in the first- or
second-level cache.

Legend: M d_mlp, W = M / n_blocks the width of a block, m maximum, e = exp(x - m), p softmax, t = x e,
n normalised row, g gradient of out, h = g weight, d gradient of mid. The formulas are in `backend`. A "row"
in this file is one block of a row, W elements. The argument `a` is the array of words.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu import words
from solu_model.activation.cpu.intrinsics import bits_of, fetch_and_increment, from_bits, widest_vectors
from solu_model.activation.cpu.rows import (
    EXACT,
    PARTIAL_SUM_ELEMENTS,
    PREFETCH_ELEMENTS,
    SUMS,
    UNFUSED,
    destination,
    exp,
    fetch,
    fetch_to_write,
    floats,
    load,
    next_chunk,
    store,
)

_0, _1 = np.float32(0), np.float32(1)


@njit(fastmath=UNFUSED, error_model="numpy")
def _max(x: Any) -> Any:
    """Return the maximum of a row.

    It compares bits as sortable integers, which LLVM vectorises; it does not vectorise the maximum of floats.
    A positive NaN sorts above infinity. A negative NaN is lost here and comes back through `exp`.
    """
    widest_vectors()
    top = np.int32(-(2**31))
    for j in range(x.size):
        bits = bits_of(x[j])
        key = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        top = max(key, top)
    return from_bits(np.int32(top ^ ((top >> 31) & 0x7FFFFFFF)))


@njit(fastmath=SUMS, error_model="numpy")
def _weighted_exp(x: Any, m: Any, t: Any) -> Any:
    """Write t; return the sums of e and of t."""
    widest_vectors()
    total, total_t = _0, _0
    for j in range(x.size):
        e = exp(x[j] - m)
        t[j] = x[j] * e
        total += e
        total_t += t[j]
    return total, total_t


@njit(fastmath=UNFUSED, error_model="numpy")
def _weighted_exp_with_prefetch(x: Any, m: Any, t: Any, size: Any, next_x: Any, out: Any) -> Any:
    """Run `_weighted_exp` while the next row and the place of the result are prefetched."""
    total, total_t = 0.0, 0.0
    for first in range(0, x.size, PREFETCH_ELEMENTS):
        last = min(first + PREFETCH_ELEMENTS, x.size)
        fetch(next_x, first, last, size)
        fetch_to_write(out, first, last, size)
        some, some_t = _weighted_exp(x[first:last], m, t[first:last])
        total += some
        total_t += some_t
    return np.float32(total), np.float32(total_t)


@njit(fastmath=SUMS, error_model="numpy")
def _partial_deviations(t: Any, mean: Any) -> Any:
    """Return the sums of t - mean and of its square, over one run of elements."""
    widest_vectors()
    total, total_squares = _0, _0
    for j in range(t.size):
        d = t[j] - mean
        total += d
        total_squares += d * d
    return total, total_squares


@njit(fastmath=UNFUSED, error_model="numpy")
def _deviations(t: Any, mean: Any) -> Any:
    """Return the sums of t - mean and of its square over a row. The first sum is the rounding of the mean."""
    total, total_squares = 0.0, 0.0
    for first in range(0, t.size, PARTIAL_SUM_ELEMENTS):
        some, some_squares = _partial_deviations(t[first : first + PARTIAL_SUM_ELEMENTS], mean)
        total += some
        total_squares += some_squares
    return np.float32(total), np.float32(total_squares)


@njit(fastmath=EXACT, error_model="numpy")
def _normalise(t: Any, mean: Any, scale: Any, weight: Any, bias: Any, y: Any) -> None:
    """Write the normalised row y. `scale` is r / s."""
    widest_vectors()
    for j in range(t.size):
        y[j] = (t[j] - mean) * scale * weight[j] + bias[j]


@njit(fastmath=EXACT, error_model="numpy")
def _scale(t: Any, factor: Any, y: Any) -> None:
    """Write y = t factor."""
    widest_vectors()
    for j in range(t.size):
        y[j] = t[j] * factor


@njit(fastmath=UNFUSED, error_model="numpy")
def _forward_row(a: Any, row: Any, scratch: Any, eps: Any) -> None:
    """Write out, stats and, if wanted, mid of one row."""
    width, dtype = a[words.WIDTH], a[words.DTYPE]
    size = 4 if dtype == words.FLOAT32 else 2
    wide_x, t, wide_y = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    share = _1 / np.float32(width)
    at = row * width
    x = load(a[words.X], at, width, dtype, wide_x)
    m = _max(x) if a[words.SOFTMAX] else _0
    next_x, out = a[words.X] + (at + width) * size, a[words.OUT] + at * size
    total, total_t = _weighted_exp_with_prefetch(x, m, t, size, next_x, out)
    inverse = _1 / total if a[words.SOFTMAX] else _1
    stats = floats(a[words.STATS], 4 * row, 4)
    stats[0], stats[1], stats[2], stats[3] = m, inverse, _0, _0
    if a[words.MID]:
        _scale(t, inverse, destination(a[words.MID], at, width, dtype, wide_y))
        store(a[words.MID], at, width, dtype, wide_y)
    y = destination(a[words.OUT], at, width, dtype, wide_y)
    if a[words.WEIGHT]:
        rest, squares = _deviations(t, total_t * share)
        mean = total_t * share + rest * share
        # The mean is corrected by the mean deviation, and the variance by its square.
        variance = max(squares * share - (rest * share) * (rest * share), _0)
        deviation = np.sqrt(variance) * inverse  # of mid; variance * inverse^2 could underflow
        rstd = _1 / np.sqrt(deviation * deviation + eps)
        stats[2], stats[3] = mean, rstd
        first = (row % a[words.N_BLOCKS]) * width
        weight, bias = floats(a[words.WEIGHT], first, width), floats(a[words.BIAS], first, width)
        _normalise(t, mean, rstd * inverse, weight, bias, y)
    else:
        _scale(t, inverse, y)
    store(a[words.OUT], at, width, dtype, y)


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def _product(a: Any, b: Any) -> Any:
    """Return a b, rounded and never fused into a sum: h must equal, to the last bit, the h in its mean."""
    return a * b


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def _normalised(x: Any, e: Any, mean: Any, scale: Any) -> Any:
    """Return n without fused operations, so that t equals the forward pass's t to the last bit."""
    return (x * e - mean) * scale


@njit(fastmath=SUMS, error_model="numpy")
def _norm_sums(
    x: Any, g: Any, weight: Any, m: Any, mean: Any, scale: Any, grad_weight: Any, grad_bias: Any, e: Any
) -> Any:
    """Write e, add the row to the gradients of weight and bias, and return the sums of h and of h n."""
    widest_vectors()
    total, total_n = _0, _0
    for j in range(x.size):
        e[j] = exp(x[j] - m)
        n = _normalised(x[j], e[j], mean, scale)
        h = _product(g[j], weight[j])
        total += h
        total_n += h * n
        grad_weight[j] += g[j] * n
        grad_bias[j] += g[j]
    return total, total_n


@njit(fastmath=UNFUSED, error_model="numpy")
def _norm_sums_with_prefetch(
    x: Any, g: Any, weight: Any, m: Any, mean: Any, scale: Any, grad_weight: Any, grad_bias: Any, e: Any,
    size: Any, next_x: Any, next_g: Any, grad: Any,
) -> Any:  # fmt: skip
    """Run `_norm_sums` while the next rows and the place of the result are prefetched."""
    total, total_n = 0.0, 0.0
    for first in range(0, x.size, PREFETCH_ELEMENTS):
        last = min(first + PREFETCH_ELEMENTS, x.size)
        fetch(next_x, first, last, size)
        fetch(next_g, first, last, size)
        fetch_to_write(grad, first, last, size)
        s = slice(first, last)
        some, some_n = _norm_sums(x[s], g[s], weight[s], m, mean, scale, grad_weight[s], grad_bias[s], e[s])
        total += some
        total_n += some_n
    return np.float32(total), np.float32(total_n)


@njit(fastmath=EXACT, error_model="numpy", forceinline=True)
def _through_norm(h: Any, n: Any, mean: Any, mean_n: Any, rstd: Any) -> Any:
    """Return d, the gradient through the LayerNorm."""
    return (h - mean - n * mean_n) * rstd


@njit(fastmath=EXACT, error_model="numpy")
def _grad_of_mid(
    x: Any, e: Any, g: Any, weight: Any, mean: Any, scale: Any, mean_h: Any, mean_hn: Any, rstd: Any, d: Any
) -> None:
    """Write d."""
    widest_vectors()
    for j in range(x.size):
        n = _normalised(x[j], e[j], mean, scale)
        d[j] = _through_norm(_product(g[j], weight[j]), n, mean_h, mean_hn, rstd)


@njit(fastmath=EXACT, error_model="numpy")
def _exp_and_copy(x: Any, m: Any, g: Any, e: Any, d: Any) -> None:
    """Write e, and d = g, where there is no LayerNorm."""
    widest_vectors()
    for j in range(x.size):
        e[j] = exp(x[j] - m)
        d[j] = g[j]


@njit(fastmath=EXACT, error_model="numpy")
def _add(g: Any, d: Any) -> None:
    """Add g to d."""
    widest_vectors()
    for j in range(g.size):
        d[j] += g[j]


@njit(fastmath=SUMS, error_model="numpy")
def _partial_dot(x: Any, e: Any, d: Any) -> Any:
    """Return the sum of d t over one run of elements."""
    widest_vectors()
    dot = _0
    for j in range(x.size):
        dot += d[j] * _product(x[j], e[j])
    return dot


@njit(fastmath=UNFUSED, error_model="numpy")
def _dot(x: Any, e: Any, d: Any) -> Any:
    """Return the sum of d t over a row. t = x e comes first: d x may overflow where t is 0."""
    dot = 0.0
    for first in range(0, x.size, PARTIAL_SUM_ELEMENTS):
        s = slice(first, first + PARTIAL_SUM_ELEMENTS)
        dot += _partial_dot(x[s], e[s], d[s])
    return np.float32(dot)


@njit(fastmath=UNFUSED, error_model="numpy")
def _grad_through_unit(x: Any, d: Any, e: Any, inverse: Any, dot: Any, grad: Any) -> None:
    """Write the gradient of x, p (d + (d x - dot)).

    Without fused operations: where p is 1, d x and `dot` must cancel to the last bit. The product is
    multiplied out because d x may overflow where p is 0.
    """
    widest_vectors()
    for j in range(x.size):
        p = e[j] * inverse
        grad[j] = p * d[j] + (d[j] * (x[j] * p) - p * dot)


@njit(fastmath=UNFUSED, error_model="numpy")
def _backward_row(a: Any, row: Any, scratch: Any, params: Any) -> None:
    """Write the gradient of x for one row; add the row to `params`, the gradients of weight and bias."""
    width, n_blocks, dtype = a[words.WIDTH], a[words.N_BLOCKS], a[words.DTYPE]
    size = 4 if dtype == words.FLOAT32 else 2
    wide_x, wide_g = scratch[:width], scratch[width : 2 * width]
    d, e = scratch[2 * width : 3 * width], scratch[3 * width :]
    share = _1 / np.float32(width)
    at, first = row * width, (row % n_blocks) * width
    x = load(a[words.X], at, width, dtype, wide_x)
    g = load(a[words.GRAD_OUT], at, width, dtype, wide_g)
    stats = floats(a[words.STATS], 4 * row, 4)
    m, inverse, mean, rstd = stats[0], stats[1], stats[2], stats[3]
    if a[words.WEIGHT]:
        weight, scale = floats(a[words.WEIGHT], first, width), rstd * inverse
        grad_weight, grad_bias = params[first : first + width], params[n_blocks * width + first :][:width]
        next_at = (at + width) * size
        total, total_n = _norm_sums_with_prefetch(
            x, g, weight, m, mean, scale, grad_weight, grad_bias, e,
            size, a[words.X] + next_at, a[words.GRAD_OUT] + next_at, a[words.GRAD_X] + at * size,
        )  # fmt: skip
        _grad_of_mid(x, e, g, weight, mean, scale, total * share, total_n * share, rstd, d)
    else:
        _exp_and_copy(x, m, g, e, d)
    if a[words.GRAD_MID]:
        _add(load(a[words.GRAD_MID], at, width, dtype, wide_g), d)
    dot = _dot(x, e, d) * inverse if a[words.SOFTMAX] else _0
    grad = destination(a[words.GRAD_X], at, width, dtype, wide_g)
    _grad_through_unit(x, d, e, inverse, dot, grad)
    store(a[words.GRAD_X], at, width, dtype, grad)


@njit(fastmath=UNFUSED, error_model="numpy")
def _run_chunks(data: Any, is_forward: Any) -> None:
    """Take chunks of rows until none is left, and compute their rows."""
    a = carray(data, (words.N_WORDS,), np.int64)
    width, n_blocks = a[words.WIDTH], a[words.N_BLOCKS]
    slot, row_scratch = fetch_and_increment(a[words.NEXT_SLOT]), words.N_SCRATCH * width
    scratch = floats(a[words.SCRATCH], slot * row_scratch, row_scratch)
    chunk = next_chunk(a, slot)
    while chunk >= 0:
        first = chunk * a[words.CHUNK_ROWS] * n_blocks
        last = min((chunk + 1) * a[words.CHUNK_ROWS], a[words.N_ROWS]) * n_blocks
        if is_forward:
            eps = floats(a[words.EPS], 0, 1)[0]
            for row in range(first, last):
                _forward_row(a, row, scratch, eps)
        else:
            n_params = 2 * n_blocks * width if a[words.WEIGHT] else 0
            params = floats(a[words.GRAD_PARAMS], chunk * n_params, n_params)
            params[:] = _0
            for row in range(first, last):
                _backward_row(a, row, scratch, params)
        chunk = next_chunk(a, slot)


def entry_points(version: int) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """Return the forward and the backward pass, for numba to compile.

    Args:
        version: a number other than 0 that changes with the files imported here. numba's cache on disk
            watches this file alone and the values that a function closes over; the functions use `version`
            for that.
    """

    def forward(data: Any) -> None:
        if version:
            _run_chunks(data, True)

    def backward(data: Any) -> None:
        if version:
            _run_chunks(data, False)

    return forward, backward
