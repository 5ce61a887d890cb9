"""The lab: a hypothesis about a neuron, held against what the neuron does."""

import streamlit as st

from analysis.hypothesis import HypothesisError, parse
from cache.format.schema import CacheError
from dashboard.lab.hypothesis_box import show_box
from dashboard.lab.parts import PARTS
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.display_names import HOOK_LABELS
from dashboard.shared.error_message import show_problem
from dashboard.shared.lab_address import SESSION_KEY, LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import LAB, MODELS, NEURON
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

READ = "lab_read"


def moved() -> None:
    """Change the address to what the widgets say."""
    for name in ("layer", "neuron", "hook"):
        st.query_params[name] = str(st.session_state[f"lab_{name}"])
    st.query_params["part"] = st.session_state["lab_part"]


def go(neuron: int) -> None:
    """Change the address to another neuron of the same layer, with the same hypothesis."""
    st.query_params["neuron"] = str(neuron)


def header(place: Place) -> None:
    """The neuron, and the ways to others and to its page."""
    last = place.cache.d_mlp - 1
    st.session_state.update(lab_layer=place.layer, lab_neuron=place.neuron, lab_hook=place.hook)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"Lab · layer {place.layer} · neuron {place.neuron}", anchor=False, width="content")
        st.caption(plain(place.model.name), width="stretch")
        st.selectbox(
            "Layer", place.cache.layers, format_func=lambda layer: f"layer {layer}",
            key="lab_layer", on_change=moved, label_visibility="collapsed", width=105,
        )  # fmt: skip
        st.number_input(
            f"Neuron, 0 to {last}", 0, last, step=1,
            key="lab_neuron", on_change=moved, label_visibility="collapsed", width=125,
        )  # fmt: skip
        st.button(
            "Previous", key="lab_previous", icon=":material/chevron_left:", shortcut="Left",
            disabled=place.neuron == 0, on_click=go, args=(place.neuron - 1,),
        )  # fmt: skip
        st.button(
            "Next", key="lab_next", icon=":material/chevron_right:", shortcut="Right",
            disabled=place.neuron == last, on_click=go, args=(place.neuron + 1,),
        )  # fmt: skip
        st.segmented_control(
            "Activation", place.cache.hooks, required=True, format_func=HOOK_LABELS.__getitem__,
            key="lab_hook", on_change=moved, disabled=len(place.cache.hooks) == 1,
            label_visibility="collapsed",
        )  # fmt: skip
        st.page_link(
            NEURON, label="Its page", icon=":material/adjust:",
            query_params=place.address.with_(view=None, panel=None).params(),
        )  # fmt: skip


def asked() -> LabAddress:
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
        lab = asked()
        place = places.find_place(places.asked_address())
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address opens no hypothesis", error)
        with st.container(horizontal=True):
            st.page_link(LAB, label="Open an empty lab", query_params={})
            st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(lab.params(place.address))
    places.remember(place.address)
    st.session_state.update({SESSION_KEY: lab, "lab_part": lab.part})
    header(place)
    show_box(lab.hypothesis)
    text = readable(lab.hypothesis)
    st.segmented_control(
        "Part", list(PARTS), required=True, format_func=lambda name: PARTS[name].label, key="lab_part",
        on_change=moved, label_visibility="collapsed",
    )  # fmt: skip
    PARTS[lab.part].draw(place, text)
    st.caption(plain(provenance_line(place, place.cache.hooks)))


page()
