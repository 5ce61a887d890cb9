"""A neuron: its strongest examples, its histograms, and where both come from."""

import streamlit as st

from cache.schema import CacheError
from dashboard.catalog import ModelError
from dashboard.components.histogram_view import Panel, histogram_view
from dashboard.components.token_view import token_view
from dashboard.messages import HOOK_LABELS, hook_title, plain, show_problem
from dashboard.panels import LABELS, draw_panel
from dashboard.services import places
from dashboard.services.ablation import underlined
from dashboard.services.neurons import NeuronFacts, neuron_facts
from dashboard.services.places import Place
from dashboard.state import AddressError

LIST = "views/neurons.py"
MODELS = "views/models.py"
VIEW_LABELS = {"top": "strongest", "ranges": "sampled by range", "bottom": "weakest"}


def go(neuron: int) -> None:
    """Change the address to another neuron of the same layer."""
    st.query_params["neuron"] = str(neuron)
    st.query_params.pop("range", None)


def moved() -> None:
    """Change the address to what the widgets say."""
    for name in ("layer", "neuron", "hook", "view", "panel"):
        st.query_params[name] = str(st.session_state[f"go_{name}"])
    st.query_params.pop("range", None)


def header(place: Place) -> None:
    """What is shown, and the ways to other neurons."""
    last = place.cache.d_mlp - 1
    # The address says what the widgets show, whatever they showed before.
    st.session_state.update(
        go_layer=place.layer,
        go_neuron=place.neuron,
        go_hook=place.hook,
        go_view=place.view,
        go_panel=place.panel,
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"Layer {place.layer} · neuron {place.neuron}", anchor=False, width="content")
        st.caption(plain(place.model.name), width="stretch")
        st.selectbox(
            "Layer", place.cache.layers, format_func=lambda layer: f"layer {layer}",
            key="go_layer", on_change=moved, label_visibility="collapsed", width=105,
        )  # fmt: skip
        st.number_input(
            f"Neuron, 0 to {last}", 0, last, step=1,
            key="go_neuron", on_change=moved, label_visibility="collapsed", width=125,
        )  # fmt: skip
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", shortcut="Left",
            disabled=place.neuron == 0, on_click=go, args=(place.neuron - 1,),
        )  # fmt: skip
        st.button(
            "Next", key="next", icon=":material/chevron_right:", shortcut="Right",
            disabled=place.neuron == last, on_click=go, args=(place.neuron + 1,),
        )  # fmt: skip
        st.button(
            "Random", key="random", icon=":material/casino:", shortcut="X",
            on_click=lambda: go(places.random_neuron(place)),
        )  # fmt: skip
        if st.button("List", key="list", icon=":material/table_rows:", shortcut="L"):
            st.switch_page(LIST, query_params=place.address.with_(neuron=None).params())


def hook_choice(place: Place) -> None:
    """Which hook's examples are shown."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Examples and colours", width="content")
        st.segmented_control(
            "Examples and colours",
            place.cache.hooks,
            required=True,
            format_func=HOOK_LABELS.__getitem__,
            key="go_hook",
            on_change=moved,
            disabled=len(place.cache.hooks) == 1,
            label_visibility="collapsed",
        )


def view_choice(place: Place) -> None:
    """Which of the neuron's examples are shown."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.segmented_control(
            "Examples",
            place.views,
            required=True,
            format_func=VIEW_LABELS.__getitem__,
            key="go_view",
            on_change=moved,
            disabled=len(place.views) == 1,
            label_visibility="collapsed",
        )
        if place.range is not None:
            st.button("All ranges", key="all_ranges", icon=":material/close:", on_click=moved)


def figures(place: Place, facts: NeuronFacts) -> None:
    """The histograms of all hooks; a click on a bar shows samples of its interval."""

    def show(hook: str, value: float) -> None:
        edges = facts.intervals[hook]
        st.query_params.update(
            {"hook": hook, "view": "ranges", "range": str(sum(edge <= value and value > 0 for edge in edges))}
        )

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
        key="histograms",
        on_bar=show if "ranges" in place.views else None,
    )  # fmt: skip


def panel_choice() -> None:
    """Which panel is shown."""
    st.segmented_control(
        "Panel",
        list(LABELS),
        required=True,
        format_func=LABELS.__getitem__,
        key="go_panel",
        on_change=moved,
        label_visibility="collapsed",
    )


def page() -> None:
    """Draw the neuron that the address names."""
    try:
        place = places.find_place(places.asked_address())
        facts = neuron_facts(place)
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address shows no neuron", error)
        with st.container(horizontal=True):
            st.page_link("views/neuron.py", label="Open a neuron to begin with", query_params={})
            st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(place.address.params())
    places.remember(place.address)

    header(place)
    examples, side = st.columns([5, 4], gap="medium")
    with side, st.container(key="side", gap="small"):
        hook_choice(place)
        figures(place, facts)
        panel_choice()
        panel = st.container(gap="small")
    with examples:
        view_choice(place)
        if facts.n_examples:
            token_view(underlined(place, facts), key="examples")
        else:
            st.info("No example: this neuron never took a finite value in the corpus.")
    with panel:  # last: it may have to wait for the model
        draw_panel(place, facts)


page()
