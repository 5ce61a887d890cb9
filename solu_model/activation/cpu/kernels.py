"""Numba kernels of SoLU and its LayerNorm, forward and backward, for x86 and ARM processors.

`entry_points` gives C functions of one argument, the address of the int64 words listed in `rows`, so
that any threading runtime can call them: every thread that enters takes chunks of rows until none is left,
and holds neither the interpreter lock nor Python objects. A row is read from memory once: the first pass
over it asks for the next one, and the passes after it find it in the first or second level cache.

Legend: M d_mlp, W = M / n_blocks a block's width, m maximum, e = exp(x - m), p softmax, t = x e,
n normalised row, g gradient of out, h = g weight, d gradient of mid. The formulas are in `backend`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu import rows as words
from solu_model.activation.cpu.intrinsics import bits_of, from_bits, take, widest_vectors
from solu_model.activation.cpu.rows import (
    EXACT,
    FETCHED,
    N_SCRATCH,
    SUMMED,
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
    """Maximum of a row through its bits as sortable integers: unlike float max, that vectorises.

    A positive NaN sorts above infinity; a negative one is lost here and comes back through `exp`.
    """
    widest_vectors()
    top = np.int32(-(2**31))
    for j in range(x.size):
        bits = bits_of(x[j])
        key = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        top = max(key, top)
    return from_bits(np.int32(top ^ ((top >> 31) & 0x7FFFFFFF)))


@njit(fastmath=SUMS, error_model="numpy")
def _unit(x: Any, m: Any, t: Any) -> Any:
    """t; the sums of e and of t."""
    widest_vectors()
    total, total_t = _0, _0
    for j in range(x.size):
        e = exp(x[j] - m)
        t[j] = x[j] * e
        total += e
        total_t += t[j]
    return total, total_t


@njit(fastmath=UNFUSED, error_model="numpy")
def _unit_and_next(x: Any, m: Any, t: Any, size: Any, next_x: Any, out: Any) -> Any:
    """`_unit`, while the next row and the place of the result are on their way."""
    total, total_t = 0.0, 0.0
    for first in range(0, x.size, FETCHED):
        last = min(first + FETCHED, x.size)
        fetch(next_x, first, last, size)
        fetch_to_write(out, first, last, size)
        some, some_t = _unit(x[first:last], m, t[first:last])
        total += some
        total_t += some_t
    return np.float32(total), np.float32(total_t)


@njit(fastmath=SUMS, error_model="numpy")
def _some_deviations(t: Any, mean: Any) -> Any:
    widest_vectors()
    total, total_squares = _0, _0
    for j in range(t.size):
        d = t[j] - mean
        total += d
        total_squares += d * d
    return total, total_squares


@njit(fastmath=UNFUSED, error_model="numpy")
def _deviations(t: Any, mean: Any) -> Any:
    """Sums of t - mean, which is the rounding of the mean, and of its square."""
    total, total_squares = 0.0, 0.0
    for first in range(0, t.size, SUMMED):
        some, some_squares = _some_deviations(t[first : first + SUMMED], mean)
        total += some
        total_squares += some_squares
    return np.float32(total), np.float32(total_squares)


@njit(fastmath=EXACT, error_model="numpy")
def _normalise(t: Any, mean: Any, scale: Any, weight: Any, bias: Any, y: Any) -> None:
    widest_vectors()
    for j in range(t.size):
        y[j] = (t[j] - mean) * scale * weight[j] + bias[j]


@njit(fastmath=EXACT, error_model="numpy")
def _scale(t: Any, factor: Any, y: Any) -> None:
    widest_vectors()
    for j in range(t.size):
        y[j] = t[j] * factor


@njit(fastmath=UNFUSED, error_model="numpy")
def _forward_row(a: Any, row: Any, scratch: Any, eps: Any) -> None:
    width, dtype = a[words.WIDTH], a[words.DTYPE]
    size = 4 if dtype == words.FLOAT32 else 2
    wide_x, t, wide_y = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    share = _1 / np.float32(width)
    at = row * width
    x = load(a[words.X], at, width, dtype, wide_x)
    m = _max(x) if a[words.SOFTMAX] else _0
    next_x, out = a[words.X] + (at + width) * size, a[words.OUT] + at * size
    total, total_t = _unit_and_next(x, m, t, size, next_x, out)
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
        variance = max(squares * share - (rest * share) * (rest * share), _0)
        deviation = np.sqrt(variance) * inverse
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
    """Rounded, never fused into a sum: h must be to the last bit what its mean was taken of."""
    return a * b


@njit(fastmath=UNFUSED, error_model="numpy", forceinline=True)
def _normalised(x: Any, e: Any, mean: Any, scale: Any) -> Any:
    """n, without fused operations: t is to the last bit what it was in the forward pass."""
    return (x * e - mean) * scale


@njit(fastmath=SUMS, error_model="numpy")
def _norm_sums(
    x: Any, g: Any, weight: Any, m: Any, mean: Any, scale: Any, grad_weight: Any, grad_bias: Any, e: Any
) -> Any:
    """e, and the row's share of the parameters' gradients; the sums of h and of h n."""
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
def _norm_sums_and_next(
    x: Any, g: Any, weight: Any, m: Any, mean: Any, scale: Any, grad_weight: Any, grad_bias: Any, e: Any,
    size: Any, next_x: Any, next_g: Any, grad: Any,
) -> Any:  # fmt: skip
    """`_norm_sums`, while the next rows and the place of the result are on their way."""
    total, total_n = 0.0, 0.0
    for first in range(0, x.size, FETCHED):
        last = min(first + FETCHED, x.size)
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
    return (h - mean - n * mean_n) * rstd


@njit(fastmath=EXACT, error_model="numpy")
def _grad_of_mid(
    x: Any, e: Any, g: Any, weight: Any, mean: Any, scale: Any, mean_h: Any, mean_hn: Any, rstd: Any, d: Any
) -> None:
    widest_vectors()
    for j in range(x.size):
        n = _normalised(x[j], e[j], mean, scale)
        d[j] = _through_norm(_product(g[j], weight[j]), n, mean_h, mean_hn, rstd)


@njit(fastmath=EXACT, error_model="numpy")
def _exp_and_copy(x: Any, m: Any, g: Any, e: Any, d: Any) -> None:
    widest_vectors()
    for j in range(x.size):
        e[j] = exp(x[j] - m)
        d[j] = g[j]


@njit(fastmath=EXACT, error_model="numpy")
def _add(g: Any, d: Any) -> None:
    widest_vectors()
    for j in range(g.size):
        d[j] += g[j]


@njit(fastmath=SUMS, error_model="numpy")
def _some_dot(x: Any, e: Any, d: Any) -> Any:
    widest_vectors()
    dot = _0
    for j in range(x.size):
        dot += d[j] * _product(x[j], e[j])
    return dot


@njit(fastmath=UNFUSED, error_model="numpy")
def _dot(x: Any, e: Any, d: Any) -> Any:
    """The sum of d t: in this order, for d x may overflow where t is 0."""
    dot = 0.0
    for first in range(0, x.size, SUMMED):
        s = slice(first, first + SUMMED)
        dot += _some_dot(x[s], e[s], d[s])
    return np.float32(dot)


@njit(fastmath=UNFUSED, error_model="numpy")
def _grad_through_unit(x: Any, d: Any, e: Any, inverse: Any, dot: Any, grad: Any) -> None:
    """p (d + (d x - dot)), without fused operations: where p is 1, d x and `dot` must cancel to the last bit.

    Multiplied out, for d x may overflow where p is 0.
    """
    widest_vectors()
    for j in range(x.size):
        p = e[j] * inverse
        grad[j] = p * d[j] + (d[j] * (x[j] * p) - p * dot)


@njit(fastmath=UNFUSED, error_model="numpy")
def _backward_row(a: Any, row: Any, scratch: Any, params: Any) -> None:
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
        total, total_n = _norm_sums_and_next(
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
def _each_row(data: Any, is_forward: Any) -> None:
    """Chunk after chunk, until none is left."""
    a = carray(data, (words.N_WORDS,), np.int64)
    width, n_blocks = a[words.WIDTH], a[words.N_BLOCKS]
    slot, row_scratch = take(a[words.NEXT_SLOT]), N_SCRATCH * width
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
    """The forward and the backward pass, for numba to compile.

    numba's cache watches this file alone, and the values that a function closes over: `version` stands for
    the files that this one imports, and is not otherwise used.
    """

    def forward(data: Any) -> None:
        if version:
            _each_row(data, True)

    def backward(data: Any) -> None:
        if version:
            _each_row(data, False)

    return forward, backward
