"""A neuron's stored examples, run through the model again."""

from dataclasses import dataclass

import streamlit as st

from dashboard.neuron.ablation import begins_its_context
from dashboard.shared.neuron_examples import example_groups
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache
from dashboard.shared.running.running_model import RunningModel, checkpoint_version, running_model_at

TOLERANCE = 1e-4
"""Of the stored value: sums in float32 taken in another order differ by less."""


@dataclass(frozen=True)
class Recomputed:
    """An example's activation at its peak, as the cache has it and as the model gives it now."""

    stored: float
    again: float
    whole: bool
    """Whether the model saw the same text before the peak: the window begins where its context began."""

    @property
    def difference(self) -> float:
        """Of the two."""
        return self.again - self.stored

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than float32 does."""
        return abs(self.difference) <= TOLERANCE * abs(self.stored) + 1e-7


def recomputed(place: Place) -> list[Recomputed]:
    """The examples of a place's view, in its order, each run as the cache keeps it after a BOS.

    Raises:
        ModelError: the model cannot be loaded.
    """
    live, model, cache = running_model_at(place), checkpoint_version(place.model), place.version
    return _recomputed(*model, *cache, place.layer, place.neuron, place.hook, place.view, live)


@st.cache_resource(max_entries=64, show_spinner="Running the examples again…")
def _recomputed(
    model_path: str,  # noqa: ARG001 part of the key
    model_stamp: Stamp,  # noqa: ARG001
    path: str,
    stamp: Stamp,
    layer: int,
    index: int,
    hook: str,
    view: str,
    _live: RunningModel,
) -> list[Recomputed]:
    found = []
    for group in example_groups(open_cache(path, stamp).neuron(layer, index), hook, view):
        for example in group.examples:
            again = _live.activations(example.tokens, layer, [hook])[hook][example.peak, index]
            found.append(Recomputed(example.value, float(again), begins_its_context(example)))
    return found
