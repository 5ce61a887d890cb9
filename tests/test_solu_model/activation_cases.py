"""Inputs that activations stumble over, and the comparison with the definition in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from solu_model.activation import reference

TOLERANCE = {
    torch.float32: 1e-5,  # sums of thousands of terms in another order, and differences of large ones
    torch.bfloat16: 2**-8,  # one rounding of the result: 8 bits of mantissa
    torch.float16: 2**-10,  # one rounding of the result: 11 bits, with room for what lies below 6e-5
}
"""Largest error allowed, as a share of the row's largest value. Where the definition itself, in
float32, errs by more than that (cancellation in rows of one huge value), four times its error."""

WIDTHS = [1, 7, 64, 1000, 2048, 4097]
N_ROWS = 6

INPUTS: dict[str, Callable[[int], Tensor]] = {
    **{
        f"scale {scale:g}": lambda width, scale=scale: scale * torch.randn(N_ROWS, width)
        for scale in (1e-3, 1e-1, 1, 10, 1e3)
    },
    "one huge value": lambda width: torch.randn(N_ROWS, width).index_fill(1, torch.tensor(width // 2), 1e4),
    "one hugely negative value": lambda width: torch.randn(N_ROWS, width).index_fill(
        1, torch.tensor(width // 2), -1e30
    ),
    "all equal": lambda width: torch.linspace(-3, 3, N_ROWS)[:, None].repeat(1, width),
}


SPACING = {torch.float32: 2**-149, torch.bfloat16: 2**-133, torch.float16: 2**-24}
"""Distance of the smallest numbers a dtype has: below it, errors mean nothing."""


def largest_error(found: Tensor, exact: Tensor, rough: Tensor) -> float:
    """How much of its tolerance a result uses: at most 1 passes, NaN in the wrong place is infinite.

    Args:
        found: from a fast path, any dtype.
        exact: the definition's result in float64.
        rough: the definition's result in float32.
    """
    if not torch.equal(found.isnan(), exact.isnan()):
        return float("inf")
    dtype = found.dtype
    found, exact, rough = (t.double().nan_to_num(0).flatten(0, -2) for t in (found, exact, rough))
    allowed = TOLERANCE[dtype] * exact.abs().amax(-1)
    allowed = torch.maximum(allowed, 4 * (rough - exact).abs().amax(-1)) + SPACING[dtype] + 1e-30
    return float(((found - exact).abs().amax(-1) / allowed).max())


def compare(
    function: Callable[..., Tensor | tuple[Tensor, Tensor]],
    definition: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Shares of the tolerance that a fast path's results and gradients use.

    Args:
        function: (x, weight, bias) to (out, mid), fast.
        definition: the same by the definition.
        x: `[..., M]` float32; rounded to `dtype` before anybody sees it.
        dtype: of x and of the results; weight and bias stay float32.
    """
    x = x.to(dtype)
    weight, bias = torch.randn(2, x.shape[-1])
    grads = torch.randn(2, *x.shape).to(dtype)

    def run(f: Callable[..., tuple[Tensor, Tensor]], kind: torch.dtype) -> list[Tensor]:
        wide = torch.float64 if kind == torch.float64 else torch.float32
        kinds = (kind, wide, wide)
        leaves = [t.to(k, copy=True).requires_grad_() for t, k in zip((x, weight, bias), kinds, strict=True)]
        outputs = f(*leaves)
        torch.autograd.backward(outputs, [g.to(o.dtype) for g, o in zip(grads, outputs, strict=True)])
        return [*(o.detach() for o in outputs), *(leaf.grad for leaf in leaves)]

    names = ("out", "mid", "x.grad", "weight.grad", "bias.grad")
    found, exact, rough = run(function, dtype), run(definition, torch.float64), run(definition, torch.float32)
    shares = {}
    for name, *values in zip(names, found, exact, rough, strict=True):
        f, e, r = (v if v.ndim > 1 else v[None] for v in values)
        shares[name] = largest_error(f, e, r)
    return shares


def definition_of(form: str, n_blocks: int) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(x, weight, bias) to (out, mid), by `reference`; form is `solu_ln` or `exp_ln`."""

    def both(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if form == "solu_ln":
            return reference.solu_ln(x, weight, bias, 1e-5, n_blocks), reference.solu(x, n_blocks)
        return reference.exp_ln(x, weight, bias, 1e-5, n_blocks), reference.exp_unit(x)

    return both
