"""Triton kernels of SoLU and its LayerNorm, forward and backward.

Rows that fit are held in registers, so that x (and the incoming gradient) is read once; longer ones
go through the `_looped` kernels, whose second reading mostly hits the second-level cache.

Legend: R rows, B blocks of neurons, W neurons a block, `[R, B, W]` contiguous. stats is float32
`[R, B, 4]`: m = max x, 1 / s with s = sum exp(x - m), the mean of t = x exp(x - m), 1 / sqrt(variance + eps)
of mid = t / s. All arithmetic is float32. Formulas in `solu_model.activation.cpu`.
"""

import triton
import triton.language as tl


@triton.jit
def forward_one_pass(
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
    ROWS: tl.constexpr,  # rows a program
    BLOCK: tl.constexpr,  # power of two >= W
):
    """A program takes one block of neurons of ROWS rows."""
    block = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < n_rows) & (column < width)
    at = (row * n_blocks + block) * width + column
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    m = tl.zeros([ROWS, 1], tl.float32)
    if SOFTMAX:
        m = tl.max(tl.where(column < width, x, -float("inf")), axis=1, keep_dims=True)
    e = tl.where(column < width, tl.exp(x - m), 0.0)
    inverse = tl.full([ROWS, 1], 1.0, tl.float32)
    if SOFTMAX:
        inverse = 1.0 / tl.sum(e, axis=1, keep_dims=True)
    t = tl.where(inside, x * e, 0.0)
    mid = t * inverse
    if MID:
        tl.store(mid_ptr + at, mid.to(mid_ptr.dtype.element_ty), mask=inside)
    mean = tl.zeros([ROWS, 1], tl.float32)
    rstd = tl.zeros([ROWS, 1], tl.float32)
    out = mid
    if NORM:
        mean = tl.sum(t, axis=1, keep_dims=True) / width
        centred = tl.where(inside, t - mean, 0.0)
        rest = tl.sum(centred, axis=1, keep_dims=True) / width  # the mean's rounding
        variance = tl.sum(centred * centred, axis=1, keep_dims=True) / width - rest * rest
        mean += rest
        rstd = 1.0 / tl.sqrt(tl.maximum(variance, 0.0) * inverse * inverse + eps)
        of_column = block * width + column
        weight = tl.load(weight_ptr + of_column, mask=column < width, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + of_column, mask=column < width, other=0.0).to(tl.float32)
        out = (t - mean) * (rstd * inverse) * weight + bias
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=inside)
    stats = stats_ptr + (row * n_blocks + block) * 4
    tl.store(stats, m, mask=row < n_rows)
    tl.store(stats + 1, inverse, mask=row < n_rows)
    tl.store(stats + 2, mean, mask=row < n_rows)
    tl.store(stats + 3, rstd, mask=row < n_rows)


@triton.jit
def forward_looped(
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
    """A program takes one block of one row, BLOCK columns at a time, twice.

    The first time it keeps a running maximum, sum, mean and sum of squared deviations, rescaled
    when the maximum rises and merged by Chan's formula: E[mid^2] - E[mid]^2 would cancel.
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
            shift = tl.where(higher == lowest, 0.0, higher)  # so far all -inf
            rescale = tl.exp(m - shift)
            m = higher
        e = tl.exp(x - shift)
        t = tl.where(inside, x * e, 0.0)
        n = tl.minimum(width - start, BLOCK).to(tl.float32)
        mean_here = tl.sum(t, axis=0) / n
        centred = tl.where(inside, t - mean_here, 0.0)
        rest = tl.sum(centred, axis=0) / n  # the mean's rounding
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
    tl.store(stats_ptr + row * 4, shift)
    tl.store(stats_ptr + row * 4 + 1, inverse)
    tl.store(stats_ptr + row * 4 + 2, mean)
    tl.store(stats_ptr + row * 4 + 3, rstd)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
        t = x * tl.exp(x - shift)
        mid = t * inverse
        if MID:
            tl.store(mid_ptr + first + column, mid.to(mid_ptr.dtype.element_ty), mask=inside)
        out = mid
        if NORM:
            of_column = tl.program_id(1) * width + column
            weight = tl.load(weight_ptr + of_column, mask=inside, other=0.0).to(tl.float32)
            bias = tl.load(bias_ptr + of_column, mask=inside, other=0.0).to(tl.float32)
            out = (t - mean) * (rstd * inverse) * weight + bias
        tl.store(out_ptr + first + column, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_one_pass(
    x_ptr,  # [R, B, W]
    weight_ptr,  # [B, W], read if NORM
    stats_ptr,  # [R, B, 4]
    grad_out_ptr,  # [R, B, W]
    grad_mid_ptr,  # [R, B, W], read if GRAD_MID
    grad_x_ptr,  # [R, B, W]
    grad_params_ptr,  # float32 [programs, 2, B, W], written if NORM
    n_rows,
    n_blocks,
    width,
    SOFTMAX: tl.constexpr,
    NORM: tl.constexpr,
    GRAD_MID: tl.constexpr,
    ROWS: tl.constexpr,  # rows at a time
    BLOCK: tl.constexpr,  # power of two >= W
):
    """A program takes one block of neurons of every so many rows, and sums weight's and bias's gradients."""
    block = tl.program_id(1)
    column = tl.arange(0, BLOCK)[None, :]
    of_column = block * width + column
    weight = tl.zeros([1, BLOCK], tl.float32)
    if NORM:
        weight = tl.load(weight_ptr + of_column, mask=column < width, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([ROWS, BLOCK], tl.float32)
    grad_bias = tl.zeros([ROWS, BLOCK], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        inside = (row < n_rows) & (column < width)
        at = (row * n_blocks + block) * width + column
        stats = stats_ptr + (row * n_blocks + block) * 4
        m = tl.load(stats, mask=row < n_rows, other=0.0)
        inverse = tl.load(stats + 1, mask=row < n_rows, other=0.0)
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad_out_ptr + at, mask=inside, other=0.0).to(tl.float32)
        e = tl.exp(x - m)
        p = tl.where(inside, e * inverse, 0.0)
        dot = tl.zeros([ROWS, 1], tl.float32)
        d = g
        if NORM:
            mean = tl.load(stats + 2, mask=row < n_rows, other=0.0)
            rstd = tl.load(stats + 3, mask=row < n_rows, other=0.0)
            n = tl.where(inside, (x * e - mean) * (rstd * inverse), 0.0)
            grad_weight += g * n
            grad_bias += g
            h = g * weight
            mean_h = tl.sum(h, axis=1, keep_dims=True) / width
            total_hn = tl.sum(h * n, axis=1, keep_dims=True)
            d = (h - mean_h - n * (total_hn / width)) * rstd
        if GRAD_MID:
            d += tl.load(grad_mid_ptr + at, mask=inside, other=0.0).to(tl.float32)
        if SOFTMAX:
            dot = tl.sum(d * x * p, axis=1, keep_dims=True)
        grad_x = p * (d + (d * x - dot))
        tl.store(grad_x_ptr + at, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
    if NORM:
        share = grad_params_ptr + tl.program_id(0).to(tl.int64) * 2 * n_blocks * width + of_column
        tl.store(share, tl.sum(grad_weight, axis=0, keep_dims=True), mask=column < width)
        share += n_blocks * width
        tl.store(share, tl.sum(grad_bias, axis=0, keep_dims=True), mask=column < width)


@triton.jit
def _grad_of_mid(
    x,
    e,  # exp(x - m)
    at,  # of these columns in a row of x's shape
    of_column,  # of these columns in weight
    inside,
    weight_ptr,
    grad_out_ptr,
    grad_mid_ptr,
    mean,
    rstd,
    inverse,
    mean_h,
    mean_hn,
    NORM: tl.constexpr,
    GRAD_MID: tl.constexpr,
):
    d = tl.load(grad_out_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        h = d * tl.load(weight_ptr + of_column, mask=inside, other=0.0).to(tl.float32)
        d = (h - mean_h - (x * e - mean) * (rstd * inverse) * mean_hn) * rstd
    if GRAD_MID:
        d += tl.load(grad_mid_ptr + at, mask=inside, other=0.0).to(tl.float32)
    return d


@triton.jit
def backward_looped(
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
    """A program takes one block of one row: the norm's sums, the softmax's, then the gradient of x."""
    row = tl.program_id(0).to(tl.int64) * n_blocks + tl.program_id(1)
    first = row * width
    weights = weight_ptr + tl.program_id(1) * width
    m = tl.load(stats_ptr + row * 4)
    inverse = tl.load(stats_ptr + row * 4 + 1)
    mean = tl.load(stats_ptr + row * 4 + 2)
    rstd = tl.load(stats_ptr + row * 4 + 3)
    mean_h = 0.0
    mean_hn = 0.0
    if NORM:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
            h = tl.load(grad_out_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
            h *= tl.load(weights + column, mask=inside, other=0.0).to(tl.float32)
            n = (x * tl.exp(x - m) - mean) * (rstd * inverse)
            mean_h += tl.sum(h, axis=0) / width
            mean_hn += tl.sum(tl.where(inside, h * n, 0.0), axis=0) / width
    dot = 0.0
    if SOFTMAX:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
            e = tl.exp(x - m)
            d = _grad_of_mid(
                x, e, first + column, column, inside, weights, grad_out_ptr, grad_mid_ptr,
                mean, rstd, inverse, mean_h, mean_hn, NORM, GRAD_MID,
            )  # fmt: skip
            dot += tl.sum(tl.where(inside, d * x * e, 0.0), axis=0)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
        e = tl.exp(x - m)
        d = _grad_of_mid(
            x, e, first + column, column, inside, weights, grad_out_ptr, grad_mid_ptr,
            mean, rstd, inverse, mean_h, mean_hn, NORM, GRAD_MID,
        )  # fmt: skip
        grad_x = e * inverse * (d + (d * x - dot * inverse))
        tl.store(grad_x_ptr + first + column, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def parameter_grads_looped(
    x_ptr,  # [R, B, W]
    stats_ptr,  # [R, B, 4]
    grad_out_ptr,  # [R, B, W]
    grad_params_ptr,  # float32 [programs, 2, B, W]
    n_rows,
    n_blocks,
    width,
    ROWS: tl.constexpr,  # rows at a time
    COLUMNS: tl.constexpr,  # neurons a program
):
    """Weight's and bias's gradients of rows too long for `backward_one_pass`: a program sums over rows."""
    block = tl.program_id(2)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    grad_weight = tl.zeros([ROWS, COLUMNS], tl.float32)
    grad_bias = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        inside = (row < n_rows) & (column < width)
        at = (row * n_blocks + block) * width + column
        stats = stats_ptr + (row * n_blocks + block) * 4
        m = tl.load(stats, mask=row < n_rows, other=0.0)
        inverse = tl.load(stats + 1, mask=row < n_rows, other=0.0)
        mean = tl.load(stats + 2, mask=row < n_rows, other=0.0)
        rstd = tl.load(stats + 3, mask=row < n_rows, other=0.0)
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad_out_ptr + at, mask=inside, other=0.0).to(tl.float32)
        grad_weight += tl.where(inside, g * (x * tl.exp(x - m) - mean) * (rstd * inverse), 0.0)
        grad_bias += g
    share = grad_params_ptr + tl.program_id(0).to(tl.int64) * 2 * n_blocks * width + block * width + column
    tl.store(share, tl.sum(grad_weight, axis=0, keep_dims=True), mask=column < width)
    share += n_blocks * width
    tl.store(share, tl.sum(grad_bias, axis=0, keep_dims=True), mask=column < width)
