"""Saved hypotheses: those saved with this neuron, a form to save one, and JSON files."""

from functools import partial

import streamlit as st

from dashboard.lab.hypothesis_files import LARGEST, from_json, to_json
from dashboard.shared import saved_hypotheses
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.hypotheses import Hypothesis
from dashboard.shared.annotations.service import key_of
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.saved_hypotheses import hypothesis_link
from dashboard.shared.user_name import ask_name, remember_name, user_name

# Session state.
_OUTCOME, _ERROR, _DELETED, _IMPORTED = "lab_saved", "lab_not_saved", "lab_deleted", "lab_imported"


def draw(place: Place, text: str) -> None:
    """Draw the form, the hypotheses saved with this neuron, and downloads and import beside them.

    Args:
        text: the hypothesis in the box; empty for none.
    """
    try:
        hypotheses = saved_hypotheses.of_place(place)
        of_all_neurons = saved_hypotheses.store().all()
    except AnnotationError as error:
        show_error("Hypotheses cannot be read", error)
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        if user_name():
            remember_name()
            _form(place, text)
        else:
            ask_name("to save hypotheses")
        _outcome(place)
        if not hypotheses:
            st.info("No hypothesis is saved with this neuron yet. Write one above and give it a name.")
        for number, hypothesis in enumerate(hypotheses):
            _row(place, hypothesis, number)
    with right:
        _downloads(hypotheses, of_all_neurons)
        _import()


def _form(place: Place, text: str) -> None:
    def save() -> None:
        _save(place, st.session_state["lab_name"], text, "Saved")
        if _ERROR not in st.session_state:
            st.session_state["lab_name"] = ""

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input(
            "Save the hypothesis above as", key="lab_name", max_chars=80,
            placeholder="a name, e.g. hexadecimal",
        )  # fmt: skip
        st.button(
            "Save", key="lab_keep", icon=":material/bookmark_add:", on_click=save,
            disabled=not text,
        )  # fmt: skip
    if not text:
        st.caption("The box above is empty, or its hypothesis cannot be read.")


def _outcome(place: Place) -> None:
    """Draw the outcome of the last change; after a deletion, a button that undoes it."""
    if reason := st.session_state.pop(_ERROR, ""):
        show_error("Not saved", reason)
    deleted = st.session_state.get(_DELETED)
    outcome = st.session_state.pop(_OUTCOME, "")
    if isinstance(deleted, Hypothesis) and deleted.key == key_of(place):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"Deleted: {plain(deleted.name)}", width="content")
            st.button(
                "Undo", key="lab_undelete", icon=":material/undo:",
                on_click=_save, args=(place, deleted.name, deleted.text, "Restored"),
            )  # fmt: skip
    elif outcome:
        st.caption(plain(outcome))


def _row(place: Place, hypothesis: Hypothesis, number: int) -> None:
    """Draw a saved hypothesis. Its name opens it; the user's own has a button that deletes it."""

    def delete() -> None:
        _save(place, hypothesis.name, "", "Deleted")
        if _ERROR not in st.session_state:
            st.session_state[_DELETED] = hypothesis

    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            hypothesis_link(place, hypothesis, hypothesis.name)
            st.caption(f"{plain(hypothesis.user)}, {hypothesis.changed:%Y-%m-%d %H:%M} UTC", width="stretch")
            if hypothesis.user == user_name():
                st.button("Delete", key=f"lab_delete_{number}", icon=":material/delete:", on_click=delete)
        st.code(hypothesis.text, language=None, wrap_lines=True)


def _save(place: Place, name: str, text: str, outcome: str) -> None:
    """Save a hypothesis and store the outcome for the rerun that follows this callback."""
    try:
        saved = saved_hypotheses.save(place, name, text)
    except AnnotationError as error:
        st.session_state[_ERROR] = str(error)
    else:
        st.session_state[_OUTCOME] = f"{outcome}: {saved.name}, {saved.changed:%H:%M:%S} UTC"
        st.session_state.pop(_DELETED, None)


def _downloads(of_neuron: list[Hypothesis], of_all_neurons: list[Hypothesis]) -> None:
    with st.container(horizontal=True, gap="small"):
        for name, hypotheses in (("this neuron's", of_neuron), ("all", of_all_neurons)):
            st.download_button(
                f"Download {name} {len(hypotheses):,} as JSON", partial(to_json, hypotheses),
                "solu-explorer-hypotheses.json", key=f"lab_download_{name}", icon=":material/download:",
                on_click="ignore", disabled=not hypotheses,
            )  # fmt: skip


def _import() -> None:
    with st.form("lab_import", clear_on_submit=True):
        file = st.file_uploader(
            "A JSON file exported from here or elsewhere", type=["json"], max_upload_size=LARGEST // 2**20
        )
        submitted = st.form_submit_button("Import")
    if submitted and file is not None:
        try:
            merged = saved_hypotheses.store().merge(from_json(file.getvalue()))
        except AnnotationError as error:
            st.session_state[_ERROR] = str(error)
        else:
            st.session_state[_IMPORTED] = (
                f"{merged.added:,} added, {merged.changed:,} changed, {merged.skipped:,} skipped, "
                "which were here already in the same or a newer version"
            )
        st.rerun()  # the rows on the left are drawn already
    if submitted:
        st.info("Choose a file first.")
    if outcome := st.session_state.pop(_IMPORTED, ""):
        st.success(plain(outcome))
