"""The editor: type, and see what a neuron does on every token."""

from typing import Any

import numpy as np
import streamlit as st

from cache.format.schema import CacheError
from dashboard.editor.components.live_editor import live_editor
from dashboard.editor.desk import COMPONENT_KEY, Desk, Reading, desk_for
from dashboard.editor.edited_text import MAX_TEXT, as_typed
from dashboard.editor.kept_texts import KeptText, keep_text
from dashboard.editor.panels import PANELS
from dashboard.editor.service import activations_by_piece, neuron_activations, tokenize
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar, key_of
from dashboard.shared.error_message import show_problem
from dashboard.shared.page_paths import EDITOR, MODELS, NEURON
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel, checkpoint_version, running_model_at


def keep_in_address(desk: Desk) -> None:
    """Have the address name the text as it is now, by a short identifier."""
    desk.take_edit()
    for name in ("example", "whole"):
        st.query_params.pop(name, None)
    try:
        st.query_params["text"] = keep_text(KeptText(desk.text, desk.original))
    except OSError as error:
        st.query_params.pop("text", None)
        st.session_state["editor_not_kept"] = f"the text could not be kept on the server: {error}"
    desk.source = f"text {st.query_params.get('text', '')}"


def heading(place: Place, desk: Desk) -> None:
    """Draw the context bar, with the way to the neuron's page and the button that makes a link."""

    def keep_text_on_move() -> None:
        keep_in_address(desk)
        if st.query_params.get("model") != place.model.name:
            desk.pins.clear()  # neurons of the model that was left

    # Streamlit does not see that the focus is in the editor's text: arrows there must not lead elsewhere.
    bar = context_bar(place, "Editor", shortcuts=False, then=keep_text_on_move)
    with bar.row:
        st.page_link(
            NEURON,
            label="Its page",
            icon=":material/adjust:",
            query_params=place.address.with_(view=None, panel=None).params(),
        )
        st.button(
            "Link", icon=":material/link:", on_click=keep_in_address, args=(desk,),
            help="Put the text into this page's address, by a short identifier: the address then restores "
            "text, model and neuron.",
        )  # fmt: skip
    if problem := st.session_state.pop("editor_not_kept", ""):
        show_problem("No link", problem)


@st.fragment
def editing(place: Place, desk: Desk) -> None:
    """The editor and the panel beside it; runs alone when typing pauses. Colours take another way."""
    chosen = tuple(st.session_state[key_of(name)] for name in ("layer", "neuron", "hook"))
    if chosen != (place.layer, place.neuron, place.hook):
        st.rerun()  # chosen in the moment that the text was told: Streamlit then runs this part alone
    browser_owns = desk.take_edit()
    paper, side = st.columns([3, 2], gap="medium")
    with side:
        panel = st.segmented_control(
            "Panel",
            list(PANELS),
            default=next(iter(PANELS)),
            required=True,
            format_func=lambda name: PANELS[name].label,
            key="editor_panel",
            label_visibility="collapsed",
        )
    with paper:
        live_editor(
            shown_to_the_browser(place, desk, browser_owns, PANELS[panel].follows_caret), COMPONENT_KEY
        )
    try:
        places.cache_of(place.model)  # a checkpoint put in the place of the one that was read is noticed
        reading = read(place, running_model_at(place), desk)
    except (ModelError, CacheError):
        return  # the browser, which asks the same, says what is wrong and keeps the text
    with side:
        PANELS[panel].draw(reading)


def shown_to_the_browser(place: Place, desk: Desk, browser_owns: bool, follows: bool) -> dict[str, Any]:
    """What the component gets, see `live_editor`."""
    original = None
    if desk.original is not None:
        original = {"title": desk.title, "detail": desk.detail, "text": as_typed(desk.original)}
    return {
        "work": desk.work,
        "source": desk.source,
        "text": None if browser_owns else desk.text,
        "max_text": MAX_TEXT,
        "keep": desk.keep,
        "follows": follows,
        "original": original,
        "pins": [f"layer {layer} · neuron {neuron}" for layer, neuron in desk.pins],
        "version": f"{place.version} {checkpoint_version(place.model)}",
        "ask": {
            "model": place.model.name,
            "layer": place.layer,
            "neuron": place.neuron,
            "hook": place.hook,
            "pins": [list(pin) for pin in desk.pins],
        },
    }


def read(place: Place, live: RunningModel, desk: Desk) -> Reading:
    """The text on the desk as the place's neuron reads it."""
    tokens = tokenize(live, place.cache.vocabulary, desk.text, desk.keep)
    values = neuron_activations(live, tokens.ids, [(place.layer, place.neuron)], place.cache.hooks)[0]
    at = tokens.piece_at(desk.caret) if desk.caret is not None else None
    if at is None and tokens.pieces:
        at = int(np.argmax(activations_by_piece(values[place.hook], tokens.pieces)))
    return Reading(place, live, desk, tokens, values, at)


def page() -> None:
    """Draw the editor for the neuron and text that the address names."""
    try:
        place = places.find_place(places.asked_address())
        running_model_at(place)
        desk = desk_for(
            place,
            st.query_params.get("example", ""),
            st.query_params.get("text", ""),
            whole=st.query_params.get("whole") == "1",
        )
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address opens no text", error)
        with st.container(horizontal=True):
            st.page_link(EDITOR, label="Open an empty editor", query_params={})
            st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(place.address.with_(view=None, panel=None).params())
    places.remember(place.address)
    heading(place, desk)
    editing(place, desk)


page()
