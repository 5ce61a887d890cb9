"""Pages of the list and previews of neurons, read from the cache once. Imports no torch."""

from dataclasses import replace

import streamlit as st

from dashboard.neurons.neuron_pages import Page, page_of
from dashboard.neurons.searches import SearchResult
from dashboard.shared.neuron_preview import Key, Preview, previews
from dashboard.shared.neuron_query import Interval, Query
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache


def page(place: Place, query: Query, result: SearchResult | None) -> Page:
    """Return a page of the list.

    Raises:
        CacheError: the cache is damaged.
    """
    if result is not None:
        return page_of(place.cache.path, query, result.table)
    intervals = tuple(sorted(query.intervals.items()))
    return _page(*place.version, replace(query, intervals={}), intervals)


@st.cache_resource(max_entries=256, show_spinner=False)
def _page(path: str, stamp: Stamp, query: Query, intervals: tuple[tuple[str, Interval], ...]) -> Page:
    cache = open_cache(path, stamp)
    return page_of(cache.path, replace(query, intervals=dict(intervals)))


def page_previews(place: Place, neurons: list[Key]) -> dict[Key, Preview]:
    """Return the previews of a page's neurons.

    Raises:
        CacheError: the cache is damaged.
    """
    return _previews(*place.version, place.hook, tuple(neurons))


@st.cache_resource(max_entries=128, show_spinner=False)
def _previews(path: str, stamp: Stamp, hook: str, neurons: tuple[Key, ...]) -> dict[Key, Preview]:
    return previews(open_cache(path, stamp), hook, neurons)
