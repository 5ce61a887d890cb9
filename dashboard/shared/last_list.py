"""The last list of neurons of a session, to lead back to it."""

import streamlit as st

from dashboard.shared import places
from dashboard.shared.address import SESSION_KEY, Address
from dashboard.shared.list_address import ALL_LAYERS
from dashboard.shared.place import Place

_LAST = "last_list"  # session state: its query parameters


def remember_list(place: Place, params: dict[str, str]) -> None:
    """Keep the parameters of the list that is shown, and its place for links without an address."""
    st.session_state[_LAST] = params
    last = last_address()
    if (last.model, last.layer) != (place.model.name, place.layer):
        last = last.with_(model=place.model.name, layer=place.layer, neuron=None)
    places.remember(last.with_(hook=place.hook))


def last_list() -> dict[str, str]:
    """Return the query parameters of the session's last list; empty if there was none."""
    params = st.session_state.get(_LAST)
    return dict(params) if isinstance(params, dict) else {}


def last_address() -> Address:
    """Return the address of the session's last neuron; empty if there was none."""
    address = st.session_state.get(SESSION_KEY)
    return address if isinstance(address, Address) else Address()


def way_back(place: Place) -> dict[str, str]:
    """Return the query parameters of a list that holds a neuron: the last list, or else its layer."""
    last = last_list()
    if last.get("model") == place.model.name and last.get("layer") in (ALL_LAYERS, str(place.layer)):
        return last
    return place.address.with_(neuron=None, view=None, panel=None).params()
