"""From one variant of the model to another that computes the same.

Paper 4.3: LN(SoLU(x)) = LN(x * exp(x) / Z) = LN(x * exp(x)), Z being softmax's denominator, since a
LayerNorm takes away any factor that its whole row shares. So one can train with the exponential and
read the model as SoLU.

The identity holds where the LayerNorm's eps is 0. With eps,

    LN_eps(y / Z) = (y - mean y) / sqrt(var y + eps Z^2)

so SoLU's LayerNorm works as if eps were Z^2 times larger, and Z, a sum of d_mlp exponentials, is at
least in the thousands: with the usual eps = 1e-5 the two differ by tens of percent, a factor for each
token that no change of W_out can undo. A converted model therefore needs a smaller eps, and nothing else.
"""

import copy
from typing import cast

from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM


def to_solu_ln(model: SoluForCausalLM) -> SoluForCausalLM:
    """A trained `exp_ln` model as the `solu_ln` model that computes the same (paper 4.3, 5).

    All weights are the same, W_out and the LayerNorm's w and b included. `mlp_layer_norm_eps` becomes
    eps / (d_mlp / n_mlp_blocks)^2, which is eps / Z^2 for pre-activations near 0: what is left of eps then
    counts for as little as it did in the exponential model, at every token where Z is no larger by orders
    of magnitude.

    Args:
        model: an `exp_ln` model; not changed.

    Returns:
        A model whose `hook_pre`, `hook_post` and logits are those of `model` (to rounding), and whose
        `hook_mid` is SoLU's, hence interpretable.

    Raises:
        ValueError: the model is not `exp_ln`.
    """
    old = model.config
    if old.act_fn != "exp_ln":
        raise ValueError(f"only an exp_ln model becomes solu_ln by itself, got {old.act_fn!r}: train one")
    config = cast(SoluConfig, copy.deepcopy(old))
    eps = old.layer_norm_eps if old.mlp_layer_norm_eps is None else old.mlp_layer_norm_eps
    config.act_fn = "solu_ln"
    config.mlp_layer_norm_eps = eps / (old.d_mlp / old.n_mlp_blocks) ** 2
    new = SoluForCausalLM(config)
    new.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}, assign=True)
    new.train(model.training)
    return new
