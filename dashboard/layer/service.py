"""A layer at a glance, counted once. Imports no torch."""

from dataclasses import dataclass

import streamlit as st

from dashboard.layer.spread import (
    SPREAD,
    Points,
    Quantiles,
    Spread,
    column,
    layer_quantiles,
    points_of,
    spread_of,
)
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache


@dataclass(frozen=True)
class Glance:
    """What the page of a layer shows."""

    spreads: list[Spread]
    points: Points | None
    """None in a model with one hook."""


def glance(place: Place) -> Glance:
    """How the neurons of a place's layer are spread at its hook.

    Raises:
        CacheError: the cache is damaged.
    """
    return _glance(*place.version, place.layer, place.hook)


@st.cache_resource(max_entries=32, show_spinner="Reading the layer…")
def _glance(path: str, stamp: Stamp, layer: int, hook: str) -> Glance:
    cache = open_cache(path, stamp)
    table = cache.table(layer, hook)
    points = None
    if len(cache.hooks) == 2:
        before, after = (column(cache.table(layer, name), "max") for name in ("hook_mid", "hook_post"))
        points = points_of(before, after)
    return Glance([spread_of(name, column(table, name)) for name in SPREAD], points)


def all_layers(place: Place) -> Quantiles:
    """The same quantities of every layer, as quantiles.

    Raises:
        CacheError: the cache is damaged.
    """
    return _all_layers(*place.version, place.hook)


@st.cache_resource(max_entries=8, show_spinner="Reading all layers…")
def _all_layers(path: str, stamp: Stamp, hook: str) -> Quantiles:
    return layer_quantiles(open_cache(path, stamp).path, hook)
