"""Run every layout through HookedTransformer and write its outputs to OUT, one .npz file per layout.

    .venv-oracle/bin/python tests/oracle/run_hooked_transformer.py OUT [--real NAME ...]

It runs in a separate environment with TransformerLens and without this project. TransformerLens reads the
invented checkpoints with its own loader for the published repositories; only the download is replaced by
reading a folder.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import torch
import transformer_lens.loading_from_pretrained as loading
from layouts import Layout
from transformer_lens import HookedTransformer

HOOKS = ("hook_pre", "hook_mid", "hook_post")


def main() -> None:
    """Write one .npz file for each layout and print its name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--real", nargs="*", default=[], help="repositories to run at their real shapes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    real = [layout for layout in layouts.PUBLISHED if layout.repository.partition("/")[2] in args.real]
    for layout in [*layouts.SMALL, *real]:
        file = args.out / f"{layout.name}{'' if layout.small else ' real'}.npz"
        np.savez(file, **run(layout))
        print(file.name, flush=True)


def run(layout: Layout) -> dict[str, np.ndarray]:
    """Return the outputs of TransformerLens for a layout, loaded in several ways.

    `plain`: no processing, norms applied as the file holds them, GELU in the tanh form. `default`: loaded as
    `HookedTransformer.from_pretrained` does by default, which folds and centres weights. `exact`: as
    plain, with the exact GELU that TransformerLens runs for act_fn "gelu". `double`: as plain, in float64.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        layouts.write_checkpoint(layout, folder)
        changes: dict[str, Any] = {}
        if layout.normalization == "LNPre" and not layout.norms_folded:
            changes["normalization_type"] = "LN"
        if layout.act_fn == "gelu":
            changes["act_fn"] = "gelu_new"
        out = outputs("plain", layout, load(layout, folder, changes, processing=False))
        out |= outputs("double", layout, load(layout, folder, changes, processing=False, dtype=torch.float64))
        if layout.act_fn == "gelu":
            out |= outputs("exact", layout, load(layout, folder, {}, processing=False))
        if not layout.norms_folded and layout.small:
            changes.pop("normalization_type", None)
            out |= outputs("default", layout, load(layout, folder, changes, processing=True))
    return out


def load(
    layout: Layout,
    folder: Path,
    changes: dict[str, Any],
    *,
    processing: bool,
    dtype: torch.dtype = torch.float32,
) -> HookedTransformer:
    """Load a checkpoint with TransformerLens's own loader for the repository's name."""
    file = next(f.name for f in folder.iterdir() if f.name.endswith("final.pth"))

    def download(repository: str, name: str, **_: Any) -> Any:
        assert repository == layout.repository
        if name == "config.json":
            fields = json.loads((folder / name).read_text())
            if "normalization_type" in changes:
                fields.pop("normalization", None)
            return fields | changes
        return torch.load(folder / name, weights_only=True)

    loading.utils.download_file_from_hf = download
    loading.HfApi.list_repo_files = lambda *_, **__: ["config.json", file]
    name = layout.repository
    if processing:
        return HookedTransformer.from_pretrained(name, device="cpu", dtype=dtype)
    return HookedTransformer.from_pretrained_no_processing(name, device="cpu", dtype=dtype)


@torch.no_grad()
def outputs(way: str, layout: Layout, model: HookedTransformer) -> dict[str, np.ndarray]:
    """Return logits and MLP activations, named `way/point`."""
    logits, cache = model.run_with_cache(
        layouts.tokens(layout), names_filter=lambda name: name.rpartition(".")[2] in HOOKS
    )
    return {f"{way}/logits": logits.numpy()} | {f"{way}/{k}": v.numpy() for k, v in cache.items()}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    main()
