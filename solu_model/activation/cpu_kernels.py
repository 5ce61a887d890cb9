"""Numba kernels of SoLU and its LayerNorm, forward and backward, for x86 and ARM processors.

`forward` and `backward` are compiled as C functions of one argument, the address of the int64 words
listed in `cpu_rows`, so that any threading runtime can call them: every thread that enters takes
chunks of rows from a shared counter until none is left, and holds neither the interpreter lock nor
Python objects. A row is read from memory once: its passes run over a row that lies in the first or
second level cache.

Legend: M d_mlp, W = M / n_blocks a block's width, m maximum, e = exp(x - m), p softmax, t = x e,
n normalised row, g gradient of out, h = g weight, d gradient of mid. Formulas in `solu_model.activation.cpu`.
"""

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu_intrinsics import bits_of, from_bits, take, widest_vectors
from solu_model.activation.cpu_rows import (
    BIAS,
    CHUNK_ROWS,
    DTYPE,
    EPS,
    EXACT,
    GRAD_MID,
    GRAD_OUT,
    GRAD_PARAMS,
    GRAD_X,
    MID,
    N_BLOCKS,
    N_CHUNKS,
    N_ROWS,
    N_SCRATCH,
    N_WORDS,
    NEXT_CHUNK,
    NEXT_SLOT,
    OUT,
    SCRATCH,
    SOFTMAX,
    STATS,
    SUMS,
    WEIGHT,
    WIDTH,
    X,
    destination,
    exp,
    floats,
    load,
    store,
)

_0, _1 = np.float32(0), np.float32(1)


@njit(error_model="numpy")
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
    """t = x exp(x - m); the sums of exp(x - m) and of t."""
    widest_vectors()
    total, total_t = _0, _0
    for j in range(x.size):
        e = exp(x[j] - m)
        t[j] = x[j] * e
        total += e
        total_t += t[j]
    return total, total_t


@njit(fastmath=SUMS, error_model="numpy")
def _deviations(t: Any, mean: Any) -> Any:
    """Sums of t - mean, which is the rounding of the mean, and of its square."""
    widest_vectors()
    total, total_squares = _0, _0
    for j in range(t.size):
        d = t[j] - mean
        total += d
        total_squares += d * d
    return total, total_squares


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


def forward(data: Any) -> None:
    """Rows of `OUT`, of `MID` where wanted, and of `STATS`, from `X`."""
    a = carray(data, (N_WORDS,), np.int64)
    width, n_blocks, dtype = a[WIDTH], a[N_BLOCKS], a[DTYPE]
    eps = floats(a[EPS], 0, 1)[0]
    scratch = floats(a[SCRATCH], take(a[NEXT_SLOT]) * N_SCRATCH * width, N_SCRATCH * width)
    wide_x, t, wide_y = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    share = _1 / np.float32(width)
    chunk = take(a[NEXT_CHUNK])
    while chunk < a[N_CHUNKS]:
        last = min((chunk + 1) * a[CHUNK_ROWS], a[N_ROWS]) * n_blocks
        for row in range(chunk * a[CHUNK_ROWS] * n_blocks, last):
            at = row * width
            x = load(a[X], at, width, dtype, wide_x)
            m = _max(x) if a[SOFTMAX] else _0
            total, total_t = _unit(x, m, t)
            inverse = _1 / total if a[SOFTMAX] else _1
            stats = floats(a[STATS], 4 * row, 4)
            stats[0], stats[1], stats[2], stats[3] = m, inverse, _0, _0
            if a[MID]:
                _scale(t, inverse, destination(a[MID], at, width, dtype, wide_y))
                store(a[MID], at, width, dtype, wide_y)
            y = destination(a[OUT], at, width, dtype, wide_y)
            if a[WEIGHT]:
                rest, squares = _deviations(t, total_t * share)
                mean = total_t * share + rest * share
                variance = max(squares * share - (rest * share) * (rest * share), _0)
                deviation = np.sqrt(variance) * inverse
                rstd = _1 / np.sqrt(deviation * deviation + eps)
                stats[2], stats[3] = mean, rstd
                first = (row % n_blocks) * width
                weight, bias = floats(a[WEIGHT], first, width), floats(a[BIAS], first, width)
                _normalise(t, mean, rstd * inverse, weight, bias, y)
            else:
                _scale(t, inverse, y)
            store(a[OUT], at, width, dtype, y)
        chunk = take(a[NEXT_CHUNK])


@njit(error_model="numpy", forceinline=True)
def _normalised(x: Any, e: Any, mean: Any, scale: Any) -> Any:
    """n, without fused operations: t is to the last bit what it was in the forward pass."""
    return (x * e - mean) * scale


@njit(fastmath=SUMS, error_model="numpy")
def _norm_sums(
    x: Any, g: Any, weight: Any, m: Any, mean: Any, scale: Any, grad_weight: Any, grad_bias: Any, e: Any
) -> Any:
    """e; the sums of h and of h n; the row's share of the parameters' gradients."""
    widest_vectors()
    total, total_n = _0, _0
    for j in range(x.size):
        e[j] = exp(x[j] - m)
        n = _normalised(x[j], e[j], mean, scale)
        h = g[j] * weight[j]
        total += h
        total_n += h * n
        grad_weight[j] += g[j] * n
        grad_bias[j] += g[j]
    return total, total_n


@njit(fastmath=EXACT, error_model="numpy", forceinline=True)
def _through_norm(h: Any, n: Any, mean: Any, mean_n: Any, rstd: Any) -> Any:
    return (h - mean - n * mean_n) * rstd


@njit(fastmath=SUMS, error_model="numpy")
def _grad_of_mid(
    x: Any, e: Any, g: Any, weight: Any, mean: Any, scale: Any, mean_h: Any, mean_hn: Any, rstd: Any, d: Any
) -> Any:
    """d through the norm; the sum of d x e."""
    widest_vectors()
    dot = _0
    for j in range(x.size):
        n = _normalised(x[j], e[j], mean, scale)
        d[j] = _through_norm(g[j] * weight[j], n, mean_h, mean_hn, rstd)
        dot += d[j] * x[j] * e[j]
    return dot


@njit(fastmath=SUMS, error_model="numpy")
def _grad_without_norm(x: Any, m: Any, g: Any, e: Any, d: Any) -> Any:
    """e and d = g; the sum of d x e."""
    widest_vectors()
    dot = _0
    for j in range(x.size):
        e[j] = exp(x[j] - m)
        d[j] = g[j]
        dot += d[j] * x[j] * e[j]
    return dot


@njit(fastmath=SUMS, error_model="numpy")
def _add(g: Any, x: Any, e: Any, d: Any) -> Any:
    """d + g into d; the sum of d x e."""
    widest_vectors()
    dot = _0
    for j in range(g.size):
        d[j] += g[j]
        dot += d[j] * x[j] * e[j]
    return dot


@njit(error_model="numpy")
def _grad_through_unit(x: Any, d: Any, e: Any, inverse: Any, dot: Any, grad: Any) -> None:
    """Without fused operations: where p is 1, d x and `dot` must cancel to the last bit."""
    widest_vectors()
    for j in range(x.size):
        grad[j] = e[j] * inverse * (d[j] + (d[j] * x[j] - dot))


def backward(data: Any) -> None:
    """Rows of `GRAD_X` and each chunk's `GRAD_PARAMS`, from `X`, `STATS` and the gradients."""
    a = carray(data, (N_WORDS,), np.int64)
    width, n_blocks, dtype = a[WIDTH], a[N_BLOCKS], a[DTYPE]
    scratch = floats(a[SCRATCH], take(a[NEXT_SLOT]) * N_SCRATCH * width, N_SCRATCH * width)
    wide_x, wide_g, d, e = (
        scratch[:width],
        scratch[width : 2 * width],
        scratch[2 * width : 3 * width],
        scratch[3 * width :],
    )
    share = _1 / np.float32(width)
    chunk = take(a[NEXT_CHUNK])
    while chunk < a[N_CHUNKS]:
        if a[WEIGHT]:
            params = floats(a[GRAD_PARAMS], chunk * 2 * n_blocks * width, 2 * n_blocks * width)
            params[:] = _0
        last = min((chunk + 1) * a[CHUNK_ROWS], a[N_ROWS]) * n_blocks
        for row in range(chunk * a[CHUNK_ROWS] * n_blocks, last):
            at = row * width
            x = load(a[X], at, width, dtype, wide_x)
            g = load(a[GRAD_OUT], at, width, dtype, wide_g)
            stats = floats(a[STATS], 4 * row, 4)
            m, inverse, mean, rstd = stats[0], stats[1], stats[2], stats[3]
            if a[WEIGHT]:
                first = (row % n_blocks) * width
                weight = floats(a[WEIGHT], first, width)
                of_weight = floats(a[GRAD_PARAMS], chunk * 2 * n_blocks * width + first, width)
                of_bias = floats(a[GRAD_PARAMS], (chunk * 2 + 1) * n_blocks * width + first, width)
                scale = rstd * inverse
                total, total_n = _norm_sums(x, g, weight, m, mean, scale, of_weight, of_bias, e)
                dot = _grad_of_mid(x, e, g, weight, mean, scale, total * share, total_n * share, rstd, d)
            else:
                dot = _grad_without_norm(x, m, g, e, d)
            if a[GRAD_MID]:
                dot = _add(load(a[GRAD_MID], at, width, dtype, wide_g), x, e, d)
            grad = destination(a[GRAD_X], at, width, dtype, wide_g)
            _grad_through_unit(x, d, e, inverse, dot * inverse if a[SOFTMAX] else _0, grad)
            store(a[GRAD_X], at, width, dtype, grad)
        chunk = take(a[NEXT_CHUNK])
