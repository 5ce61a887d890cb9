"""The editor: type a text, and see the activation of one neuron on every token."""

from typing import Any

import streamlit as st

from cache.format.schema import CacheError
from dashboard.editor.components.live_editor import live_editor
from dashboard.editor.current_text import read_current_text
from dashboard.editor.edited_text import MAX_TEXT, as_typed
from dashboard.editor.panels import PANELS
from dashboard.editor.text_store import StoredText, store_text
from dashboard.editor.workspace import COMPONENT_KEY, Workspace, open_workspace
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar, widget_key
from dashboard.shared.error_message import show_address_error, show_error
from dashboard.shared.page_paths import EDITOR, NEURON
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import checkpoint_version, running_model_at

# Session state: the reason why the last text could not be stored for a link.
LINK_ERROR = "editor_link_error"


def page() -> None:
    """Draw the editor for the neuron and text that the address names."""
    try:
        place = places.find_place(places.requested_address())
        running_model_at(place)  # a model that cannot run is reported here, before anything is drawn
        workspace = open_workspace(
            place,
            st.query_params.get("example", ""),
            st.query_params.get("text", ""),
            whole=st.query_params.get("whole") == "1",
        )
    except (AddressError, ModelError, CacheError) as error:
        show_address_error("This address opens no text", error, EDITOR, "Open an empty editor")
        return
    st.query_params.update(place.address.of_neuron.params())
    places.remember(place.address)
    draw_heading(place, workspace)
    draw_editor(place, workspace)


def draw_heading(place: Place, workspace: Workspace) -> None:
    """Draw the context bar, the link to the neuron's page and the button that makes a link."""

    def store_text_on_move() -> None:
        write_text_to_address(workspace)
        if st.query_params.get("model") != place.model.name:
            workspace.pins.clear()  # they are neurons of the previous model

    # Streamlit does not see that the focus is in the component's text field, so the arrow keys would lead
    # to another neuron while a person moves the caret.
    bar = context_bar(place, "Editor", shortcuts=False, then=store_text_on_move)
    with bar.row:
        st.page_link(
            NEURON,
            label="Neuron page",
            icon=":material/adjust:",
            query_params=place.address.of_neuron.params(),
        )
        st.button(
            "Link", icon=":material/link:", on_click=write_text_to_address, args=(workspace,),
            help="Store the text on this server and put its name into the address of this page. The address "
            "then restores text, model and neuron.",
        )  # fmt: skip
    if problem := st.session_state.pop(LINK_ERROR, ""):
        show_error("No link was made", problem)


def write_text_to_address(workspace: Workspace) -> None:
    """Store the current text, and put its name into the address."""
    workspace.apply_edit()
    for name in ("example", "whole"):
        st.query_params.pop(name, None)
    try:
        st.query_params["text"] = store_text(StoredText(workspace.text, workspace.original))
    except OSError as error:
        st.query_params.pop("text", None)
        st.session_state[LINK_ERROR] = f"the text could not be stored on the server: {error}"
    workspace.source = f"text {st.query_params.get('text', '')}"


@st.fragment
def draw_editor(place: Place, workspace: Workspace) -> None:
    """Draw the editor and the open panel.

    The fragment reruns when typing pauses. Colours do not wait for it: the component fetches them from
    `reading_route` on every key.
    """
    # The context bar may have moved while the browser sent an edit. Streamlit then reruns the fragment
    # alone, with the previous place.
    in_bar = tuple(st.session_state[widget_key(name)] for name in ("layer", "neuron", "hook"))
    if in_bar != (place.layer, place.neuron, place.hook):
        st.rerun()
    browser_is_current = workspace.apply_edit()
    left, right = st.columns([3, 2], gap="medium")
    with right:
        panel = st.segmented_control(
            "Panel",
            list(PANELS),
            default=next(iter(PANELS)),
            required=True,
            format_func=lambda name: PANELS[name].label,
            key="editor_panel",
            label_visibility="collapsed",
        )
    with left:
        data = component_data(place, workspace, browser_is_current, PANELS[panel].follows_caret)
        live_editor(data, COMPONENT_KEY)
    try:
        places.cache_of(place.model)  # checks again that the checkpoint on disk belongs to the cache
        current = read_current_text(place, workspace)
    except (ModelError, CacheError):
        return  # the component meets the same error, shows it and keeps the text
    with right:
        PANELS[panel].draw(current)


def component_data(
    place: Place, workspace: Workspace, browser_is_current: bool, follows_caret: bool
) -> dict[str, Any]:
    """Build the data of the component; `live_editor` describes the keys."""
    original = None
    if workspace.original is not None:
        original = {
            "title": "Original",
            "detail": workspace.original_detail,
            "text": as_typed(workspace.original),
        }
    return {
        "text_id": workspace.text_id,
        "source": workspace.source,
        "text": None if browser_is_current else workspace.text,
        "max_text": MAX_TEXT,
        "keep": workspace.text_end,
        "follows_caret": follows_caret,
        "original": original,
        "pins": [f"layer {layer} · neuron {neuron}" for layer, neuron in workspace.pins],
        "version": f"{place.version} {checkpoint_version(place.model)}",
        "reader": {
            "model": place.model.name,
            "layer": place.layer,
            "neuron": place.neuron,
            "hook": place.hook,
            "pins": [list(pin) for pin in workspace.pins],
        },
    }


page()
