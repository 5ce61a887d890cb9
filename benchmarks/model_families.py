"""Table of the model families that can be adapted: `python benchmarks/model_families.py`.

For each family a small model with random weights, its norms' weights not 1, is adapted. The five most active
neurons of its last layer are ablated by a hook on the model's own down projection. The change of the logits,
with the final norm's divisor taken out, is divided by what `direct_logit_effects` gives: 1 is right. Writes
docs/model_families.md and results/model-families.json.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from records import write_record
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from solu_model import direct_logit_effects  # noqa: E402
from solu_model.loading.adapters import adapt  # noqa: E402
from tests.test_solu_model.loading.families import (  # noqa: E402
    FAMILIES,
    GROUPED,
    Family,
    effect_through_the_model,
    n_layers,
    random_model,
    tokens,
)

N_NEURONS = 5
OTHERS = {
    "Mixtral": ("mixtral", GROUPED | {"num_local_experts": 2}),
    "GPT-OSS": ("gpt_oss", GROUPED | {"num_local_experts": 2}),
    "Mamba": ("mamba", {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 40}),
}
HEAD = """# Families of models

`load_neuron_model` opens other causal language models of transformers beside those of this package. It finds
the linear maps around the neurons by the names of modules, and then measures, once, when it loads a model,
what the neurons do to the logits: it runs a few tokens and compares what
`direct_logit_effects` relies on with what the model does (`solu_model/loading/measured_output.py`). Where
a neuron's effect on the logits does not follow from the weights, `output_path`, `direct_logit_effects` and
`direct_effects_on_token` raise a `TypeError` that says why, and the pages show that sentence; activations,
caches, the neurons' own weights and the editor are not affected.

This table is written by `python benchmarks/model_families.py`. Each row is a small model with random
weights; the weights of its norms are not 1. *Ratio* is the effect of a neuron of the last layer through
the model, by ablation, over the direct effect, with the final norm's divisor taken out: the least and
the largest of the five most active neurons. *Difference* is the largest relative difference of the two
as vectors.

| family | `model_type` | MLP | activation | final norm | ratio | difference |
| --- | --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    logging.set_verbosity_error()
    lines, reasons, rows = [], [], []
    for family in FAMILIES:
        row = measured(family)
        rows.append(row)
        ratio, difference = "refused", "-"
        if row["refusal"]:
            reasons.append(f"- **{family.title}**: {row['refusal']}.")
        else:
            ratio = f"{row['least_ratio']:.5f} to {row['largest_ratio']:.5f}"
            difference = f"{row['difference']:.0e}"
        lines.append(
            f"| {family.title} | `{family.model_type}` | {row['mlp']} | `{row['act_fn']}` | "
            f"{row['final_norm']} | {ratio} | {difference} |"
        )
        print(lines[-1], f"{row['seconds']:.2f} s")
    reasons.append("")
    reasons.append("These cannot be adapted, because they have no MLP of one set of neurons in each block:")
    reasons.append("")
    for title, (model_type, config) in OTHERS.items():
        try:
            adapt(AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config)))
        except ValueError:
            reasons.append(f"- **{title}** (`{model_type}`)")
    text = HEAD + "\n".join(lines) + "\n\n## Why logit effects are refused\n\n" + "\n".join(reasons) + "\n"
    text += TAIL
    (ROOT / "docs" / "model_families.md").write_text(text, encoding="utf-8")
    write_record("model-families", "cpu", {"neurons": N_NEURONS}, rows)


TAIL = """
## Terms in it

- *plain*: `hook_pre` = x W_in + b, `hook_post` = act(`hook_pre`). *gated*: `hook_pre` = x W_gate,
  `hook_post` = act(`hook_pre`) * (x W_in). *gated, one matrix*: the same, with both maps in one matrix;
  the half that computes `hook_pre` is measured.
- *RMS* divides by the root of the mean square, *LayerNorm* subtracts the mean first. Both are
  recognised by what they do to known vectors, as is a weight that is stored less 1 (Gemma, Nemotron) or
  absent (OLMo 1).
- A constant factor on what MLPs write (Granite) or on the logits (Cohere, Granite) is measured and
  is in the direct effects.
- A norm that follows the MLP divides by a number that depends on all neurons of the layer, so a
  neuron's row of W_out does not say what it adds to the residual stream.
- A soft cap, c tanh(logit / c), makes the change of a logit depend on the logit.
"""


def measured(family: Family) -> dict[str, Any]:
    """Adapt a model of a family and ablate its neurons."""
    model = random_model(family)
    started = time.perf_counter()
    adapted = adapt(model)
    output = adapted.measured
    row: dict[str, Any] = {
        "family": family.title,
        "seconds": time.perf_counter() - started,
        "mlp": {"": "plain", "halves": "gated, one matrix"}.get(family.factor, "gated"),
        "act_fn": output.act_fn,
        "final_norm": "-" if output.refusal else "LayerNorm" if output.centres else "RMS",
        "refusal": output.refusal.replace("in layer 0 ", "").partition(" (they differ")[0],
    }
    if output.refusal:
        return row
    ratios, differences = [], []
    last = n_layers(model) - 1
    name = f"blocks.{last}.mlp.hook_post"
    activity = adapted.activations(tokens(), [name])[name].abs().mean((0, 1))
    neurons = activity.topk(N_NEURONS).indices.tolist()
    effects = direct_logit_effects(adapted, last, neurons).double()
    for neuron, effect in zip(neurons, effects, strict=True):
        change, activation = effect_through_the_model(model, family, neuron)
        expected = activation[..., None] * effect
        ratios.append(float((change * expected).sum() / expected.square().sum()))
        differences.append(float((change - expected).norm() / expected.norm()))
    return row | {
        "least_ratio": min(ratios),
        "largest_ratio": max(ratios),
        "difference": max(differences),
        "residual_factor": output.residual_factors[-1],
        "error_at_loading": output.error,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
