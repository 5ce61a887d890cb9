"""The context bar at the head of a page: model, layer, neuron and hook, and the ways to other neurons.

The address alone says what a page shows. Its widgets therefore take their values from the address before
every run, and all that a change does is to write the address (`moved`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.shared import places
from dashboard.shared.display_names import HOOK_LABELS
from dashboard.shared.list_address import ALL_LAYERS
from dashboard.shared.place import Place

_OF_ONE_NEURON = ("range", "page")
"""Parameters that another neuron, layer or hook makes void."""
_OF_ANY_MODEL = ("view", "panel", "part", "hypothesis", "text")
"""Parameters that another model can be shown with."""


@dataclass(frozen=True)
class ContextBar:
    """A bar that has been drawn, to which a page can add widgets."""

    row: DeltaGenerator
    """The bar itself: `with bar.row:` adds at its end."""
    marks: DeltaGenerator
    """Room beside the title, for star and label."""


def widget_key(name: str) -> str:
    """Return the key, in the session state, of the widget for a parameter of the address."""
    return f"bar_{name}"


def moved(name: str, then: Callable[[], object] | None = None) -> None:
    """Write the value of a widget of the bar into the address.

    Args:
        name: the parameter of the address: `model`, `layer`, `neuron`, `hook`, or another of the page's own
            whose widget has the key `widget_key(name)`.
        then: called afterwards, so that a page can change its other parameters.
    """
    value = str(st.session_state[widget_key(name)])
    params = st.query_params.to_dict()
    if name == "model":  # another model has other layers, neurons, sources and hooks
        params = {kept: params[kept] for kept in _OF_ANY_MODEL if kept in params}
    for void in _OF_ONE_NEURON:
        params.pop(void, None)
    st.query_params.from_dict(params | {name: value})
    if then is not None:
        then()


def go_to_neuron(neuron: int, then: Callable[[], object] | None = None) -> None:
    """Write another neuron of the same layer into the address; `then` as in `moved`."""
    st.session_state[widget_key("neuron")] = neuron
    moved("neuron", then)


def context_bar(
    place: Place,
    title: str,
    *,
    neuron: bool = True,
    hook: bool = True,
    layer: int | str | None = None,
    all_layers: bool = False,
    shortcuts: bool = True,
    then: Callable[[], object] | None = None,
) -> ContextBar:
    """Draw the bar for a place.

    Args:
        title: the heading of the page.
        neuron: show the neuron, and buttons for the previous, the next and a random one.
        hook: show the choice of the hook; a page that shows it elsewhere calls `hook_choice` there.
        layer: the chosen layer, if it is not that of the place, such as `ALL_LAYERS`.
        all_layers: offer all layers at once, where there are several.
        shortcuts: let the arrow keys and X lead to other neurons. Give False if a component of the page has a
            text field: Streamlit does not see that the focus is in it.
        then: called after every move, as in `moved`.
    """
    chosen = place.layer if layer is None else layer
    st.session_state.update({widget_key("model"): place.model.name, widget_key("layer"): chosen})
    row = st.container(horizontal=True, vertical_alignment="center", gap="small")
    with row:
        st.subheader(title, anchor=False, width="content")
        marks = st.container(width="stretch")
        _model_choice(then)
        offered = [*place.cache.layers, *([ALL_LAYERS] if all_layers and len(place.cache.layers) > 1 else [])]
        st.selectbox(
            "Layer", offered, format_func=_layer_label, key=widget_key("layer"), on_change=moved,
            args=("layer", then), label_visibility="collapsed", width=110,
        )  # fmt: skip
        if neuron:
            _neuron_choice(place, shortcuts, then)
        if hook:
            hook_choice(place, then)
    return ContextBar(row, marks)


def hook_choice(place: Place, then: Callable[[], object] | None = None) -> None:
    """Draw the choice of the hook whose activations the page shows."""
    st.session_state[widget_key("hook")] = place.hook
    st.segmented_control(
        "Activation", place.cache.hooks, required=True, format_func=HOOK_LABELS.__getitem__,
        key=widget_key("hook"), on_change=moved, args=("hook", then), disabled=len(place.cache.hooks) == 1,
        label_visibility="collapsed",
    )  # fmt: skip


def _model_choice(then: Callable[[], object] | None) -> None:
    names = [model.name for model in places.models() if model.has_cache]
    st.selectbox(
        "Model", names, key=widget_key("model"), on_change=moved, args=("model", then),
        label_visibility="collapsed", width=150,
    )  # fmt: skip


def _neuron_choice(place: Place, shortcuts: bool, then: Callable[[], object] | None) -> None:
    last = place.cache.d_mlp - 1
    st.session_state[widget_key("neuron")] = place.neuron
    st.number_input(
        f"Neuron, 0 to {last}", 0, last, step=1, key=widget_key("neuron"), on_change=moved,
        args=("neuron", then), label_visibility="collapsed", width=125,
    )  # fmt: skip
    st.button(
        "Previous", key="previous", icon=":material/chevron_left:", shortcut="Left" if shortcuts else None,
        disabled=place.neuron == 0, on_click=go_to_neuron, args=(place.neuron - 1, then),
    )  # fmt: skip
    st.button(
        "Next", key="next", icon=":material/chevron_right:", shortcut="Right" if shortcuts else None,
        disabled=place.neuron == last, on_click=go_to_neuron, args=(place.neuron + 1, then),
    )  # fmt: skip
    st.button(
        "Random", key="random", icon=":material/casino:", shortcut="X" if shortcuts else None,
        on_click=lambda: go_to_neuron(places.random_neuron(place), then),
    )  # fmt: skip


def _layer_label(layer: int | str) -> str:
    return "all layers" if layer == ALL_LAYERS else f"layer {layer}"
