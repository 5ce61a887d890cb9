"""Data of a layer's page, counted once for each cache. Imports no torch."""

from dataclasses import dataclass

import streamlit as st

from dashboard.layer.distributions import (
    QUANTITIES,
    Distribution,
    LayerQuantiles,
    Maxima,
    column,
    distribution_of,
    layer_quantiles,
    paired_maxima,
)
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache


@dataclass(frozen=True)
class LayerSummary:
    """Distributions of the neurons of a layer at one hook."""

    distributions: list[Distribution]
    """One distribution for each quantity, in the order of `QUANTITIES`."""
    maxima: Maxima | None
    """Maxima at both hooks; None for a model with one hook."""


def layer_summary(place: Place) -> LayerSummary:
    """Summarize the layer of a place at its hook.

    Raises:
        CacheError: the cache is damaged.
    """
    return _layer_summary(*place.version, place.layer, place.hook)


@st.cache_resource(max_entries=32, show_spinner="Reading the layer…")
def _layer_summary(path: str, stamp: Stamp, layer: int, hook: str) -> LayerSummary:
    cache = open_cache(path, stamp)
    table = cache.table(layer, hook)
    maxima = None
    if len(cache.hooks) == 2:
        before, after = (column(cache.table(layer, name), "max") for name in ("hook_mid", "hook_post"))
        maxima = paired_maxima(before, after)
    return LayerSummary([distribution_of(name, column(table, name)) for name in QUANTITIES], maxima)


def all_layers(place: Place) -> LayerQuantiles:
    """Compute quantiles of the same quantities for every layer, at the place's hook.

    Raises:
        CacheError: the cache is damaged.
    """
    return _all_layers(*place.version, place.hook)


@st.cache_resource(max_entries=8, show_spinner="Reading all layers…")
def _all_layers(path: str, stamp: Stamp, hook: str) -> LayerQuantiles:
    return layer_quantiles(open_cache(path, stamp).path, hook)
