"""The neurons that fire most on one token of a text, of every layer. Legend: L layers, M d_mlp."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.editor.desk import Reading
from dashboard.shared.neuron_query import DEAD_SHARE
from dashboard.shared.place import Stamp
from dashboard.shared.places import open_cache


@dataclass(frozen=True)
class Firing:
    """A neuron on a token."""

    layer: int
    neuron: int
    value: float
    share: float
    """Of its own highest activation in the corpus."""


def strongest_on_token(reading: Reading, n: int = 10) -> list[Firing]:
    """The neurons that come nearest to their own maximum on the chosen token, at the place's hook."""
    import torch

    place, live = reading.place, reading.live
    names = {layer: f"blocks.{layer}.mlp.{place.hook}" for layer in place.cache.layers}
    context = torch.tensor([[live.model.config.bos_token_id, *reading.tokens.ids[: reading.position + 1]]])
    with torch.inference_mode():
        found = live.model.activations(context, names.values())
        values = np.stack([found[name][0, -1].float().numpy() for name in names.values()])
    highest = np.stack([_highest(*place.version, layer, place.hook) for layer in names])
    shares = np.divide(values, highest, out=np.full_like(highest, -np.inf), where=highest > 0)
    best = np.argsort(-shares, axis=None, kind="stable")[:n]
    layers = list(names)
    return [
        Firing(layers[row], int(neuron), float(values[row, neuron]), float(shares[row, neuron]))
        for row, neuron in zip(*np.unravel_index(best, shares.shape), strict=True)
        if np.isfinite(shares[row, neuron])
    ]


@st.cache_resource(max_entries=256, show_spinner=False)
def _highest(path: str, stamp: Stamp, layer: int, hook: str) -> npt.NDArray[np.float64]:
    """Every neuron's highest activation in the corpus, `[M]`; zero for a dead one."""
    table = open_cache(path, stamp).table(layer, hook)
    highest = np.nan_to_num(table["max"].to_numpy().astype(np.float64))
    return np.where(highest > DEAD_SHARE * highest.max(), highest, 0.0)
