"""Neurons near their maximum on a token. Some can be pinned, to see them on the same text."""

import streamlit as st

from analysis.formatting import number, share, visible
from dashboard.editor.current_text import CurrentText
from dashboard.editor.reading_route import MOST_PINS
from dashboard.editor.token_neurons import nearest_to_maximum
from dashboard.editor.workspace import Workspace
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON


def draw(current: CurrentText) -> None:
    """Draw the pinned neurons, and those nearest to their maximum on the chosen token."""
    workspace, place = current.workspace, current.place
    for layer, neuron in list(workspace.pins):
        neuron_row(current, layer, neuron, "", pinned=True)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        layer = st.selectbox("Pin a neuron of layer", place.cache.layers, key="pin_layer", width=150)
        neuron = st.number_input(
            "neuron", 0, place.cache.d_mlp - 1, step=1, key="pin_neuron", width=130,
        )  # fmt: skip
        st.button(
            "Pin", icon=":material/keep:", key="pin_named", on_click=pin,
            args=(workspace, layer, int(neuron)), disabled=len(workspace.pins) >= MOST_PINS,
            help=f"Show its activations on this text, below the editor; at most {MOST_PINS} neurons.",
        )  # fmt: skip
    if current.chosen is None:
        st.caption("Type a text, then click one of its tokens.")
        return
    st.caption(
        f"Neurons nearest to their own maximum of {place.hook} on {plain(visible(current.chosen_text))}, "
        f"token {current.chosen_token + 1} of the text. Click another token to choose it."
    )
    for near in nearest_to_maximum(current):
        detail = f"{share(near.share)} of its maximum, {number(near.activation)}"
        pinned = (near.layer, near.neuron) in workspace.pins
        neuron_row(current, near.layer, near.neuron, detail, pinned=pinned)


def neuron_row(current: CurrentText, layer: int, neuron: int, detail: str, *, pinned: bool) -> None:
    """Draw the link to a neuron's page, a detail, and the button that pins or unpins it.

    Args:
        detail: empty in the list of pinned neurons.
    """
    workspace, place = current.workspace, current.place
    address = place.address.with_(layer=layer, neuron=neuron, view=None, panel=None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.page_link(
            NEURON, label=f"layer {layer} · neuron {neuron}", query_params=address.params(),
            width=170,
        )  # fmt: skip
        st.caption(detail or "pinned", width="stretch")
        # A pinned neuron can be in both lists, and a key must occur once.
        key = f"{'near' if detail else 'pinned'}_{layer}_{neuron}"
        if pinned:
            st.button("Unpin", key=f"unpin_{key}", on_click=unpin, args=(workspace, layer, neuron))
        else:
            st.button(
                "Pin", key=f"pin_{key}", on_click=pin, args=(workspace, layer, neuron),
                disabled=len(workspace.pins) >= MOST_PINS,
            )  # fmt: skip


def pin(workspace: Workspace, layer: int, neuron: int) -> None:
    """Pin a neuron, unless it is pinned or there are `MOST_PINS`."""
    if (layer, neuron) not in workspace.pins and len(workspace.pins) < MOST_PINS:
        workspace.pins.append((layer, neuron))


def unpin(workspace: Workspace, layer: int, neuron: int) -> None:
    """Remove a neuron from the pinned ones."""
    if (layer, neuron) in workspace.pins:
        workspace.pins.remove((layer, neuron))
