"""Inputs that activations stumble over, and the comparison with the definition in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from solu_model.activation import reference

EPS = 1e-5

ARITHMETIC = 16 * 2**-24
"""Largest error of float32 arithmetic, as a share of the largest term that enters a row of the result: 16
roundings. On the way to a result stand about 10: exp 2, a sum of a block 2 to 4, mean, deviation,
1 / sqrt and three products; found in 7500 draws were at most 6. A share of the terms and not of the result,
because what cancels takes its digits along, in the definition as well."""

ROUNDING = {
    torch.float32: 0.0,
    torch.bfloat16: 2**-8,  # the result is rounded once, to 8 bits of mantissa
    torch.float16: 2**-11,  # the same, to 11 bits
}
"""What storing a result adds, as a share of the row's largest value."""

SPACING = {torch.float32: 2**-149, torch.bfloat16: 2**-133, torch.float16: 2**-24}
"""Distance of the smallest numbers a dtype has: below it, errors mean nothing."""

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
    """Shares of the tolerance that a fast path's results and gradients use: at most 1 passes.

    Args:
        function: (x, weight, bias) to (out, mid), fast, with `EPS`.
        form: of the definition to compare with, `solu_ln` or `exp_ln`.
        n_blocks: of both.
        x: `[..., M]` float32; rounded to `dtype` before anybody sees it.
        dtype: of x and of the results; weight and bias stay float32.
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
    found, exact, float32 = (
        run(function, dtype),
        run(definition, torch.float64),
        run(definition, torch.float32),
    )
    terms = largest_terms(form, n_blocks, *(t.double() for t in (x, weight, bias, *grads)))
    return {name: _share(*values) for name, *values in zip(names, found, exact, float32, terms, strict=True)}


def _share(found: Tensor, exact: Tensor, float32: Tensor, terms: Tensor) -> float:
    """The largest error over what is allowed in its row; a NaN that the definition has not is infinite.

    Where the definition in float32 makes a NaN of what is finite in float64, nothing is asked.
    """
    dtype = found.dtype
    found, exact, float32 = (t.double().reshape(-1, t.shape[-1]) for t in (found, exact, float32))
    asked = exact.isnan() | ~float32.isnan()
    if ((found.isnan() != exact.isnan()) & asked).any():
        return float("inf")
    error = torch.where(asked, found - exact, 0.0).nan_to_num(0, torch.inf).abs().amax(-1)
    allowed = ROUNDING[dtype] * exact.nan_to_num(0).abs().amax(-1) + ARITHMETIC * terms + SPACING[dtype]
    return float((error / allowed).max())


def largest_terms(
    form: str, n_blocks: int, x: Tensor, weight: Tensor, bias: Tensor, grad_out: Tensor, grad_mid: Tensor
) -> tuple[Tensor, ...]:
    """The largest term that enters each row of out, mid and x's gradient, and weight's and bias's gradients.

    Everything is float64. The formulas are those of the gradient, with every sum made one of magnitudes.
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
    # mid - mean(mid) may cancel: it is as exact as what it is the difference of. Equal ones leave 0 exactly.
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
    """(x, weight, bias) to (out, mid), by `reference`; form is `solu_ln` or `exp_ln`."""

    def both(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if form == "solu_ln":
            return reference.solu_ln(x, weight, bias, EPS, n_blocks), reference.solu(x, n_blocks)
        return reference.exp_ln(x, weight, bias, EPS, n_blocks), reference.exp_unit(x)

    return both
