"""From a token to the neurons that fire most on it; some of them pinned, to be watched on the same text."""

import streamlit as st

from analysis.formatting import number, share, visible
from dashboard.editor.desk import Desk, Reading
from dashboard.editor.reading_route import MOST_PINS
from dashboard.editor.token_neurons import strongest_on_token
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON


def draw(reading: Reading) -> None:
    """Pinned neurons, and those that fire most on the chosen token."""
    desk, place = reading.desk, reading.place
    for layer, neuron in list(desk.pins):
        row(reading, layer, neuron, "", pinned=True)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        layer = st.selectbox("Pin a neuron of layer", place.cache.layers, key="pin_layer", width=150)
        neuron = st.number_input(
            "neuron", 0, place.cache.d_mlp - 1, step=1, key="pin_neuron", width=130,
        )  # fmt: skip
        st.button(
            "Pin", icon=":material/keep:", key="pin_named", on_click=pin, args=(desk, layer, int(neuron)),
            disabled=len(desk.pins) >= MOST_PINS,
        )  # fmt: skip
    if reading.at is None:
        st.caption("Type a text, then click one of its tokens.")
        return
    st.caption(
        f"On {plain(visible(reading.word))}, token {reading.position + 1}: nearest to their own maximum of "
        f"{place.hook}. A click in the text chooses another token."
    )
    for found in strongest_on_token(reading):
        words = f"{share(found.share)} of its maximum, {number(found.value)}"
        row(reading, found.layer, found.neuron, words, pinned=(found.layer, found.neuron) in desk.pins)


def row(reading: Reading, layer: int, neuron: int, words: str, *, pinned: bool) -> None:
    """A neuron: the link to its page, what is said of it, and a button to pin it or let it go."""
    desk, place = reading.desk, reading.place
    address = place.address.with_(layer=layer, neuron=neuron, view=None, panel=None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.page_link(
            NEURON, label=f"layer {layer} · neuron {neuron}", query_params=address.params(),
            width=170,
        )  # fmt: skip
        st.caption(words or "pinned", width="stretch")
        key = f"{'pin' if words else 'let'}_{layer}_{neuron}"
        if pinned:
            st.button("Unpin", key=f"un{key}", on_click=unpin, args=(desk, layer, neuron))
        else:
            st.button(
                "Pin", key=key, on_click=pin, args=(desk, layer, neuron),
                disabled=len(desk.pins) >= MOST_PINS,
            )  # fmt: skip


def pin(desk: Desk, layer: int, neuron: int) -> None:
    """Watch a neuron, once."""
    if (layer, neuron) not in desk.pins and len(desk.pins) < MOST_PINS:
        desk.pins.append((layer, neuron))


def unpin(desk: Desk, layer: int, neuron: int) -> None:
    """Watch it no longer."""
    if (layer, neuron) in desk.pins:
        desk.pins.remove((layer, neuron))
