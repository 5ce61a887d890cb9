"""The page of a neuron: its examples, histograms and panels, and a second neuron beside it on demand."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cache.format.schema import CacheError
from dashboard.neuron import sections
from dashboard.neuron.components.histogram_view import Outline
from dashboard.neuron.keys import DIGITS, KEYS, OTHER_HOOK, follow_key
from dashboard.neuron.panels import PANELS
from dashboard.neuron.service import NeuronFacts, neuron_facts
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.components.shortcuts import shortcuts
from dashboard.shared.components.tour import tour
from dashboard.shared.context_bar import hook_choice, moved, widget_key
from dashboard.shared.error_message import show_address_error
from dashboard.shared.keyboard import HELP, show_key_list
from dashboard.shared.page_paths import NEURON
from dashboard.shared.place import Place

TOUR = [
    "Left: examples of text on which this neuron fires; the redder a token, the stronger the activation. "
    "Hover over a token, or use the arrow keys in an example, to read the values before and after the "
    "LayerNorm.",
    "Above the examples: choose the strongest, the weakest, or a uniform sample from every range of "
    "activation. Does the neuron mean the same where it fires weakly?",
    "Right: histograms of its activation over every token of the corpus; a click on a bar shows examples "
    "from its range. Below: the effect on the output, similar neurons, your notes.",
    "The address of this page restores everything on it: send it to a colleague. Press ? for the keys.",
]


def panel_choice(place: Place) -> None:
    """Draw the choice of the panel."""
    st.session_state[widget_key("panel")] = place.panel
    st.segmented_control(
        "Panel",
        list(PANELS),
        required=True,
        format_func=lambda name: PANELS[name].label,
        key=widget_key("panel"),
        on_change=moved,
        args=("panel",),
        label_visibility="collapsed",
    )


def draw_marks(room: DeltaGenerator, place: Place) -> None:
    """Draw star and label last: the first time, importing the database takes 0.4 s."""
    from dashboard.shared.annotations.service import heading_marks

    room.markdown(heading_marks(place))


def alone(place: Place, facts: NeuronFacts, marks: DeltaGenerator) -> None:
    """Draw the examples, and beside them the histograms and one panel."""
    left, side = st.columns([5, 4], gap="medium")
    with side, st.container(key="side", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("Activation", width="content")
            hook_choice(place)
        sections.figures(place, facts, "histograms")
        panel_choice(place)
        panel = st.container(gap="small")
    with left:
        sections.view_choice(place)
        sections.examples(place, facts, "examples")
    draw_marks(marks, place)
    with panel:  # last: it may have to wait for the model
        PANELS[place.panel].draw(place, facts)


def side_by_side(
    place: Place, facts: NeuronFacts, other: Place, other_facts: NeuronFacts, marks: DeltaGenerator
) -> None:
    """Draw two neurons; the histograms of the second are drawn over those of the first too."""
    left, right = st.columns(2, gap="medium", vertical_alignment="center")
    with left, st.container(horizontal=True, gap="medium"):
        sections.view_choice(place)
        hook_choice(place)
    with right:
        other_marks = sections.beside_heading(place, other)
    left, right = st.columns(2, gap="medium")
    with left:
        name = f"layer {other.layer}, neuron {other.neuron} of {other.model.name}"
        sections.figures(place, facts, "histograms", Outline(name, other_facts.bars))
        sections.examples(place, facts, "examples")
    with right:
        sections.figures(other, other_facts, "histograms_beside")
        sections.examples(other, other_facts, "examples_beside")
    draw_marks(marks, place)
    draw_marks(other_marks, other)


def page() -> None:
    """Draw the neuron that the address names."""
    try:
        place = places.find_place(places.requested_address())
        facts = neuron_facts(place)
        other = places.find_beside(place)
        other_facts = None if other is None else neuron_facts(other)
    except (AddressError, ModelError, CacheError) as error:
        show_address_error("This address shows no neuron", error, NEURON, "Open a neuron to begin with")
        return
    st.query_params.update(place.address.params())
    places.remember(place.address)
    tour(TOUR, "neuron")
    shortcuts([*DIGITS, HELP, OTHER_HOOK], "keys", lambda key: follow_key(key, place))
    marks = sections.heading(place)
    if other is None or other_facts is None:
        alone(place, facts, marks)
    else:
        side_by_side(place, facts, other, other_facts, marks)
    show_key_list(KEYS)


page()
