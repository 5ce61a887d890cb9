"""Effects of neurons on the logits: computed from the weights, and measured by ablation.

Paper 6.3: in a one-layer model the activation of an MLP neuron has, up to the final norm, a linear effect on
the logits, given by W_out times the unembedding. Legend: B batch, T position, D d_model, M d_mlp, V d_vocab,
N neurons.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from solu_model.blocks import Block
from solu_model.model import SoluForCausalLM
from solu_model.protocols import Index, NeuronModel, checked_index


@torch.no_grad()
def direct_logit_effects(
    model: NeuronModel, layer: Index, neurons: Index | Sequence[Index] | Tensor, *, fold: bool = False
) -> Tensor:
    """Compute the direct effect of neurons on every logit, up to the final norm's divisor (paper 6.3).

    Let r = W_out[n] `[D]` be the vector that neuron n writes to the residual stream. Then

        effect_n = centre_V( (centre_D(r) * w_final) W_U )

    centre_D subtracts the mean over the residual stream, as the final LayerNorm does; it is left out where
    the final norm is RMS. w_final `[D]` is the weight of that norm. centre_V subtracts the mean over the
    vocabulary, on which no probability depends. A change of the neuron's activation changes the logits by
    effect_n * change / sigma, where sigma is the divisor of the final norm at that position, the root of
    variance + eps.

    In the last layer this is the neuron's whole effect, up to sigma, which itself depends on the
    activation. In an earlier layer it is the direct path alone, without the effect through later blocks.

    Args:
        model: a SoLU model or an adapted one.
        layer: index of the block, from 0.
        neurons: indices within the layer; one, or N in a sequence, an array or a tensor.
        fold: False: the effect is per unit of `hook_post`. True: it is multiplied by the neuron's weight in
            the LayerNorm after the activation, so it is per unit of the normalised `hook_mid`,
            (mid_n - mean) / sigma_mid. That unit is one standard deviation of the activations of the layer
            (of the neuron's block, with several blocks) at a position. Without that LayerNorm both are equal.

    Returns:
        `[N, V]` in the weights' dtype.

    Raises:
        IndexError: there is no such layer or neuron.
        TypeError: an index is not an integer.
    """
    path = model.output_path(checked_index(layer, model.config.n_layers, "layer"))
    several = neurons if _is_iterable(neurons) else [neurons]
    checked = [
        checked_index(neuron, len(path.W_out), "neuron") for neuron in cast("Sequence[Index]", several)
    ]
    index = torch.tensor(checked, dtype=torch.long, device=path.W_out.device)
    r_ND = path.W_out[index]
    if fold and path.mlp_norm is not None:
        r_ND = r_ND * path.mlp_norm[index, None]
    if path.centres:
        r_ND = r_ND - r_ND.mean(-1, keepdim=True)
    effect_NV = (r_ND * path.final_norm) @ path.W_U
    return effect_NV - effect_NV.mean(-1, keepdim=True)


@torch.no_grad()
def direct_effects_on_token(model: NeuronModel, layer: Index, token: Index, *, fold: bool = False) -> Tensor:
    """Compute the direct effect of every neuron of a layer on one token's logit.

    It is a column of `direct_logit_effects` for all neurons. Both centrings are applied to the unembedding
    instead, so that one product of a matrix and a vector is enough.

    Args:
        model, layer, fold: as in `direct_logit_effects`.
        token: a token id.

    Returns:
        `[M]` in the weights' dtype.

    Raises:
        IndexError: there is no such layer or token.
    """
    path = model.output_path(checked_index(layer, model.config.n_layers, "layer"))
    token = checked_index(token, path.W_U.shape[1], "token")
    read_D = path.final_norm * (path.W_U[:, token] - path.W_U.mean(-1))
    if path.centres:
        read_D = read_D - read_D.mean()
    effect_M = path.W_out @ read_D
    return effect_M * path.mlp_norm if fold and path.mlp_norm is not None else effect_M


@torch.no_grad()
def ablation_effects(
    model: SoluForCausalLM,
    tokens: Tensor,
    layer: Index,
    neuron: Index,
    *,
    replacement: float | Literal["mean"] = 0.0,
    hook: Literal["hook_post", "hook_mid"] = "hook_post",
    hold_final_scale: bool = False,
) -> Tensor:
    """Measure a neuron's effect on the logits: the logits of the model minus those with the neuron ablated.

    The neuron's activation is replaced at every position at once, and everything after it is computed again:

        effect = logits(activation) - logits(replacement)

    The sign is that of `direct_logit_effects` * (activation - replacement). In a model of one layer

        effect / (post_n - replacement) = effect_n / sigma

    up to the change of sigma, the divisor of the final norm, and a constant over the vocabulary.

    Args:
        model: a SoLU model.
        tokens: `[B, T]` ids, BOS first.
        layer, neuron: indices from 0.
        replacement: the new activation; `mean` is the neuron's mean over `tokens`.
        hook: the activation to replace. `hook_post`, the input of W_out: only this neuron changes.
            `hook_mid`, before the LayerNorm: its mean and variance change too, and with them `hook_post` of
            every other neuron.
        hold_final_scale: divide by sigma of the unchanged model. In the last layer the result is then exactly
            the linear effect of `direct_logit_effects`, up to a constant over the vocabulary.

    Returns:
        `[B, T, V]`.

    Raises:
        IndexError: there is no such layer or neuron.
        TypeError: the model is of another kind.
        ValueError: `hook` or `replacement` has another value; the model has no such hook; or the tokens reach
            beyond `n_ctx`.
    """
    logits_BTV, without_BTV = logits_with_and_without(
        model, tokens, layer, neuron, replacement=replacement, hook=hook, hold_final_scale=hold_final_scale
    )
    return logits_BTV - without_BTV


@torch.no_grad()
def logits_with_and_without(
    model: SoluForCausalLM,
    tokens: Tensor,
    layer: Index,
    neuron: Index,
    *,
    replacement: float | Literal["mean"] = 0.0,
    hook: Literal["hook_post", "hook_mid"] = "hook_post",
    hold_final_scale: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the logits of the model and those with a neuron ablated, `[B, T, V]` each.

    Arguments and errors are as in `ablation_effects`, which returns their difference.
    """
    if not isinstance(model, SoluForCausalLM):
        raise TypeError(
            f"expected a SoluForCausalLM, in which a neuron can be held, got {type(model).__name__}"
        )
    layer = checked_index(layer, model.config.n_layers, "layer")
    neuron = checked_index(neuron, model.config.d_mlp, "neuron")
    if hook not in ("hook_post", "hook_mid"):  # what follows computes from these alone
        raise ValueError(f"hook must be 'hook_post' or 'hook_mid', got {hook!r:.60}")
    if isinstance(replacement, str) and replacement != "mean":
        raise ValueError(f"replacement must be a number or 'mean', got {replacement!r:.60}")
    prefix = f"blocks.{layer}."
    mlp = cast(Block, model.blocks[layer]).mlp
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    logits_BTV, taken = model.run_with_cache(tokens, [prefix + "hook_resid_mid", f"{prefix}mlp.{hook}", last])
    act_BTM = taken[f"{prefix}mlp.{hook}"].clone()
    act_BTM[..., neuron] = act_BTM[..., neuron].mean() if replacement == "mean" else replacement
    if hook == "hook_mid" and mlp.ln is not None:
        act_BTM = mlp.ln(act_BTM)
    x_BTD = taken[prefix + "hook_resid_mid"] + F.linear(act_BTM, mlp.W_out.T, mlp.b_out)
    for block in model.blocks[layer + 1 :]:
        x_BTD = block(x_BTD)
    if hold_final_scale:
        return logits_BTV, _unembed_at_scale_of(model, x_BTD, taken[last])
    return logits_BTV, model.unembed(model.ln_final(x_BTD))


def final_scale(model: SoluForCausalLM, residual_BTD: Tensor) -> Tensor:
    """Return sigma, the divisor of the final norm, `[B, T, 1]`.

    It is sqrt(variance + eps), and sqrt(mean square + eps) where the final norm is RMS.

    Args:
        model: a SoLU model.
        residual_BTD: `[B, T, D]`, the residual stream before the final norm (`hook_resid_post` of the last
            layer).
    """
    if not model.config.final_rms:
        residual_BTD = residual_BTD - residual_BTD.mean(-1, keepdim=True)
    variance: Tensor = residual_BTD.square().mean(-1, keepdim=True) + model.config.layer_norm_eps
    return variance.sqrt()


def _unembed_at_scale_of(model: SoluForCausalLM, x_BTD: Tensor, clean_BTD: Tensor) -> Tensor:
    """Return the logits of the residual stream `x_BTD`, normalised with sigma of `clean_BTD`."""
    if not model.config.final_rms:
        x_BTD = x_BTD - x_BTD.mean(-1, keepdim=True)
    y_BTD = x_BTD / final_scale(model, clean_BTD) * cast(Tensor, model.ln_final.w)
    if not model.config.final_rms:
        y_BTD = y_BTD + cast(Tensor, model.ln_final.b)
    return cast(Tensor, model.unembed(y_BTD))


def _is_iterable(neurons: object) -> bool:
    return hasattr(neurons, "__iter__") and getattr(neurons, "ndim", 1) > 0
