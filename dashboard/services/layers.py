"""Lists of neurons, found once: pages, previews, and the list that a session came from. Imports no torch."""

from dataclasses import replace

import streamlit as st

from dashboard.neuron_query import Interval, Page, Query, page_of
from dashboard.neuron_table import Key, Preview, previews
from dashboard.services import places
from dashboard.services.places import Place, Stamp, open_cache
from dashboard.services.searches import Found
from dashboard.state import SESSION_KEY, Address

_LAST = "last_list"
"""Session state: query parameters of the last list, for the way back to it."""


def page(place: Place, query: Query, found: Found | None) -> Page:
    """A page of a list.

    Raises:
        CacheError: the cache is damaged.
    """
    if found is not None:
        return page_of(place.cache.path, query, found.table)
    intervals = tuple(sorted(query.intervals.items()))
    return _page(*place.version, replace(query, intervals={}), intervals)


@st.cache_resource(max_entries=256, show_spinner=False)
def _page(path: str, stamp: Stamp, query: Query, intervals: tuple[tuple[str, Interval], ...]) -> Page:
    cache = open_cache(path, stamp)
    return page_of(cache.path, replace(query, intervals=dict(intervals)))


def page_previews(place: Place, neurons: list[Key]) -> dict[Key, Preview]:
    """What a page's rows show of their neurons.

    Raises:
        CacheError: the cache is damaged.
    """
    return _previews(*place.version, place.hook, tuple(neurons))


@st.cache_resource(max_entries=128, show_spinner=False)
def _previews(path: str, stamp: Stamp, hook: str, neurons: tuple[Key, ...]) -> dict[Key, Preview]:
    return previews(open_cache(path, stamp), hook, neurons)


def remember_list(place: Place, params: dict[str, str]) -> None:
    """Keep the list that a session sees for the way back to it, and its place for links that carry none."""
    st.session_state[_LAST] = params
    last = last_address()
    if (last.model, last.layer) != (place.model.name, place.layer):
        last = last.with_(model=place.model.name, layer=place.layer, neuron=None)
    places.remember(last.with_(hook=place.hook))


def last_list() -> dict[str, str]:
    """Query parameters of the last list of this session; empty where there was none."""
    found = st.session_state.get(_LAST)
    return dict(found) if isinstance(found, dict) else {}


def last_address() -> Address:
    """The last neuron of this session; empty where there was none."""
    found = st.session_state.get(SESSION_KEY)
    return found if isinstance(found, Address) else Address()


def way_back(place: Place) -> dict[str, str]:
    """Query parameters of the list around a neuron: the last one where that can hold it, else its layer's."""
    last = last_list()
    if last.get("model") == place.model.name and last.get("layer") in ("all", str(place.layer)):
        return last
    return place.address.with_(neuron=None, view=None, panel=None).params()
