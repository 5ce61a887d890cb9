"""Compare our outputs with those of HookedTransformer, layout by layout; exit with 1 if they differ.

    python tests/oracle/compare.py OUT [--write-golden FILE]

OUT is the folder that run_hooked_transformer.py wrote. The program prints a table with one row per layout:

- the largest absolute differences in float32, by kind of point;
- `scaled`: the largest |difference| / max(1, |value|), on which the verdict is based, since float32 resolves
  a hook_post of 40 no better than to 4e-6;
- `float64`: the same in float64, where only a different formula leaves a difference;
- the float32 differences to TransformerLens's default loading, which folds and centres weights.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import layouts
import numpy as np
import torch
from layouts import Layout
from safetensors.torch import save_file

from solu_model.loading.checkpoints import load_checkpoint

TOLERANCE = 1e-5
TOLERANCE_64 = 1e-11
HOOKS = ("hook_pre", "hook_mid", "hook_post")
KINDS = ("logits", *HOOKS)
Outputs = dict[str, np.ndarray]


def main() -> int:
    """Print the table; return 1 if a layout was not run or exceeds the tolerance, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--write-golden", type=Path)
    args = parser.parse_args()
    golden, failed = {}, 0
    print(
        f"{'layout':27}{'L':>3}{'D':>5}{'logits':>9}{'pre':>9}{'mid':>9}{'post':>9}{'scaled':>9}{'float64':>9}"
        f"     | by default: {'logits':>8}{'pre':>9}"
    )
    for layout in [*layouts.SMALL, *layouts.PUBLISHED]:
        file = args.out / f"{layout.name}{'' if layout.small else ' real'}.npz"
        if file.exists():
            theirs = dict(np.load(file))
            failed += not compare(layout, theirs)
            if layout.small:
                golden |= golden_outputs(layout, theirs)
        elif layout.small:
            print(f"{layout.name:27} was not run")
            failed += 1
    print(
        f"{failed} layouts NOT within" if failed else "every layout within",
        f"{TOLERANCE:g} of max(1, |value|)",
    )
    if args.write_golden:
        save_file(golden, args.write_golden)
    return min(failed, 1)


def compare(layout: Layout, theirs: Outputs) -> bool:
    """Print a row; return True if it is within the tolerance."""
    ours = run(layout)
    plain = worst(ours, theirs, "plain")
    scaled = max(worst(ours, theirs, "plain", scaled=True).values())
    double = max(worst(run(layout, torch.float64), theirs, "double", scaled=True).values())
    good = scaled <= TOLERANCE and double <= TOLERANCE_64
    row = f"{layout.name:27}{layout.n_layers:3}{layout.d_model:5}"
    row += "".join(f"{plain[k]:9.1e}" if k in plain else f"{'-':>9}" for k in KINDS)
    row += f"{scaled:9.1e}{double:9.1e}"
    note = ""
    if "default/logits" in theirs:
        folded = worst(ours, theirs, "default")
        note = f"| {folded['logits']:20.1e}{folded['hook_pre']:9.1e}"
        if layout.final_rms:
            note += "  it centres W_U under an RMS norm"
        else:
            good &= folded["logits"] <= TOLERANCE
    if "exact/logits" in theirs:
        exact = worst(ours, theirs, "exact", only_layer=0)
        note += f"  its exact GELU: post {exact['hook_post']:.1e} away in layer 0"
    print(row, "ok  " if good else "FAR ", note, flush=True)
    return good


@torch.no_grad()
def run(layout: Layout, dtype: torch.dtype = torch.float32) -> Outputs:
    """Return logits and MLP activations of a layout, loaded by our loader."""
    with tempfile.TemporaryDirectory() as folder:
        layouts.write_checkpoint(layout, Path(folder))
        model, _ = load_checkpoint(folder)
        model.to(dtype)
        names = [n for n in model.point_names() if n.rpartition(".")[2] in HOOKS]
        logits, cache = model.run_with_cache(layouts.tokens(layout), names)
    return {"logits": logits.numpy()} | {k: v.numpy() for k, v in cache.items()}


def worst(
    ours: Outputs, theirs: Outputs, way: str, *, scaled: bool = False, only_layer: int | None = None
) -> dict[str, float]:
    """Return the largest difference by kind of point.

    TransformerLens's default loading centres the logits, so ours are centred for that comparison.
    """
    largest: dict[str, float] = {}
    for point, value in ours.items():
        if only_layer is not None and not point.startswith(f"blocks.{only_layer}."):
            continue
        if way == "default" and point == "logits":
            value = value - value.mean(-1, keepdims=True)
        kind = point.rpartition(".")[2]
        difference = np.abs(value - theirs[f"{way}/{point}"])
        if scaled:
            difference = difference / np.maximum(np.abs(value), 1)
        largest[kind] = max(largest.get(kind, 0.0), float(difference.max()))
    return largest


def golden_outputs(layout: Layout, theirs: Outputs) -> dict[str, torch.Tensor]:
    """Select outputs for the golden file: the first row's logits, and activations of two layers."""
    layers = {f"blocks.{i}." for i in (0, layout.n_layers - 1)}
    return {
        f"{layout.name}/{name}": torch.from_numpy(value[:1].copy())
        for key, value in theirs.items()
        if (name := key.removeprefix("plain/")) != key
        and (name == "logits" or any(name.startswith(layer) for layer in layers))
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
