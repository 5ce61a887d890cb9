"""Numba kernels of SoLU and its LayerNorm, forward and backward, for x86 and ARM processors.

`forward` and `backward` are compiled as C functions of one argument, the address of int64 words
listed below, so that any threading runtime can call them: every thread that enters takes chunks of
rows from a shared counter until none is left, and holds neither the interpreter lock nor Python objects.

A row is read from memory once: its passes run over a row that lies in the first or second level
cache. Rows are float32; bfloat16 and float16 rows are widened into scratch and rounded once at the end.
The exponential is a polynomial that LLVM vectorises (the C library's is a call an element, which
took most of the time).

Legend: M d_mlp, W = M / n_blocks a block's width, m maximum, p softmax, n normalised row. Formulas in
`solu_model.activation.cpu`.
"""

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from solu_model.activation.cpu_intrinsics import (
    bits_of,
    floats_at,
    from_bits,
    from_half,
    shorts_at,
    take,
    to_half,
)

# The words behind the address, in order. Addresses are of contiguous arrays, 0 where absent.
NEXT_CHUNK = 0  # address of a counter: the next chunk nobody took
NEXT_SLOT = 1  # address of a counter: the next free slot of scratch
N_CHUNKS = 2
CHUNK_ROWS = 3
N_ROWS = 4
N_BLOCKS = 5
WIDTH = 6  # W
DTYPE = 7  # of x, out, mid and their gradients
SOFTMAX = 8  # 1: x * softmax(x), 0: x * exp(x)
EPS = 9  # address of a float32
SCRATCH = 10  # float32 [slots, N_SCRATCH, W]
X = 11  # [N_ROWS, N_BLOCKS, W]
WEIGHT = 12  # float32 [M]; 0: no LayerNorm
STATS = 13  # float32 [N_ROWS, N_BLOCKS, 4]: m, 1 / sum, mean of x exp(x - m), r
BIAS = 14  # float32 [M], forward
OUT = 15  # like x, forward
MID = 16  # like x, forward; 0: not wanted
GRAD_OUT = 14  # like x, backward
GRAD_MID = 15  # like x, backward; 0: none
GRAD_X = 16  # like x, backward
GRAD_PARAMS = 17  # float32 [N_CHUNKS, 2, M], backward: each chunk's share for weight and bias
N_WORDS = 18

N_SCRATCH = 6
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2

# No flag that lets the compiler assume away NaN or infinity: NaN in must be NaN out.
_SUMS = {"reassoc", "contract", "nsz"}  # sums may be reordered, hence vectorised
_EXACT = {"contract"}  # order matters: only fused multiply-add

_0, _1, _2 = np.float32(0), np.float32(1), np.float32(2)
_INF = np.float32(np.inf)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.72284)  # exp is 0 below, infinite above
_LOG2_E = np.float32(1.4426950408889634)
_ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer and leaves that in the low bits
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Cephes expf: exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2. Twice P, see `_exp`.
_CEPHES = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_P0, _P1, _P2, _P3, _P4, _P5 = (np.float32(2 * c) for c in _CEPHES)


@njit(fastmath=_EXACT, error_model="numpy", forceinline=True)
def _exp(z: Any) -> Any:
    """exp(z) within 2 units in the last place; subnormal results are 0, NaN stays NaN."""
    shifted = z * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = z - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    poly = _P0 * r + _P1
    poly = poly * r + _P2
    poly = poly * r + _P3
    poly = poly * r + _P4
    poly = poly * r + _P5
    poly = poly * (r * r) + (r + r) + _2
    # Twice exp(r) times 2^(k - 1): 2^k itself overflows before the result does.
    scale = from_bits(np.int32((bits_of(shifted) + 126) << 23))
    value = _0 if z < _LOWEST else poly * scale
    return _INF if z > _HIGHEST else value


@njit(fastmath=_EXACT, error_model="numpy", forceinline=True)
def _to_bfloat16(value: Any) -> Any:
    bits = bits_of(value)
    rounded = np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return np.uint16(0x7FC0) if value != value else rounded


@njit(forceinline=True)
def _floats(address: Any, offset: Any, n: Any) -> Any:
    return carray(floats_at(address + 4 * offset), (n,))


@njit(error_model="numpy")
def _load(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> Any:
    """The row at `address`, itself where it is float32, otherwise widened into scratch."""
    if dtype == FLOAT32:
        return _floats(address, offset, n)
    row = carray(shorts_at(address + 2 * offset), (n,))
    if dtype == BFLOAT16:
        for j in range(n):
            scratch[j] = from_bits(np.int32(np.int32(row[j]) << 16))
    else:
        for j in range(n):
            scratch[j] = from_half(row[j])
    return scratch


@njit(error_model="numpy")
def _destination(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> Any:
    """Where to write a row in float32: its place, or scratch that `_store` then rounds."""
    return _floats(address, offset, n) if dtype == FLOAT32 else scratch


@njit(error_model="numpy")
def _store(address: Any, offset: Any, n: Any, dtype: Any, scratch: Any) -> None:
    if dtype == FLOAT32:
        return
    row = carray(shorts_at(address + 2 * offset), (n,))
    if dtype == BFLOAT16:
        for j in range(n):
            row[j] = _to_bfloat16(scratch[j])
    else:
        for j in range(n):
            row[j] = to_half(scratch[j])


@njit(error_model="numpy")
def _max(x: Any) -> Any:
    """Maximum of a row through its bits as sortable integers: unlike float max, that vectorises.

    A positive NaN sorts above infinity; a negative one is lost here and comes back through `_exp`.
    """
    top = np.int32(-(2**31))
    for j in range(x.size):
        bits = bits_of(x[j])
        key = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        top = max(key, top)
    return from_bits(np.int32(top ^ ((top >> 31) & 0x7FFFFFFF)))


@njit(fastmath=_SUMS, error_model="numpy")
def _unit(x: Any, m: Any, t: Any) -> Any:
    """t = x exp(x - m); the sums of exp(x - m) and of t."""
    total, total_t = _0, _0
    for j in range(x.size):
        e = _exp(x[j] - m)
        t[j] = x[j] * e
        total += e
        total_t += t[j]
    return total, total_t


@njit(fastmath=_SUMS, error_model="numpy")
def _deviations(t: Any, mean: Any) -> Any:
    """Sums of t - mean, which is the rounding of the mean, and of its square."""
    total, total_squares = _0, _0
    for j in range(t.size):
        d = t[j] - mean
        total += d
        total_squares += d * d
    return total, total_squares


@njit(fastmath=_EXACT, error_model="numpy")
def _normalise(t: Any, mean: Any, scale: Any, weight: Any, bias: Any, y: Any) -> None:
    for j in range(t.size):
        y[j] = (t[j] - mean) * scale * weight[j] + bias[j]


@njit(fastmath=_EXACT, error_model="numpy")
def _scale(t: Any, factor: Any, y: Any) -> None:
    for j in range(t.size):
        y[j] = t[j] * factor


def forward(data: Any) -> None:
    """Rows of `OUT`, of `MID` where wanted, and of `STATS`, from `X`."""
    a = carray(data, (N_WORDS,), np.int64)
    width, n_blocks, dtype = a[WIDTH], a[N_BLOCKS], a[DTYPE]
    eps = _floats(a[EPS], 0, 1)[0]
    scratch = _floats(a[SCRATCH], take(a[NEXT_SLOT]) * N_SCRATCH * width, N_SCRATCH * width)
    wide_x, t, wide_y = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    share = _1 / np.float32(width)
    chunk = take(a[NEXT_CHUNK])
    while chunk < a[N_CHUNKS]:
        last = min((chunk + 1) * a[CHUNK_ROWS], a[N_ROWS]) * n_blocks
        for row in range(chunk * a[CHUNK_ROWS] * n_blocks, last):
            at = row * width
            x = _load(a[X], at, width, dtype, wide_x)
            m = _max(x) if a[SOFTMAX] else _0
            total, total_t = _unit(x, m, t)
            inverse = _1 / total if a[SOFTMAX] else _1
            stats = _floats(a[STATS], 4 * row, 4)
            stats[0], stats[1], stats[2], stats[3] = m, inverse, _0, _0
            if a[MID]:
                _scale(t, inverse, _destination(a[MID], at, width, dtype, wide_y))
                _store(a[MID], at, width, dtype, wide_y)
            y = _destination(a[OUT], at, width, dtype, wide_y)
            if a[WEIGHT]:
                rest, squares = _deviations(t, total_t * share)
                mean = total_t * share + rest * share
                variance = max(squares * share - (rest * share) * (rest * share), _0)
                deviation = np.sqrt(variance) * inverse
                rstd = _1 / np.sqrt(deviation * deviation + eps)
                stats[2], stats[3] = mean, rstd
                first = (row % n_blocks) * width
                weight, bias = _floats(a[WEIGHT], first, width), _floats(a[BIAS], first, width)
                _normalise(t, mean, rstd * inverse, weight, bias, y)
            else:
                _scale(t, inverse, y)
            _store(a[OUT], at, width, dtype, y)
        chunk = take(a[NEXT_CHUNK])


@njit(error_model="numpy")
def _softmax(x: Any, m: Any, inverse: Any, p: Any, t: Any) -> None:
    """Without fused operations: t is to the last bit what it was in the forward pass."""
    for j in range(x.size):
        e = _exp(x[j] - m)
        p[j] = e * inverse
        t[j] = x[j] * e


@njit(fastmath=_SUMS, error_model="numpy")
def _norm_sums(g: Any, weight: Any, mean: Any, scale: Any, n: Any, h: Any) -> Any:
    """t becomes n; h = g weight; the sums of h and of h n."""
    total, total_n = _0, _0
    for j in range(g.size):
        n[j] = (n[j] - mean) * scale
        h[j] = g[j] * weight[j]
        total += h[j]
        total_n += h[j] * n[j]
    return total, total_n


@njit(fastmath=_EXACT, error_model="numpy")
def _add_parameter_grads(g: Any, n: Any, grad_weight: Any, grad_bias: Any) -> None:
    for j in range(g.size):
        grad_weight[j] += g[j] * n[j]
        grad_bias[j] += g[j]


@njit(fastmath=_EXACT, error_model="numpy")
def _grad_through_norm(h: Any, n: Any, mean: Any, mean_n: Any, rstd: Any) -> None:
    """h becomes the gradient of mid."""
    for j in range(h.size):
        h[j] = (h[j] - mean - n[j] * mean_n) * rstd


@njit(fastmath=_EXACT, error_model="numpy")
def _add(g: Any, total: Any) -> None:
    for j in range(g.size):
        total[j] += g[j]


@njit(fastmath=_SUMS, error_model="numpy")
def _dot(x: Any, d: Any, p: Any) -> Any:
    total = _0
    for j in range(x.size):
        total += d[j] * x[j] * p[j]
    return total


@njit(error_model="numpy")
def _grad_through_unit(x: Any, d: Any, p: Any, dot: Any, grad: Any) -> None:
    """Without fused operations: where p is 1, d x and `dot` must cancel to the last bit."""
    for j in range(x.size):
        grad[j] = p[j] * (d[j] + (d[j] * x[j] - dot))


def backward(data: Any) -> None:
    """Rows of `GRAD_X` and each chunk's `GRAD_PARAMS`, from `X`, `STATS` and the gradients."""
    a = carray(data, (N_WORDS,), np.int64)
    width, n_blocks, dtype = a[WIDTH], a[N_BLOCKS], a[DTYPE]
    scratch = _floats(a[SCRATCH], take(a[NEXT_SLOT]) * N_SCRATCH * width, N_SCRATCH * width)
    wide_x, wide_g, wide_dx = scratch[:width], scratch[width : 2 * width], scratch[2 * width : 3 * width]
    p, n, h = scratch[3 * width : 4 * width], scratch[4 * width : 5 * width], scratch[5 * width :]
    share = _1 / np.float32(width)
    chunk = take(a[NEXT_CHUNK])
    while chunk < a[N_CHUNKS]:
        if a[WEIGHT]:
            params = _floats(a[GRAD_PARAMS], chunk * 2 * n_blocks * width, 2 * n_blocks * width)
            params[:] = _0
        last = min((chunk + 1) * a[CHUNK_ROWS], a[N_ROWS]) * n_blocks
        for row in range(chunk * a[CHUNK_ROWS] * n_blocks, last):
            at = row * width
            x = _load(a[X], at, width, dtype, wide_x)
            g = _load(a[GRAD_OUT], at, width, dtype, wide_g)
            grad = _destination(a[GRAD_X], at, width, dtype, wide_dx)
            stats = _floats(a[STATS], 4 * row, 4)
            _softmax(x, stats[0], stats[1], p, n)
            if a[WEIGHT]:
                first = (row % n_blocks) * width
                weight = _floats(a[WEIGHT], first, width)
                rstd = stats[3]
                total, total_n = _norm_sums(g, weight, stats[2], rstd * stats[1], n, h)
                of_weight = _floats(a[GRAD_PARAMS], chunk * 2 * n_blocks * width + first, width)
                of_bias = _floats(a[GRAD_PARAMS], (chunk * 2 + 1) * n_blocks * width + first, width)
                _add_parameter_grads(g, n, of_weight, of_bias)
                _grad_through_norm(h, n, total * share, total_n * share, rstd)
                d = h
            else:
                d = g
            if a[GRAD_MID]:
                _add(_load(a[GRAD_MID], at, width, dtype, wide_dx), d)
            _grad_through_unit(x, d, p, _dot(x, d, p) if a[SOFTMAX] else _0, grad)
            _store(a[GRAD_X], at, width, dtype, grad)
        chunk = take(a[NEXT_CHUNK])
