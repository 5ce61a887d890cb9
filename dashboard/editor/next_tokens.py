"""What the model says comes next, as it is and with a neuron held at a value.

The neuron is held at every position, and at `hook_post`, which is what W_out multiplies: so it alone changes.
Legend: V d_vocab.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dashboard.editor.desk import Reading
from dashboard.shared.catalog import ModelError
from dashboard.shared.running import logit_effects as effects
from solu_model.text.display_pieces import display_pieces

if TYPE_CHECKING:
    from solu_model.model import SoluForCausalLM

N_SAMPLED = 16
"""Tokens of a continuation."""


@dataclass(frozen=True)
class NextTokens:
    """Over the vocabulary, `[V]` each."""

    p: npt.NDArray[np.float32]
    """Probabilities as the model is."""
    p_held: npt.NDArray[np.float32]
    """With the neuron held."""
    change: npt.NDArray[np.float32]
    """What holding it adds to each logit, less the mean over the vocabulary."""
    direct: npt.NDArray[np.float32] | None
    """The same read off the weights, for a neuron of the last layer: its direct effect times the change of
    its activation, over the final norm's divisor as it is."""
    activation: float
    """The neuron's `hook_post` at the position."""


def next_tokens(reading: Reading, value: float) -> NextTokens:
    """The next token after the chosen one.

    Args:
        value: that the neuron's `hook_post` is held at.

    Raises:
        ModelError: the model is of a kind in which no neuron can be held.
    """
    import torch

    from solu_model.logit_effects import final_scale, logits_with_and_without

    model = _checked(reading)
    place, position = reading.place, reading.position + 1  # the BOS stands first
    context = torch.tensor([[model.config.bos_token_id, *reading.tokens.ids[:position]]])
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    with torch.inference_mode():
        logits, held = logits_with_and_without(
            model, context, place.layer, place.neuron, replacement=value, hook="hook_post"
        )
        scale = float(final_scale(model, model.activations(context, [last])[last])[0, -1, 0])
        now, then = logits[0, -1].float(), held[0, -1].float()
        change = then - now
        activation = float(reading.values["hook_post"][reading.position])
        direct = None
        if place.layer == model.config.n_layers - 1:
            direct = effects.of_neuron(place) * np.float32((value - activation) / scale)
        return NextTokens(
            p=now.softmax(-1).numpy(),
            p_held=then.softmax(-1).numpy(),
            change=(change - change.mean()).numpy(),
            direct=direct,
            activation=activation,
        )


def continuations(reading: Reading, value: float, *, seed: int, temperature: float = 1.0) -> tuple[str, str]:
    """What the model writes after the text, as it is and with the neuron held at a value.

    Both draw with the same random numbers, so that they part only where the neuron makes a difference.

    Args:
        value: as for `next_tokens`.
        temperature: above 0.

    Raises:
        ModelError: as for `next_tokens`.
    """
    import torch

    from solu_model.logit_effects import logits_with_and_without

    model = _checked(reading)
    place = reading.place
    bos = model.config.bos_token_id
    room = model.config.n_ctx - 1 - N_SAMPLED
    ids = reading.tokens.ids[-room:] if room > 0 else reading.tokens.ids[:0]
    rows = torch.tensor([[bos, *ids], [bos, *ids]])
    random = torch.Generator().manual_seed(seed)
    known = len(place.cache.vocabulary)
    with torch.inference_mode():
        for _ in range(min(N_SAMPLED, model.config.n_ctx - rows.shape[1])):
            now, held = logits_with_and_without(
                model, rows, place.layer, place.neuron, replacement=value, hook="hook_post"
            )
            logits = torch.stack([now[0, -1], held[1, -1]]).float()[:, :known] / temperature
            logits[:, bos] = -torch.inf  # a document's end is no text
            noise = -torch.log(-torch.log(torch.rand(known, generator=random).clamp(1e-20, 1 - 1e-7)))
            rows = torch.cat([rows, (logits + noise).argmax(-1, keepdim=True)], dim=1)
    table = place.cache.vocabulary.token_bytes
    written = [[table[t] for t in row[1 + len(ids) :]] for row in rows.tolist()]
    as_it_is, held_text = ("".join(p.text for p in display_pieces(row)) for row in written)
    return as_it_is, held_text


def _checked(reading: Reading) -> "SoluForCausalLM":
    from solu_model.model import SoluForCausalLM

    model = reading.live.model
    if not isinstance(model, SoluForCausalLM):
        raise ModelError(
            f"{reading.place.model.name} is run through an adapter, in which no neuron can be held at a "
            "value: this needs a model of SoLU Explorer's or of TransformerLens's format"
        )
    return model
