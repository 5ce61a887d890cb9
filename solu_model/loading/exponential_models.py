"""Convert a model trained with the exponential form (`exp_ln`) into the SoLU model that computes the same.

Paper 4.3: LN(SoLU(x)) = LN(x * exp(x) / Z) = LN(x * exp(x)), where Z is the denominator of the softmax,
because a LayerNorm cancels any factor common to its whole row. So a model can be trained with the
exponential and interpreted as SoLU.

The identity holds for eps = 0. With eps,

    LN_eps(y / Z) = (y - mean y) / sqrt(var y + eps Z^2)

so the LayerNorm of SoLU acts as if eps were Z^2 times larger. Z is a sum of d_mlp exponentials, at least in
the thousands. With the usual eps = 1e-5 the two forms differ by tens of percent, by a factor that depends
on the token, which no change of W_out can undo. A converted model therefore needs a smaller eps, and
nothing else.
"""

import copy

from solu_model.model import SoluForCausalLM


def to_solu_ln(model: SoluForCausalLM) -> SoluForCausalLM:
    """Return the `solu_ln` model that computes the same as a trained `exp_ln` model (paper 4.3, 5).

    All weights are equal, including W_out and the LayerNorm's w and b. `mlp_layer_norm_eps` becomes
    eps / (d_mlp / n_mlp_blocks)^2, which is eps / Z^2 for pre-activations near 0. So eps has as little
    effect as in the exponential model, except at tokens where Z is larger by orders of magnitude.

    Args:
        model: an `exp_ln` model; it is not changed.

    Returns:
        A model whose `hook_pre`, `hook_post` and logits equal those of `model` up to rounding, and whose
        `hook_mid` is SoLU's.

    Raises:
        ValueError: the model is not `exp_ln`.
    """
    old = model.config
    if old.act_fn != "exp_ln":
        raise ValueError(f"only an exp_ln model can be converted to solu_ln, got {old.act_fn!r}: train one")
    config = copy.deepcopy(old)
    eps = old.layer_norm_eps if old.mlp_layer_norm_eps is None else old.mlp_layer_norm_eps
    config.act_fn = "solu_ln"
    config.mlp_layer_norm_eps = eps / (old.d_mlp / old.n_mlp_blocks) ** 2
    new = SoluForCausalLM(config)
    new.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}, assign=True)
    new.train(model.training)
    return new
