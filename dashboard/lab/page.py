"""The lab: a hypothesis about a neuron, tested against the neuron's activations."""

import streamlit as st

from analysis.hypothesis import HypothesisError, parse
from cache.format.schema import CacheError
from dashboard.lab.hypothesis_box import hypothesis_box
from dashboard.lab.parts import PARTS
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar, moved, widget_key
from dashboard.shared.error_message import show_address_error
from dashboard.shared.lab_address import SESSION_KEY, LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import LAB, NEURON
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

# Session state: the last hypothesis that could be parsed.
LAST_VALID = "lab_last_valid"


def page() -> None:
    """Draw the lab for the neuron and the hypothesis that the address names."""
    try:
        lab = requested_address()
        place = places.find_place(places.requested_address())
    except (AddressError, ModelError, CacheError) as error:
        show_address_error("This address opens no hypothesis", error, LAB, "Open an empty lab")
        return
    st.query_params.update(lab.params(place.address))
    places.remember(place.address)
    st.session_state[SESSION_KEY] = lab
    draw_heading(place)
    hypothesis_box(lab.hypothesis)
    hypothesis = valid_hypothesis(lab.hypothesis)
    draw_part_choice(lab.part)
    PARTS[lab.part].draw(place, hypothesis)
    st.caption(plain(provenance_line(place, place.cache.hooks)))


def requested_address() -> LabAddress:
    """Return the hypothesis and the part that the address names.

    An address without any parameter, as in the navigation, opens what the lab showed last.

    Raises:
        AddressError: the address cannot be read.
    """
    params = st.query_params.to_dict()
    last = st.session_state.get(SESSION_KEY)
    if not params and isinstance(last, LabAddress):
        return last
    return LabAddress.parse(params)


def draw_heading(place: Place) -> None:
    """Draw the context bar, with the link to the neuron's page."""
    bar = context_bar(place, f"Lab · layer {place.layer} · neuron {place.neuron}")
    with bar.row:
        st.page_link(
            NEURON, label="Neuron page", icon=":material/adjust:",
            query_params=place.address.of_neuron.params(),
        )  # fmt: skip


def draw_part_choice(part: str) -> None:
    """Draw the choice of the part of the lab."""
    st.session_state[widget_key("part")] = part
    st.segmented_control(
        "Part", list(PARTS), required=True, format_func=lambda name: PARTS[name].label,
        key=widget_key("part"), on_change=moved, args=("part",), label_visibility="collapsed",
    )  # fmt: skip


def valid_hypothesis(text: str) -> str:
    """Return the hypothesis if it can be parsed; else draw the error and return the last valid one.

    While a person types, most texts cannot be parsed. The page then stays as it is below the error.
    """
    try:
        if text.strip():
            parse(text)
    except HypothesisError as error:
        position = min(error.position, len(text))
        last = str(st.session_state.get(LAST_VALID, ""))
        st.error(plain(f"At character {position + 1}: {error}"), icon=":material/error:")
        st.code(f"{text[:position]}▸{text[position:]}", language=None, wrap_lines=True)
        if last:
            st.caption(f"The page below still shows: {plain(last)}")
        return last
    st.session_state[LAST_VALID] = text.strip()
    return text.strip()


page()
