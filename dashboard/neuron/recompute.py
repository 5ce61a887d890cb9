"""Run a neuron's stored examples through the model again."""

from dataclasses import dataclass

import streamlit as st

from dashboard.neuron.ablation import begins_its_context
from dashboard.shared.neuron_examples import example_groups
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache
from dashboard.shared.running.running_model import RunningModel, checkpoint_version, running_model_at

TOLERANCE = 1e-4
"""Relative to the stored value: float32 sums in another order differ by less."""


@dataclass(frozen=True)
class Recomputed:
    """An example's activation at its peak: in the cache, and as the model computes it now."""

    stored: float
    again: float
    whole: bool
    """True if the window begins where its context began, so that the model sees the same text again."""

    @property
    def difference(self) -> float:
        """Recomputed value less stored value."""
        return self.again - self.stored

    @property
    def agrees(self) -> bool:
        """True if the difference is within float32 rounding."""
        return abs(self.difference) <= TOLERANCE * abs(self.stored) + 1e-7


def recomputed(place: Place) -> list[Recomputed]:
    """Run the examples of a place's view, in its order: each is its window after a BOS.

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
    results = []
    for group in example_groups(open_cache(path, stamp).neuron(layer, index), hook, view):
        for example in group.examples:
            again = _live.activations(example.tokens, layer, [hook])[hook][example.peak, index]
            results.append(Recomputed(example.value, float(again), begins_its_context(example)))
    return results
