"""Sections of a neuron's page that are always there: heading, histograms, examples."""

from functools import partial
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cache.format.schema import CacheError
from dashboard.neuron.ablation import underlined
from dashboard.neuron.components.histogram_view import Outline, Panel, histogram_view
from dashboard.neuron.service import NeuronFacts
from dashboard.shared import places
from dashboard.shared.address import AddressError, Beside
from dashboard.shared.catalog import ModelError
from dashboard.shared.components.token_view import token_view
from dashboard.shared.context_bar import context_bar, moved, widget_key
from dashboard.shared.display_names import VIEW_LABELS, hook_title
from dashboard.shared.error_message import show_error
from dashboard.shared.last_list import way_back
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import EDITOR, LAB, NEURONS
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line


def heading(place: Place) -> DeltaGenerator:
    """Draw the context bar, with the ways to a second neuron and to the list.

    Returns:
        Room beside the title, for star and label.
    """
    bar = context_bar(place, f"Layer {place.layer} · neuron {place.neuron}", hook=False)
    with bar.row:
        if st.button("Compare", key="compare", icon=":material/splitscreen_right:", shortcut="B"):
            compare_dialog(place)
        if st.button("List", key="list", icon=":material/table_rows:", shortcut="L"):
            st.switch_page(NEURONS, query_params=way_back(place))
    return bar.marks


@st.dialog("Compare with another neuron")
def compare_dialog(place: Place) -> None:
    """Ask which neuron to put beside this one."""
    models = {model.name: model for model in places.models() if model.has_cache}
    name = st.selectbox("Model", models, index=list(models).index(place.model.name), key="beside_model")
    try:
        cache = places.cache_of(models[name])
    except (CacheError, ModelError) as error:
        show_error("This model's neurons cannot be shown", error)
        return
    layers = cache.layers
    at = layers.index(place.layer) if place.layer in layers else 0
    layer = st.selectbox("Layer", layers, at, key="beside_layer")
    last = cache.d_mlp - 1
    neuron = st.number_input(f"Neuron, 0 to {last}", 0, last, min(place.neuron, last), key="beside_neuron")
    if st.button("Put it beside", key="beside_open"):
        st.query_params["beside"] = str(Beside(name, int(layer), int(neuron)))
        st.rerun()


def beside_heading(place: Place, other: Place) -> DeltaGenerator:
    """Draw the head of the comparison column, with Swap and Close; returns as `heading` does."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"Layer {other.layer} · neuron {other.neuron}", anchor=False, width="content")
        st.caption(plain(other.model.name), width="content")
        marks = st.container(width="stretch")
        st.button("Swap", key="swap", icon=":material/swap_horiz:", on_click=_swap, args=(place, other))
        st.button(
            "Close", key="close_beside", icon=":material/close:", shortcut="Escape",
            on_click=_close_beside,
        )  # fmt: skip
    return marks


def _close_beside() -> None:
    st.query_params.pop("beside", None)


def _swap(place: Place, other: Place) -> None:
    beside = str(Beside(place.model.name, place.layer, place.neuron))
    st.query_params.clear()
    st.query_params.update(other.address.with_(beside=beside).params())


def view_choice(place: Place) -> None:
    """Draw the choice of examples: strongest, sampled by range, or weakest."""
    st.session_state[widget_key("view")] = place.view
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.segmented_control(
            "Examples",
            place.views,
            required=True,
            format_func=VIEW_LABELS.__getitem__,
            key=widget_key("view"),
            on_change=moved,
            args=("view",),
            disabled=len(place.views) == 1,
            label_visibility="collapsed",
        )
        if place.range is not None:
            st.button(
                "All ranges", key="all_ranges", icon=":material/close:", on_click=moved, args=("view",)
            )  # fmt: skip
        if st.button(
            "Test a hypothesis", key="lab", icon=":material/science:", shortcut="T", type="tertiary"
        ):
            st.switch_page(LAB, query_params=place.address.of_neuron.params())


def figures(place: Place, facts: NeuronFacts, key: str, outline: Outline | None = None) -> None:
    """Draw the histograms of all hooks. A click on a bar shows samples of its range."""

    def show(hook: str, value: float) -> None:
        interval = sum(edge <= value and value > 0 for edge in facts.intervals[hook])
        st.query_params.update({"hook": hook, "view": "ranges", "range": str(interval)})

    hooks = place.cache.hooks
    histogram_view(
        [
            Panel(
                hook, hook_title(hook, len(hooks) > 1), facts.bars[hook], facts.quantiles[hook],
                facts.intervals[hook], facts.moments[hook].mean, facts.moments[hook].std,
            )
            for hook in hooks
        ],
        place.hook,
        key=key,
        outline=outline,
        caption=provenance_line(place, hooks),
        on_bar=show if key == "histograms" and "ranges" in place.views else None,
    )  # fmt: skip


def examples(place: Place, facts: NeuronFacts, key: str) -> None:
    """Draw the neuron's examples, each with the way to the editor."""
    if not facts.n_examples:
        st.info(
            "No example of this kind: the neuron never has such an activation in this cache. "
            "The histogram shows the activations that it has."
        )
        return
    address = place.address.of_neuron.params()
    on_whole = partial(whole_dialog, place)
    if name := token_view(underlined(place, facts), key, urlencode(address), on_whole):
        st.switch_page(EDITOR, query_params=address | {"example": name})


@st.dialog("The whole context", width="large")
def whole_dialog(place: Place, name: str) -> None:
    """Show an example in the whole context that the model saw."""
    from dashboard.neuron.whole_context import whole_context

    try:
        context = whole_context(place, name)
    except (CacheError, ModelError, AddressError) as error:
        show_error("This context cannot be shown", error)
        return
    st.caption(plain(context.description))
    address = place.address.of_neuron.params()
    st.page_link(
        EDITOR, label="Edit this context", icon=":material/edit_note:",
        query_params=address | {"example": name, "whole": "1"},
    )  # fmt: skip
    token_view(context.data, key="whole_context")
