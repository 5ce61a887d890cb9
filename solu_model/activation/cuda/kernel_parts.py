"""What the Triton kernels share: loads and stores, the statistics of a row, the steps of the gradient.

Formulas in `solu_model.activation.cpu.backend`. All arithmetic is float32.
"""

import triton
import triton.language as tl


@triton.jit
def load(ptr, at, inside):
    """float32, 0 outside."""
    return tl.load(ptr + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store(ptr, at, inside, value):
    """Rounded to what ptr points to."""
    tl.store(ptr + at, value.to(ptr.dtype.element_ty), mask=inside)


@triton.jit
def load_stats(ptr, row, inside):
    """m, 1 / s, mean and r of the rows and blocks numbered `row`: columns of ptr, float32 `[R B, 4]`."""
    m = load(ptr, row * 4, inside)
    inverse = load(ptr, row * 4 + 1, inside)
    mean = load(ptr, row * 4 + 2, inside)
    rstd = load(ptr, row * 4 + 3, inside)
    return m, inverse, mean, rstd


@triton.jit
def store_stats(ptr, row, inside, m, inverse, mean, rstd):
    """What `load_stats` reads."""
    tl.store(ptr + row * 4, m, mask=inside)
    tl.store(ptr + row * 4 + 1, inverse, mask=inside)
    tl.store(ptr + row * 4 + 2, mean, mask=inside)
    tl.store(ptr + row * 4 + 3, rstd, mask=inside)


@triton.jit
def normalised(x, e, mean, scale):
    """n, from the same t = x e as in the forward pass."""
    return (x * e - mean) * scale


@triton.jit
def through_norm(h, n, mean_h, mean_hn, rstd):
    """d, the gradient of mid."""
    return (h - mean_h - n * mean_hn) * rstd


@triton.jit
def through_unit(x, p, d, dot):
    """The gradient of x, p (d + (d x - dot)), multiplied out: d x may overflow where p is 0."""
    return p * d + (d * (x * p) - p * dot)


@triton.jit
def store_shares(ptr, of_column, n_columns, inside, grad_weight, grad_bias):
    """A program's share of weight's and bias's gradients: ptr is float32 `[programs, 2, n_columns]`."""
    share = tl.program_id(0).to(tl.int64) * 2 * n_columns + of_column
    tl.store(ptr + share, tl.sum(grad_weight, axis=0, keep_dims=True), mask=inside)
    tl.store(ptr + share + n_columns, tl.sum(grad_bias, axis=0, keep_dims=True), mask=inside)
