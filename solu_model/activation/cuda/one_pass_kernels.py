"""Triton kernels of SoLU and its LayerNorm for rows that fit in registers: x is read once.

Legend: R rows, B blocks of neurons, W neurons a block, `[R, B, W]` contiguous. stats is float32 `[R, B, 4]`:
m = max x; 1 / s with s = sum exp(x - m); the mean of t = x exp(x - m); r = 1 / sqrt(variance + eps) with the
variance of mid = t / s.
"""

import triton
import triton.language as tl

from solu_model.activation.cuda.kernel_parts import (
    load,
    load_stats,
    normalised,
    store,
    store_partial_grads,
    store_stats,
    through_norm,
    through_unit,
)


@triton.jit
def forward(
    x_ptr,  # [R, B, W]
    weight_ptr,  # [B, W], read if NORM
    bias_ptr,  # [B, W], read if NORM
    out_ptr,  # [R, B, W]
    mid_ptr,  # [R, B, W], written if MID
    stats_ptr,  # [R, B, 4]
    eps,
    n_rows,
    n_blocks,
    width,
    SOFTMAX: tl.constexpr,
    NORM: tl.constexpr,
    MID: tl.constexpr,
    ROWS: tl.constexpr,  # rows of a program
    BLOCK: tl.constexpr,  # power of two >= W
):
    """Compute out, stats and, if MID, mid. A program takes one block of neurons of ROWS rows."""
    block = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < n_rows) & (column < width)
    at = (row * n_blocks + block) * width + column
    x = load(x_ptr, at, inside)
    m = tl.zeros([ROWS, 1], tl.float32)
    if SOFTMAX:
        m = tl.max(tl.where(column < width, x, -float("inf")), axis=1, keep_dims=True)
    e = tl.where(column < width, tl.exp(x - m), 0.0)
    inverse = tl.full([ROWS, 1], 1.0, tl.float32)
    if SOFTMAX:
        inverse = 1.0 / tl.sum(e, axis=1, keep_dims=True)
    t = tl.where(inside, x * e, 0.0)
    if MID:
        store(mid_ptr, at, inside, t * inverse)
    mean = tl.zeros([ROWS, 1], tl.float32)
    rstd = tl.zeros([ROWS, 1], tl.float32)
    out = t * inverse
    if NORM:
        mean = tl.sum(t, axis=1, keep_dims=True) / width
        centred = tl.where(inside, t - mean, 0.0)
        rest = tl.sum(centred, axis=1, keep_dims=True) / width  # the rounding error of the mean
        variance = tl.sum(centred * centred, axis=1, keep_dims=True) / width - rest * rest
        mean += rest
        rstd = 1.0 / tl.sqrt(tl.maximum(variance, 0.0) * inverse * inverse + eps)
        weight = load(weight_ptr, block * width + column, column < width)
        bias = load(bias_ptr, block * width + column, column < width)
        out = (t - mean) * (rstd * inverse) * weight + bias
    store(out_ptr, at, inside, out)
    store_stats(stats_ptr, row * n_blocks + block, row < n_rows, m, inverse, mean, rstd)


@triton.jit
def backward(
    x_ptr,  # [R, B, W]
    weight_ptr,  # [B, W], read if NORM
    stats_ptr,  # [R, B, 4]
    grad_out_ptr,  # [R, B, W]
    grad_mid_ptr,  # [R, B, W], read if GRAD_MID
    grad_x_ptr,  # [R, B, W]
    partial_grads_ptr,  # float32 [programs, 2, B, W], written if NORM
    n_rows,
    n_blocks,
    width,
    SOFTMAX: tl.constexpr,
    NORM: tl.constexpr,
    GRAD_MID: tl.constexpr,
    ROWS: tl.constexpr,  # rows at a time
    BLOCK: tl.constexpr,  # power of two >= W
):
    """Compute the gradient of x and partial gradients of weight and bias.

    A program takes one block of neurons of every n-th group of ROWS rows, n being the number of programs.
    """
    block = tl.program_id(1)
    column = tl.arange(0, BLOCK)[None, :]
    of_column = block * width + column
    weight = tl.zeros([1, BLOCK], tl.float32)
    if NORM:
        weight = load(weight_ptr, of_column, column < width)
    grad_weight = tl.zeros([ROWS, BLOCK], tl.float32)
    grad_bias = tl.zeros([ROWS, BLOCK], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        inside = (row < n_rows) & (column < width)
        at = (row * n_blocks + block) * width + column
        m, inverse, mean, rstd = load_stats(stats_ptr, row * n_blocks + block, row < n_rows)
        x = load(x_ptr, at, inside)
        g = load(grad_out_ptr, at, inside)
        e = tl.exp(x - m)
        p = tl.where(inside, e * inverse, 0.0)
        d = g
        if NORM:
            n = tl.where(inside, normalised(x, e, mean, rstd * inverse), 0.0)
            grad_weight += g * n
            grad_bias += g
            h = g * weight
            mean_h = tl.sum(h, axis=1, keep_dims=True) / width
            mean_hn = tl.sum(h * n, axis=1, keep_dims=True) / width
            d = through_norm(h, n, mean_h, mean_hn, rstd)
        if GRAD_MID:
            d += load(grad_mid_ptr, at, inside)
        dot = tl.zeros([ROWS, 1], tl.float32)
        if SOFTMAX:
            dot = tl.sum(d * (x * p), axis=1, keep_dims=True)
        store(grad_x_ptr, at, inside, through_unit(x, p, d, dot))
    if NORM:
        store_partial_grads(
            partial_grads_ptr, of_column, n_blocks * width, column < width, grad_weight, grad_bias
        )
