"""Difference of LN(SoLU(x)) and LN(x * exp(x)) in floating point, with its causes (paper, section 4.3).

    python benchmarks/exponential_form.py [MODEL --text FILE]

On normal pre-activations of several widths and spreads and, given a model, on its own: the median of
softmax's denominator Z; the relative difference of the two in float64 at eps = 0 (the identity), in
float32 at eps = 0 (rounding) and in float32 at eps = 1e-5; what eps Z^2 against the variance of
x * exp(x) predicts for eps = 1e-5; and the difference after `to_solu_ln`'s change of eps.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from solu_model import load_checkpoint
from solu_model.activation import exp_unit, layer_norm, solu_ln
from solu_model.text.tokenizer import encode_texts

EPS = 1e-5


def main() -> None:
    """Print one row for each kind of pre-activations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--text", type=Path)
    args = parser.parse_args()
    print(
        f"{'pre-activations':28}{'median Z':>10}{'eps 0, f64':>12}{'eps 0, f32':>12}{'eps 1e-5':>10}"
        f"{'predicted':>11}{'converted':>11}"
    )
    generator = torch.Generator().manual_seed(0)
    for M, spread in ((128, 1.0), (1536, 0.3), (1536, 1.0), (1536, 2.0), (6144, 1.0)):
        row(f"normal, {M} wide, spread {spread}", torch.randn(256, M, generator=generator) * spread)
    if args.model:
        model, tokenizer = load_checkpoint(args.model)
        if tokenizer is None or args.text is None:
            parser.error("a model needs its tokenizer and --text")
        ids = encode_texts(tokenizer, [args.text.read_text(encoding="utf-8")])[0][: model.config.n_ctx - 1]
        tokens = torch.tensor([[int(tokenizer.bos_token_id), *ids]])
        for layer in range(model.config.n_layers):
            name = f"blocks.{layer}.mlp.hook_pre"
            row(f"{Path(args.model).name}, layer {layer}", model.activations(tokens, [name])[name][0, 1:])


def row(label: str, x: Tensor) -> None:
    """Print the differences for pre-activations `x [T, M]`."""
    M = x.shape[-1]
    Z = torch.logsumexp(x.double(), -1, keepdim=True).exp()
    variance = exp_unit(x.double()).var(-1, keepdim=True, correction=0)
    shrink = (variance / (variance + EPS * Z**2)).sqrt()
    values = [
        difference(x.double(), 0.0, 0.0),
        difference(x, 0.0, 0.0),
        difference(x, EPS, EPS),
        (1 - shrink).mean().item(),
        difference(x, EPS / M**2, EPS),
    ]
    print(f"{label:28}{Z.median().item():10.0f}" + "".join(f"{v:11.1e}" for v in values))


def difference(x: Tensor, eps_solu: float, eps_exp: float) -> float:
    """Return |LN(SoLU(x)) - LN(x exp(x))| / |LN(x exp(x))|."""
    one, zero = torch.ones(x.shape[-1], dtype=x.dtype), torch.zeros(x.shape[-1], dtype=x.dtype)
    by_exp = layer_norm(exp_unit(x), one, zero, eps_exp)
    return ((solu_ln(x, one, zero, eps_solu) - by_exp).norm() / by_exp.norm()).item()


if __name__ == "__main__":
    main()
