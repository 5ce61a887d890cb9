"""The neurons, in all layers, that come nearest to their maximum on one token. Legend: L layers, M d_mlp."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.editor.current_text import CurrentText
from dashboard.shared.neuron_query import DEAD_SHARE
from dashboard.shared.place import Stamp
from dashboard.shared.places import open_cache


@dataclass(frozen=True)
class TokenNeuron:
    """A neuron, with its activation on the token."""

    layer: int
    neuron: int
    activation: float
    share: float
    """Activation as a share of the neuron's maximum in the corpus."""


def nearest_to_maximum(current: CurrentText, n: int = 10) -> list[TokenNeuron]:
    """Find the neurons with the largest share of their maximum on the chosen token, at the place's hook."""
    import torch

    place, running = current.place, current.running
    names = {layer: f"blocks.{layer}.mlp.{place.hook}" for layer in place.cache.layers}
    ids = current.tokens.ids[: current.chosen_token + 1]
    context = torch.tensor([running.tokenization.context(ids)])
    with torch.inference_mode():
        acts = running.model.activations(context, names.values())
        acts_LM = np.stack([acts[name][0, -1].float().numpy() for name in names.values()])
    maxima_LM = np.stack([_maxima(*place.version, layer, place.hook) for layer in names])
    shares_LM = np.divide(acts_LM, maxima_LM, out=np.full_like(maxima_LM, -np.inf), where=maxima_LM > 0)
    best = np.argsort(-shares_LM, axis=None, kind="stable")[:n]
    layers = list(names)
    return [
        TokenNeuron(layers[row], int(neuron), float(acts_LM[row, neuron]), float(shares_LM[row, neuron]))
        for row, neuron in zip(*np.unravel_index(best, shares_LM.shape), strict=True)
        if np.isfinite(shares_LM[row, neuron])
    ]


@st.cache_resource(max_entries=256, show_spinner=False)
def _maxima(path: str, stamp: Stamp, layer: int, hook: str) -> npt.NDArray[np.float64]:
    """Return every neuron's maximum in the corpus, `[M]`; 0 for a dead neuron, to leave it out."""
    table = open_cache(path, stamp).table(layer, hook)
    maxima = np.nan_to_num(table["max"].to_numpy().astype(np.float64))
    return np.where(maxima > DEAD_SHARE * maxima.max(), maxima, 0.0)
