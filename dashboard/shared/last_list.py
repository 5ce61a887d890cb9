"""The list of neurons that a session came from, for the way back to it."""

import streamlit as st

from dashboard.shared import places
from dashboard.shared.address import SESSION_KEY, Address
from dashboard.shared.place import Place

_LAST = "last_list"  # session state: its query parameters


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
