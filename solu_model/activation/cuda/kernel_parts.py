"""Parts of the Triton kernels: loads and stores, the statistics of a row, steps of the gradient.

The formulas are in `solu_model.activation.cpu.backend`. All arithmetic is float32.
"""

import triton
import triton.language as tl


@triton.jit
def load(ptr, at, inside):
    """Load elements as float32; 0 outside the mask."""
    return tl.load(ptr + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store(ptr, at, inside, value):
    """Store elements, rounded to the dtype that ptr points to."""
    tl.store(ptr + at, value.to(ptr.dtype.element_ty), mask=inside)


@triton.jit
def load_stats(ptr, row, inside):
    """Load m, 1 / s, mean and r of the rows (of one block each) `row`; ptr is float32 `[R B, 4]`."""
    m = load(ptr, row * 4, inside)
    inverse = load(ptr, row * 4 + 1, inside)
    mean = load(ptr, row * 4 + 2, inside)
    rstd = load(ptr, row * 4 + 3, inside)
    return m, inverse, mean, rstd


@triton.jit
def store_stats(ptr, row, inside, m, inverse, mean, rstd):
    """Store m, 1 / s, mean and r for `load_stats`."""
    tl.store(ptr + row * 4, m, mask=inside)
    tl.store(ptr + row * 4 + 1, inverse, mask=inside)
    tl.store(ptr + row * 4 + 2, mean, mask=inside)
    tl.store(ptr + row * 4 + 3, rstd, mask=inside)


@triton.jit
def normalised(x, e, mean, scale):
    """Return n, from the same t = x e as in the forward pass."""
    return (x * e - mean) * scale


@triton.jit
def through_norm(h, n, mean_h, mean_hn, rstd):
    """Return d, the gradient of mid."""
    return (h - mean_h - n * mean_hn) * rstd


@triton.jit
def through_unit(x, p, d, dot):
    """Return the gradient of x, p (d + (d x - dot)); multiplied out, as d x may overflow where p is 0."""
    return p * d + (d * (x * p) - p * dot)


@triton.jit
def store_partial_grads(ptr, of_column, n_columns, inside, grad_weight, grad_bias):
    """Store a program's partial gradients of weight and bias; ptr is float32 `[programs, 2, n_columns]`."""
    at = tl.program_id(0).to(tl.int64) * 2 * n_columns + of_column
    tl.store(ptr + at, tl.sum(grad_weight, axis=0, keep_dims=True), mask=inside)
    tl.store(ptr + at + n_columns, tl.sum(grad_bias, axis=0, keep_dims=True), mask=inside)
