"""Agreement of direct logit effects with ablation of every neuron.

    python benchmarks/logit_effects_agreement.py MODEL --text FILE [--rows 32] [--positions 16]

For each neuron of the last layer: at the positions where its `hook_post` is strongest, the true change of the
logits when it is set to zero (the residual stream without it, through the final norm and the unembedding),
centred over the vocabulary, against `direct_logit_effects` times the activation. Prints the distribution over
neurons of the cosine similarity, and the cause of low values: the part of the change that comes from the
divisor of the final norm, which the weights do not determine.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from solu_model import SoluForCausalLM, ablation_effects, direct_logit_effects, load_checkpoint
from solu_model.logit_effects import final_scale
from solu_model.text.tokenizer import encode_texts


def main() -> None:
    """Measure and print; with --out, also write the numbers of every neuron as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokenizer")
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, help="UTF-8 text, or Parquet with a column `text`"
    )
    parser.add_argument("--rows", type=int, default=32, help="contexts to look through")
    parser.add_argument("--positions", type=int, default=16, help="strongest positions for each neuron")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model, tokenizer = load_checkpoint(args.model, tokenizer=args.tokenizer)
    if tokenizer is None:
        parser.error("this checkpoint has no tokenizer: give one with --tokenizer PATH")
    n_ctx = model.config.n_ctx
    ids = [i for file in args.text for text in texts(file) for i in encode_texts(tokenizer, [text])[0]]
    rows = torch.tensor(ids[: len(ids) // (n_ctx - 1) * (n_ctx - 1)]).view(-1, n_ctx - 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: args.rows]]
    bos = torch.full((len(rows), 1), int(tokenizer.bos_token_id))
    measured = measure(model, torch.cat([bos, rows], 1), args.positions)
    report(measured)
    if args.out:
        args.out.write_text(json.dumps({k: np.round(v, 4).tolist() for k, v in measured.items()}) + "\n")


def texts(file: Path) -> Iterator[str]:
    """Return the documents of a file."""
    if file.suffix != ".parquet":
        yield file.read_text(encoding="utf-8")
        return
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(batch_size=64, columns=["text"]):
        yield from batch.column(0).to_pylist()


@torch.no_grad()
def measure(model: SoluForCausalLM, tokens_BT: Tensor, positions: int) -> dict[str, np.ndarray]:
    """Measure for every neuron of the last layer similarities and what may explain them."""
    layer = model.config.n_layers - 1
    hook, resid = f"blocks.{layer}.mlp.hook_post", f"blocks.{layer}.hook_resid_post"
    # The BOS position is left out: it is the same in every row.
    taken = [model.activations(row[None], [hook, resid]) for row in tokens_BT]
    post_NM = torch.cat([t[hook][0, 1:] for t in taken])
    resid_ND = torch.cat([t[resid][0, 1:] for t in taken])
    held = check_against_ablation(model, tokens_BT[:1], layer)
    print(f"{len(post_NM)} positions; held divisor, largest relative error of the direct effect: {held:.1e}")

    path = model.output_path(layer)
    found: dict[str, list[float]] = {
        k: [] for k in ("cosine", "cosine_min", "cosine_random", "post", "aligned", "share", "size")
    }
    generator = torch.Generator().manual_seed(0)
    for neuron in range(model.config.d_mlp):
        act_N = post_NM[:, neuron]
        top = act_N.abs().topk(positions).indices
        random = torch.randint(len(act_N), (positions,), generator=generator)
        direct_V = direct_logit_effects(model, layer, neuron)[0]
        cosines = {}
        for name, at in (("top", top), ("random", random)):
            x_PD, act_P = resid_ND[at], act_N[at]
            true_PV = logits(model, x_PD) - logits(model, x_PD - act_P[:, None] * path.W_out[neuron])
            true_PV -= true_PV.mean(-1, keepdim=True)
            want_PV = direct_V * act_P[:, None]
            cosines[name] = torch.cosine_similarity(true_PV, want_PV, dim=-1)
            if name == "top":
                linear_PV = want_PV / final_scale(model, x_PD)
                share = (true_PV - linear_PV).norm(dim=-1) / true_PV.norm(dim=-1)
                written = path.W_out[neuron] * act_P[:, None]
                read = x_PD - x_PD.mean(-1, keepdim=True) if path.centres else x_PD
                written = written - written.mean(-1, keepdim=True) if path.centres else written
                found["aligned"].append(torch.cosine_similarity(read, written, dim=-1).abs().mean().item())
                found["size"].append((written.norm(dim=-1) / read.norm(dim=-1)).mean().item())
        found["cosine"].append(cosines["top"].mean().item())
        found["cosine_min"].append(cosines["top"].min().item())
        found["cosine_random"].append(cosines["random"].mean().item())
        found["post"].append(act_N[top].mean().item())
        found["share"].append(share.mean().item())
    return {k: np.array(v) for k, v in found.items()}


def logits(model: SoluForCausalLM, x_PD: Tensor) -> Tensor:
    """Return the logits of the last residual stream."""
    return model.unembed(model.ln_final(x_PD))


@torch.no_grad()
def check_against_ablation(model: SoluForCausalLM, tokens_BT: Tensor, layer: int) -> float:
    """Return the relative error of direct effects, by `ablation_effects` with a fixed divisor, in float64."""
    model = copy.deepcopy(model).double()
    names = [f"blocks.{layer}.mlp.hook_post", f"blocks.{layer}.hook_resid_post"]
    taken = model.activations(tokens_BT, names)
    worst = 0.0
    for neuron in range(0, model.config.d_mlp, max(1, model.config.d_mlp // 8)):
        true_BTV = ablation_effects(model, tokens_BT, layer, neuron, hold_final_scale=True)
        true_BTV -= true_BTV.mean(-1, keepdim=True)
        change_BT1 = taken[names[0]][..., neuron, None]
        want_BTV = (
            direct_logit_effects(model, layer, neuron) * change_BT1 / final_scale(model, taken[names[1]])
        )
        worst = max(worst, ((true_BTV - want_BTV).norm() / true_BTV.norm()).item())
    return worst


def report(measured: dict[str, np.ndarray]) -> None:
    """Print the distributions, and properties of the neurons with low similarity."""
    quantiles = [0, 1, 5, 25, 50, 75, 95, 100]
    print(f"{'percentile':34}" + "".join(f"{q:>9}" for q in quantiles))
    rows = {
        "cosine, strongest positions (mean)": "cosine",
        "cosine, worst of the strongest": "cosine_min",
        "cosine, random positions": "cosine_random",
        "share of the divisor's change": "share",
        "|cos| of residual and W_out": "aligned",
        "size against the residual": "size",
    }
    for label, key in rows.items():
        print(f"{label:34}" + "".join(f"{v:9.4f}" for v in np.percentile(measured[key], quantiles)))
    cosine = measured["cosine"]
    for bound in (0.5, 0.8, 0.9, 0.95, 0.99):
        print(f"neurons below {bound}: {(cosine < bound).sum()} of {len(cosine)}")
    ranks = {k: measured[k].argsort().argsort() for k in ("cosine", "aligned", "size", "share")}
    for key in ("aligned", "size", "share"):
        print(f"rank correlation of cosine with {key}: {np.corrcoef(ranks['cosine'], ranks[key])[0, 1]:.3f}")
    print(
        "lowest neurons: cosine, mean post, alignment with the residual, size, share of the divisor's change"
    )
    for n in cosine.argsort()[:12]:
        values = (measured[k][n] for k in ("cosine", "post", "aligned", "size", "share"))
        print(f"  {n:5}" + "".join(f"{v:9.3f}" for v in values))


if __name__ == "__main__":
    main()
