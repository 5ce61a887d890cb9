"""Triton kernels of SoLU and its LayerNorm for rows of any width: BLOCK columns at a time, in several passes.

Later passes over a row mostly hit the second-level cache. Legend and statistics as in `one_pass_kernels`.
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
    n_blocks,
    width,
    SOFTMAX: tl.constexpr,
    NORM: tl.constexpr,
    MID: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute out, stats and, if MID, mid. A program takes one block of one row and passes over it twice.

    The first pass keeps a running maximum, sum, mean and sum of squared deviations, which are rescaled when
    the maximum rises and merged by Chan's formula (Chan, Golub, LeVeque 1983). E[mid^2] - E[mid]^2 would
    cancel.
    """
    row = tl.program_id(0).to(tl.int64) * n_blocks + tl.program_id(1)
    first = row * width
    lowest = -float("inf")
    m = lowest
    total = 0.0
    count = 0.0
    mean = 0.0
    squares = 0.0
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = tl.load(x_ptr + first + column, mask=inside, other=lowest).to(tl.float32)
        shift = 0.0
        rescale = 1.0
        if SOFTMAX:
            higher = tl.maximum(m, tl.max(x, axis=0))
            shift = tl.where(higher == lowest, 0.0, higher)  # all values so far are -inf
            rescale = tl.exp(m - shift)
            m = higher
        e = tl.exp(x - shift)
        t = tl.where(inside, x * e, 0.0)
        n = tl.minimum(width - start, BLOCK).to(tl.float32)
        mean_here = tl.sum(t, axis=0) / n
        centred = tl.where(inside, t - mean_here, 0.0)
        rest = tl.sum(centred, axis=0) / n  # the rounding error of the mean
        mean_here += rest
        mean = mean * rescale
        delta = mean_here - mean
        squares = squares * rescale * rescale + (tl.sum(centred * centred, axis=0) - n * rest * rest)
        squares += delta * (delta * (count * n / (count + n)))
        count += n
        mean += delta * (n / count)
        total = total * rescale + tl.sum(e, axis=0)
    shift = 0.0
    inverse = 1.0
    if SOFTMAX:
        shift = tl.where(m == lowest, 0.0, m)
        inverse = 1.0 / total
    rstd = 1.0 / tl.sqrt(tl.maximum(squares, 0.0) * inverse * inverse / width + eps)
    store_stats(stats_ptr, row, row >= 0, shift, inverse, mean, rstd)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = load(x_ptr, first + column, inside)
        t = x * tl.exp(x - shift)
        if MID:
            store(mid_ptr, first + column, inside, t * inverse)
        out = t * inverse
        if NORM:
            of_column = tl.program_id(1) * width + column
            weight, bias = load(weight_ptr, of_column, inside), load(bias_ptr, of_column, inside)
            out = (t - mean) * (rstd * inverse) * weight + bias
        store(out_ptr, first + column, inside, out)


@triton.jit
def _grad_of_mid(
    x,
    e,  # exp(x - m)
    at,  # offsets of these columns in x
    of_column,  # offsets of these columns in the block
    inside,
    weight_ptr,  # [W], of the block
    grad_out_ptr,
    grad_mid_ptr,
    stats,  # 1 / s, mean, rstd
    means,  # of h and of h n
    NORM: tl.constexpr,
    GRAD_MID: tl.constexpr,
):
    """Return d, the gradient of mid, for some columns of a row."""
    inverse, mean, rstd = stats
    mean_h, mean_hn = means
    d = load(grad_out_ptr, at, inside)
    if NORM:
        h = d * load(weight_ptr, of_column, inside)
        d = through_norm(h, normalised(x, e, mean, rstd * inverse), mean_h, mean_hn, rstd)
    if GRAD_MID:
        d += load(grad_mid_ptr, at, inside)
    return d


@triton.jit
def backward(
    x_ptr,  # [R, B, W]
    weight_ptr,  # [B, W], read if NORM
    stats_ptr,  # [R, B, 4]
    grad_out_ptr,  # [R, B, W]
    grad_mid_ptr,  # [R, B, W], read if GRAD_MID
    grad_x_ptr,  # [R, B, W]
    n_blocks,
    width,
    SOFTMAX: tl.constexpr,
    NORM: tl.constexpr,
    GRAD_MID: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradient of x. A program takes one block of one row.

    It passes over the row three times: for the means of the LayerNorm, for the sum of the softmax, and to
    write.
    """
    row = tl.program_id(0).to(tl.int64) * n_blocks + tl.program_id(1)
    first = row * width
    weights = weight_ptr + tl.program_id(1) * width
    m, inverse, mean, rstd = load_stats(stats_ptr, row, row >= 0)
    mean_h = 0.0
    mean_hn = 0.0
    if NORM:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            x = load(x_ptr, first + column, inside)
            h = load(grad_out_ptr, first + column, inside) * load(weights, column, inside)
            n = normalised(x, tl.exp(x - m), mean, rstd * inverse)
            mean_h += tl.sum(h, axis=0) / width
            mean_hn += tl.sum(tl.where(inside, h * n, 0.0), axis=0) / width
    stats = (inverse, mean, rstd)
    means = (mean_h, mean_hn)
    dot = 0.0
    if SOFTMAX:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            x = load(x_ptr, first + column, inside)
            e = tl.exp(x - m)
            d = _grad_of_mid(
                x, e, first + column, column, inside, weights, grad_out_ptr, grad_mid_ptr,
                stats, means, NORM, GRAD_MID,
            )  # fmt: skip
            dot += tl.sum(tl.where(inside, d * (x * (e * inverse)), 0.0), axis=0)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = load(x_ptr, first + column, inside)
        e = tl.exp(x - m)
        d = _grad_of_mid(
            x, e, first + column, column, inside, weights, grad_out_ptr, grad_mid_ptr,
            stats, means, NORM, GRAD_MID,
        )  # fmt: skip
        store(grad_x_ptr, first + column, inside, through_unit(x, e * inverse, d, dot))


@triton.jit
def parameter_grads(
    x_ptr,  # [R, B, W]
    stats_ptr,  # [R, B, 4]
    grad_out_ptr,  # [R, B, W]
    partial_grads_ptr,  # float32 [programs, 2, B, W]
    n_rows,
    n_blocks,
    width,
    ROWS: tl.constexpr,  # rows at a time
    COLUMNS: tl.constexpr,  # neurons of a program
):
    """Compute partial gradients of weight and bias. `backward` has no registers left to sum them."""
    block = tl.program_id(2)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    grad_weight = tl.zeros([ROWS, COLUMNS], tl.float32)
    grad_bias = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        inside = (row < n_rows) & (column < width)
        at = (row * n_blocks + block) * width + column
        m, inverse, mean, rstd = load_stats(stats_ptr, row * n_blocks + block, row < n_rows)
        x = load(x_ptr, at, inside)
        g = load(grad_out_ptr, at, inside)
        n = normalised(x, tl.exp(x - m), mean, rstd * inverse)
        grad_weight += tl.where(inside, g * n, 0.0)
        grad_bias += g
    store_partial_grads(
        partial_grads_ptr, block * width + column, n_blocks * width, column < width, grad_weight, grad_bias
    )
