"""What a neuron does to the output: read off the weights, and checked by taking the neuron away.

Paper 6.3: in a one-layer model the activation of an MLP neuron has, modulo the final norm, a linear effect on
the logits, which W_out times the unembedding gives. Legend: B batch, T position, D d_model, M d_mlp,
V d_vocab, N neurons asked for.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from solu_model.blocks import Block
from solu_model.model import SoluForCausalLM
from solu_model.protocols import NeuronModel


@torch.no_grad()
def direct_logit_effects(
    model: NeuronModel, layer: int, neurons: int | Sequence[int] | Tensor, *, fold: bool = False
) -> Tensor:
    """The direct effect of neurons on every logit, up to the scale of the final norm.

    With r = W_out[n] `[D]`, what neuron n writes to the residual stream,

        effect_n = centre_V( (centre_D(r) * w_final) W_U )

    where centre_D removes the mean of the residual stream, as the final LayerNorm does (a final RMS norm does
    not, and then neither is it done here); w_final `[D]` is that norm's weight; and centre_V subtracts the
    mean over the vocabulary, which no probability depends on. The logits then move by effect_n * change /
    sigma, sigma being the final norm's divisor at that position (the root of variance + eps).

    For a model of one layer, or for the last layer of a deeper one, this is all that the neuron does, up to
    sigma, which itself depends on the neuron's activation. For an earlier layer it is the direct path
    alone: what later blocks make of the neuron's output is not in it.

    Args:
        model: a SoLU model or an adapted one.
        layer: index of the block, from 0.
        neurons: indices within the layer.
        fold: False: an effect is per unit of `hook_post`. True: it is multiplied by the weight w_n of the
            post-activation LayerNorm, hence per unit of the normalised `hook_mid`, (mid_n - mean) /
            sigma_mid: one standard deviation of the layer's pre-LayerNorm activations at a position (of
            the neuron's block, where they are normalised in blocks). In a model without that LayerNorm
            the two are the same.

    Returns:
        `[N, V]` in the weights' dtype.

    Raises:
        IndexError: there is no such layer or neuron.
    """
    path = model.output_path(_checked(layer, model.config.n_layers, "layer"))
    if isinstance(neurons, int):
        neurons = [neurons]
    index = torch.as_tensor(neurons, device=path.W_out.device)
    for neuron in index.tolist():
        _checked(neuron, len(path.W_out), "neuron")
    r_ND = path.W_out[index]
    if fold and path.mlp_norm is not None:
        r_ND = r_ND * path.mlp_norm[index, None]
    if path.centres:
        r_ND = r_ND - r_ND.mean(-1, keepdim=True)
    effect_NV = (r_ND * path.final_norm) @ path.W_U
    return effect_NV - effect_NV.mean(-1, keepdim=True)


@torch.no_grad()
def direct_effects_on_token(model: NeuronModel, layer: int, token: int, *, fold: bool = False) -> Tensor:
    """The direct effect of every neuron of a layer on one token's logit: a column of `direct_logit_effects`.

    Both centrings are moved to the unembedding, so that it takes one product of a matrix and a vector.

    Args:
        model, layer, fold: as in `direct_logit_effects`.
        token: an id.

    Returns:
        `[M]` in the weights' dtype.

    Raises:
        IndexError: there is no such layer or token.
    """
    path = model.output_path(_checked(layer, model.config.n_layers, "layer"))
    _checked(token, path.W_U.shape[1], "token")
    read_D = path.final_norm * (path.W_U[:, token] - path.W_U.mean(-1))
    if path.centres:
        read_D = read_D - read_D.mean()
    effect_M = path.W_out @ read_D
    return effect_M * path.mlp_norm if fold and path.mlp_norm is not None else effect_M


@torch.no_grad()
def ablation_effects(
    model: SoluForCausalLM,
    tokens: Tensor,
    layer: int,
    neuron: int,
    *,
    replacement: float | Literal["mean"] = 0.0,
    hook: Literal["hook_post", "hook_mid"] = "hook_post",
    hold_final_scale: bool = False,
) -> Tensor:
    """What a neuron adds to the logits: the logits as they are, less the logits without it.

    The neuron's activation is replaced at every position at once, and everything after it computed anew:

        effect = logits(activation) - logits(replacement)

    so that it has the sign of `direct_logit_effects` * (activation - replacement). In a model of one layer

        effect / (post_n - replacement) = effect_n / sigma

    but for the change of sigma, the final norm's divisor, and a constant over the vocabulary.

    Args:
        model: a SoLU model.
        tokens: `[B, T]` ids, BOS first.
        layer, neuron: indices from 0.
        replacement: the value to put in the activation's place; `mean` is the neuron's mean over `tokens`.
        hook: what to replace. `hook_post`: what W_out multiplies, so that this neuron alone changes.
            `hook_mid`: the activation before the post-activation LayerNorm, whose mean and variance then
            change as well, and with them every other neuron's `hook_post`.
        hold_final_scale: divide by the final norm's sigma of the unchanged model. What is left in a model of
            one layer (or in the last layer) is the linear effect that `direct_logit_effects` states.

    Returns:
        `[B, T, V]`.

    Raises:
        IndexError: there is no such layer or neuron.
        ValueError: the model has no such hook, or the tokens reach beyond `n_ctx`.
    """
    logits_BTV, without_BTV = logits_with_and_without(
        model, tokens, layer, neuron, replacement=replacement, hook=hook, hold_final_scale=hold_final_scale
    )
    return logits_BTV - without_BTV


@torch.no_grad()
def logits_with_and_without(
    model: SoluForCausalLM,
    tokens: Tensor,
    layer: int,
    neuron: int,
    *,
    replacement: float | Literal["mean"] = 0.0,
    hook: Literal["hook_post", "hook_mid"] = "hook_post",
    hold_final_scale: bool = False,
) -> tuple[Tensor, Tensor]:
    """The logits as they are and those without a neuron, `[B, T, V]` each; see `ablation_effects`."""
    _checked(layer, model.config.n_layers, "layer")
    _checked(neuron, model.config.d_mlp, "neuron")
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
        x_BTD = block(x_BTD, None, None, None)
    if hold_final_scale:
        return logits_BTV, _unembed_at_scale_of(model, x_BTD, taken[last])
    return logits_BTV, model.unembed(model.ln_final(x_BTD))


def final_scale(model: SoluForCausalLM, residual_BTD: Tensor) -> Tensor:
    """sigma, the final norm's divisor, `[B, T, 1]`: sqrt(variance + eps), for RMS sqrt(mean square + eps)."""
    if not model.config.final_rms:
        residual_BTD = residual_BTD - residual_BTD.mean(-1, keepdim=True)
    variance: Tensor = residual_BTD.square().mean(-1, keepdim=True) + model.config.layer_norm_eps
    return variance.sqrt()


def _unembed_at_scale_of(model: SoluForCausalLM, x_BTD: Tensor, clean_BTD: Tensor) -> Tensor:
    """Logits of the residual stream `x_BTD`, normalised with the divisor of `clean_BTD`."""
    if not model.config.final_rms:
        x_BTD = x_BTD - x_BTD.mean(-1, keepdim=True)
    y_BTD = x_BTD / final_scale(model, clean_BTD) * cast(Tensor, model.ln_final.w)
    if not model.config.final_rms:
        y_BTD = y_BTD + cast(Tensor, model.ln_final.b)
    return cast(Tensor, model.unembed(y_BTD))


def _checked(index: int, size: int, what: str) -> int:
    if not 0 <= index < size:
        raise IndexError(f"{what} must be 0 to {size - 1}, got {index}")
    return index
