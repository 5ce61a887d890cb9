"""Difficult inputs of activations, and the comparison of a fast path with the definition in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from solu_model.activation import reference

EPS = 1e-5

ARITHMETIC = 16 * 2**-24
"""Tolerance for float32 arithmetic, relative to the largest term in a row of the result: 16 roundings.

A result is about 10 roundings away from its inputs: exp 2, a sum over a block 2 to 4, mean, deviation, 1 /
sqrt and three products. The largest error in 7,500 draws was 6. It is relative to the terms and not to the
result, because terms that cancel lose digits, in the definition as well."""

ROUNDING = {
    torch.float32: 0.0,
    torch.bfloat16: 2**-8,  # the result is rounded once, to 8 bits of mantissa
    torch.float16: 2**-11,  # the same, to 11 bits
}
"""Error of storing a result, relative to the row's largest value."""

SPACING = {torch.float32: 2**-149, torch.bfloat16: 2**-133, torch.float16: 2**-24}
"""Spacing of the smallest numbers of a dtype: smaller errors have no meaning."""

WIDTHS = [1, 7, 64, 1000, 2048, 4097]
N_ROWS = 6

INPUTS: dict[str, Callable[[int], Tensor]] = {
    **{
        f"scale {scale:g}": lambda width, scale=scale: scale * torch.randn(N_ROWS, width)
        for scale in (1e-3, 1e-1, 1, 10, 1e3)
    },
    "one huge value": lambda width: torch.randn(N_ROWS, width).index_fill(1, torch.tensor(width // 2), 1e4),
    "one hugely negative value": lambda width: torch.randn(N_ROWS, width).index_fill(
        1, torch.tensor(width // 2), -3e38
    ),
    "all equal": lambda width: torch.linspace(-3, 3, N_ROWS)[:, None].repeat(1, width),
}


def compare(
    function: Callable[..., tuple[Tensor, Tensor]], form: str, n_blocks: int, x: Tensor, dtype: torch.dtype
) -> dict[str, float]:
    """Compare a fast path with the definition in float64.

    Args:
        function: the fast path, from (x, weight, bias) to (out, mid), with `EPS`.
        form: the definition to compare with, `solu_ln` or `exp_ln`.
        n_blocks: number of blocks of neurons, for both.
        x: `[..., M]` float32; rounded to `dtype` before either reads it.
        dtype: dtype of x and of the results; weight and bias stay float32.

    Returns:
        The error of each result and gradient as a share of its tolerance; at most 1 passes.
    """
    x = x.to(dtype)
    weight, bias = torch.randn(2, x.shape[-1])
    grads = torch.randn(2, *x.shape).to(dtype)
    definition = definition_of(form, n_blocks)

    def run(f: Callable[..., tuple[Tensor, Tensor]], kind: torch.dtype) -> list[Tensor]:
        wide = torch.float64 if kind == torch.float64 else torch.float32
        kinds = (kind, wide, wide)
        leaves = [t.to(k, copy=True).requires_grad_() for t, k in zip((x, weight, bias), kinds, strict=True)]
        outputs = f(*leaves)
        torch.autograd.backward(outputs, [g.to(o.dtype) for g, o in zip(grads, outputs, strict=True)])
        return [*(o.detach() for o in outputs), *(leaf.grad for leaf in leaves)]

    names = ("out", "mid", "x.grad", "weight.grad", "bias.grad")
    fast, exact, float32 = (
        run(function, dtype),
        run(definition, torch.float64),
        run(definition, torch.float32),
    )
    terms = largest_terms(form, n_blocks, *(t.double() for t in (x, weight, bias, *grads)))
    return {name: _share(*values) for name, *values in zip(names, fast, exact, float32, terms, strict=True)}


def _share(fast: Tensor, exact: Tensor, float32: Tensor, terms: Tensor) -> float:
    """Return the largest error as a share of the tolerance of its row; infinity if only one side is NaN.

    Elements that are finite in float64 but NaN in the float32 definition are not compared.
    """
    dtype = fast.dtype
    fast, exact, float32 = (t.double().reshape(-1, t.shape[-1]) for t in (fast, exact, float32))
    is_compared = exact.isnan() | ~float32.isnan()
    if ((fast.isnan() != exact.isnan()) & is_compared).any():
        return float("inf")
    error = torch.where(is_compared, fast - exact, 0.0).nan_to_num(0, torch.inf).abs().amax(-1)
    allowed = ROUNDING[dtype] * exact.nan_to_num(0).abs().amax(-1) + ARITHMETIC * terms + SPACING[dtype]
    return float((error / allowed).max())


def largest_terms(
    form: str, n_blocks: int, x: Tensor, weight: Tensor, bias: Tensor, grad_out: Tensor, grad_mid: Tensor
) -> tuple[Tensor, ...]:
    """Return the largest term in each row of out, mid and x's gradient, and in weight's and bias's gradients.

    Everything is float64. The formulas are those of the gradient, with each sum replaced by a sum of
    magnitudes.
    """

    def blocks(t: Tensor) -> Tensor:
        return t.reshape(-1, n_blocks, x.shape[-1] // n_blocks)

    def rows(t: Tensor) -> Tensor:
        return t.flatten(1).amax(-1)

    def mean(t: Tensor) -> Tensor:
        return t.mean(-1, keepdim=True)

    x, g, g_mid, w, b = (blocks(t) for t in (x, grad_out, grad_mid, weight, bias))
    softmax = form == "solu_ln"
    p = torch.softmax(x, -1) if softmax else x.exp()
    mid = x * p
    r = (mid.var(-1, unbiased=False, keepdim=True) + EPS).rsqrt()
    n, h = ((mid - mean(mid)) * r).abs(), (g * w).abs()
    # mid - mean(mid) may cancel, so its error is that of its terms. Equal terms give exactly 0.
    equal = (x == x[..., :1]).all(-1, keepdim=True)
    n_terms = torch.where(equal, n, (mid.abs() + mean(mid.abs())) * r)
    d = r * (h + mean(h) + n_terms * mean(h * n) + n * mean(h * n_terms)) + g_mid.abs()
    of_x = p * d + d * mid.abs() + (p * (d * mid.abs()).sum(-1, keepdim=True) if softmax else 0)
    return (
        rows(n_terms * w.abs() + b.abs()),
        rows(mid.abs()),
        rows(of_x),
        (g.abs() * n_terms.amax(-1, keepdim=True)).sum(0).amax(),
        g.abs().sum(0).amax(),
    )


def definition_of(form: str, n_blocks: int) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the definition as a function (x, weight, bias) -> (out, mid); form is `solu_ln` or `exp_ln`."""

    def both(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if form == "solu_ln":
            return reference.solu_ln(x, weight, bias, EPS, n_blocks), reference.solu(x, n_blocks)
        return reference.exp_ln(x, weight, bias, EPS, n_blocks), reference.exp_unit(x)

    return both
