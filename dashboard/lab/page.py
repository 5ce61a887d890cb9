"""The lab: a hypothesis about a neuron, held against what the neuron does."""

import streamlit as st

from analysis.hypothesis import HypothesisError, parse
from cache.format.schema import CacheError
from dashboard.lab.hypothesis_box import show_box
from dashboard.lab.parts import PARTS
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar, key_of, moved
from dashboard.shared.error_message import show_problem
from dashboard.shared.lab_address import SESSION_KEY, LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import LAB, MODELS, NEURON
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

READ = "lab_read"


def heading(place: Place) -> None:
    """Draw the context bar, with the way to the neuron's page."""
    bar = context_bar(place, f"Lab · layer {place.layer} · neuron {place.neuron}")
    with bar.row:
        st.page_link(
            NEURON, label="Its page", icon=":material/adjust:",
            query_params=place.address.with_(view=None, panel=None).params(),
        )  # fmt: skip


def part_choice(part: str) -> None:
    """Draw the choice of the lab's part."""
    st.session_state[key_of("part")] = part
    st.segmented_control(
        "Part", list(PARTS), required=True, format_func=lambda name: PARTS[name].label, key=key_of("part"),
        on_change=moved, args=("part",), label_visibility="collapsed",
    )  # fmt: skip


def requested_address() -> LabAddress:
    """What the address says beside the neuron; where it says nothing at all, what the lab showed last.

    Raises:
        AddressError: it cannot be read.
    """
    last = st.session_state.get(SESSION_KEY)
    if not st.query_params.to_dict() and isinstance(last, LabAddress):
        return last
    return LabAddress.parse(st.query_params.to_dict())


def readable(text: str) -> str:
    """The hypothesis, or where it cannot be read the last one that could, with what is wrong."""
    try:
        if text.strip():
            parse(text)
    except HypothesisError as error:
        at = min(error.position, len(text))
        kept = st.session_state.get(READ, "")
        st.error(plain(f"At character {at + 1}: {error}"), icon=":material/error:")
        st.code(f"{text[:at]}▸{text[at:]}", language=None, wrap_lines=True)
        if kept:
            st.caption(f"What is below is still that of: {plain(kept)}")
        return str(kept)
    st.session_state[READ] = text.strip()
    return text.strip()


def page() -> None:
    """Draw the lab for the neuron and the hypothesis that the address names."""
    try:
        lab = requested_address()
        place = places.find_place(places.asked_address())
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address opens no hypothesis", error)
        with st.container(horizontal=True):
            st.page_link(LAB, label="Open an empty lab", query_params={})
            st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(lab.params(place.address))
    places.remember(place.address)
    st.session_state[SESSION_KEY] = lab
    heading(place)
    show_box(lab.hypothesis)
    text = readable(lab.hypothesis)
    part_choice(lab.part)
    PARTS[lab.part].draw(place, text)
    st.caption(plain(provenance_line(place, place.cache.hooks)))


page()
