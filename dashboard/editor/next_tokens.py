"""The model's next token, with the neuron as it is and held at a value.

The neuron is held at every position, at `hook_post`. That is the point that W_out multiplies, so no other
neuron changes; at `hook_mid` the LayerNorm would change them all. Legend: V d_vocab.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dashboard.editor.current_text import CurrentText
from dashboard.shared.catalog import ModelError
from dashboard.shared.running import logit_effects
from solu_model.text.display_pieces import display_pieces

if TYPE_CHECKING:
    from solu_model.model import SoluForCausalLM

N_SAMPLED = 16
"""Tokens of a continuation."""


@dataclass(frozen=True)
class NextTokens:
    """Predictions for the token after the chosen one, `[V]` each."""

    p: npt.NDArray[np.float32]
    """Probabilities, with the neuron as it is."""
    p_held: npt.NDArray[np.float32]
    """Probabilities, with the neuron held."""
    change: npt.NDArray[np.float32]
    """Change of each logit when the neuron is held, less the mean over the vocabulary."""
    direct: npt.NDArray[np.float32] | None
    """The same change from the weights: direct logit effect · change of activation / divisor of the final
    norm with the neuron as it is. None unless the neuron is in the last layer."""
    activation: float
    """The neuron's `hook_post` on the chosen token."""


def next_tokens(current: CurrentText, value: float) -> NextTokens:
    """Predict the token after the chosen one, with the neuron as it is and held.

    Args:
        current: with a chosen piece.
        value: of `hook_post`, at which the neuron is held.

    Raises:
        ModelError: the model runs through an adapter, which cannot hold a neuron.
    """
    import torch

    from solu_model.logit_effects import final_scale, logits_with_and_without

    model = _solu_model(current)
    place, token = current.place, current.chosen_token
    context = torch.tensor([current.running.tokenization.context(current.tokens.ids[: token + 1])])
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    with torch.inference_mode():
        logits, logits_held = logits_with_and_without(
            model, context, place.layer, place.neuron, replacement=value, hook="hook_post"
        )
        divisor = float(final_scale(model, model.activations(context, [last])[last])[0, -1, 0])
        as_it_is, held = logits[0, -1].float(), logits_held[0, -1].float()
        change = held - as_it_is
        activation = float(current.activations["hook_post"][token])
        direct = None
        if place.layer == model.config.n_layers - 1:
            direct = logit_effects.of_neuron(place) * np.float32((value - activation) / divisor)
        return NextTokens(
            p=as_it_is.softmax(-1).numpy(),
            p_held=held.softmax(-1).numpy(),
            change=(change - change.mean()).numpy(),
            direct=direct,
            activation=activation,
        )


def continuations(
    current: CurrentText, value: float, *, seed: int, temperature: float = 1.0
) -> tuple[str, str]:
    """Sample a continuation of the text twice: with the neuron as it is, and held.

    Both are sampled with the same random numbers, so they differ only because of the neuron.

    Args:
        value: of `hook_post`, at which the neuron is held.
        temperature: above 0.

    Raises:
        ModelError: as in `next_tokens`; or there is neither text nor BOS.
    """
    import torch

    from solu_model.logit_effects import logits_with_and_without

    model = _solu_model(current)
    place, ids = current.place, current.tokens.ids
    tokenization = current.running.tokenization
    ids = ids[max(0, len(ids) - kept_tokens(tokenization.room, tokenization.n_lead)) :]
    context = tokenization.context(ids)
    if not context:
        raise ModelError("contexts of this model have no BOS, so nothing predicts a first token: type a text")
    rows = torch.tensor([context, context])  # row 0: the neuron as it is; row 1: held
    random = torch.Generator().manual_seed(seed)
    n_known = len(place.cache.vocabulary)  # a model may have more logits than its tokenizer has tokens
    with torch.inference_mode():
        for _ in range(min(N_SAMPLED, tokenization.n_ctx - len(context))):
            as_it_is, held = logits_with_and_without(
                model, rows, place.layer, place.neuron, replacement=value, hook="hook_post"
            )
            logits = torch.stack([as_it_is[0, -1], held[1, -1]]).float()[:, :n_known] / temperature
            if tokenization.bos_id is not None and tokenization.bos_id < n_known:
                logits[:, tokenization.bos_id] = -torch.inf  # the end of a document has no text
            # Gumbel-max: argmax(logits + noise) is a sample of softmax(logits), with the same noise for both.
            noise = -torch.log(-torch.log(torch.rand(n_known, generator=random).clamp(1e-20, 1 - 1e-7)))
            rows = torch.cat([rows, (logits + noise).argmax(-1, keepdim=True)], dim=1)
    token_bytes = place.cache.vocabulary.token_bytes
    sampled = [[token_bytes[t] for t in row[len(context) :]] for row in rows.tolist()]
    text, text_held = ("".join(piece.text for piece in display_pieces(row)) for row in sampled)
    return text, text_held


def kept_tokens(room: int, n_lead: int) -> int:
    """Return the number of last tokens of a text that are continued; the rest of the room is for new ones.

    Args:
        room: most tokens of text in a context.
        n_lead: positions before the text: without any, at least one token must predict the first new one.
    """
    return max(room - N_SAMPLED, room // 2, 1 - n_lead)


def _solu_model(current: CurrentText) -> "SoluForCausalLM":
    from solu_model.model import SoluForCausalLM

    model = current.running.model
    if not isinstance(model, SoluForCausalLM):
        raise ModelError(
            f"{current.place.model.name} runs through an adapter, which cannot hold a neuron at a "
            "value: expected a model in the format of SoLU Explorer or TransformerLens (see `solu convert`)"
        )
    return model
