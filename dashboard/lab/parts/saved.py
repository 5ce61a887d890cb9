"""Hypotheses that are kept with the neuron: by name and person, opened, deleted, taken back, as files."""

from functools import partial

import streamlit as st

from dashboard.shared.annotations import hypothesis_service as hypotheses
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.hypotheses import LARGEST, Hypothesis, from_json, to_json
from dashboard.shared.error_message import show_problem
from dashboard.shared.hypothesis_links import hypothesis_link
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.user_name import ask_name, keep_said_name

_OUTCOME, _PROBLEM, _DELETED, _IMPORTED = "lab_saved", "lab_not_saved", "lab_deleted", "lab_imported"


def draw(place: Place, text: str) -> None:
    """The form to keep the hypothesis in the box, what is kept with this neuron, and files.

    Args:
        text: the hypothesis in the box; empty for none.
    """
    try:
        kept = hypotheses.of_neuron(place)
        everything = hypotheses.store().all()
    except AnnotationError as error:
        show_problem("Hypotheses cannot be read", error)
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        if annotations.user_name():
            keep_said_name()
            _form(place, text)
        else:
            ask_name("to keep hypotheses")
        _status(place)
        if not kept:
            st.info("Nothing is kept with this neuron yet. Write a hypothesis above and give it a name.")
        for number, hypothesis in enumerate(kept):
            _row(place, hypothesis, f"{number}")
    with right:
        _files(kept, everything)


def _form(place: Place, text: str) -> None:
    def save() -> None:
        _kept(place, st.session_state["lab_name"], text, "Kept")
        if _PROBLEM not in st.session_state:
            st.session_state["lab_name"] = ""

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input(
            "Keep the hypothesis above as", key="lab_name", max_chars=80,
            placeholder="a name, as: hexadecimal",
        )  # fmt: skip
        st.button(
            "Keep", key="lab_keep", icon=":material/bookmark_add:", on_click=save,
            disabled=not text,
        )  # fmt: skip
    if not text:
        st.caption("There is no hypothesis in the box that can be read.")


def _status(place: Place) -> None:
    """What became of the last change, and the way back from a deletion."""
    if problem := st.session_state.pop(_PROBLEM, ""):
        show_problem("Not kept", problem)
    deleted = st.session_state.get(_DELETED)
    outcome = st.session_state.pop(_OUTCOME, "")
    if isinstance(deleted, Hypothesis) and deleted.key == annotations.key_of(place):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"Deleted: {plain(deleted.name)}", width="content")
            st.button(
                "Undo", key="lab_undelete", icon=":material/undo:",
                on_click=_kept, args=(place, deleted.name, deleted.text, "Back again"),
            )  # fmt: skip
    elif outcome:
        st.caption(plain(outcome))


def _row(place: Place, hypothesis: Hypothesis, number: str) -> None:
    """One kept hypothesis: its name opens it; the session's own can be deleted."""

    def delete() -> None:
        _kept(place, hypothesis.name, "", "Deleted")
        if _PROBLEM not in st.session_state:
            st.session_state[_DELETED] = hypothesis

    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            hypothesis_link(place, hypothesis, hypothesis.name)
            st.caption(f"{plain(hypothesis.user)}, {hypothesis.changed:%Y-%m-%d %H:%M} UTC", width="stretch")
            if hypothesis.user == annotations.user_name():
                st.button("Delete", key=f"lab_delete_{number}", icon=":material/delete:", on_click=delete)
        st.code(hypothesis.text, language=None, wrap_lines=True)


def _kept(place: Place, name: str, text: str, outcome: str) -> None:
    """Save, and remember what became of it."""
    try:
        saved = hypotheses.save(place, name, text)
    except AnnotationError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        st.session_state[_OUTCOME] = f"{outcome}: {saved.name}, {saved.changed:%H:%M:%S} UTC"
        st.session_state.pop(_DELETED, None)


def _files(kept: list[Hypothesis], everything: list[Hypothesis]) -> None:
    """Downloads of what is kept, and the way back in."""
    with st.container(horizontal=True, gap="small"):
        for name, found in (("this neuron's", kept), ("all", everything)):
            st.download_button(
                f"Download {name} {len(found):,} as JSON", partial(to_json, found),
                "solu-explorer-hypotheses.json", key=f"lab_download_{name}", icon=":material/download:",
                on_click="ignore", disabled=not found,
            )  # fmt: skip
    with st.form("lab_import", clear_on_submit=True):
        file = st.file_uploader(
            "A JSON file that was exported here or elsewhere", type=["json"], max_upload_size=LARGEST // 2**20
        )
        submitted = st.form_submit_button("Import")
    if submitted and file is not None:
        try:
            merged = hypotheses.store().merge(from_json(file.getvalue()))
        except AnnotationError as error:
            st.session_state[_PROBLEM] = str(error)
        else:
            st.session_state[_IMPORTED] = (
                f"{merged.added:,} added, {merged.changed:,} changed, {merged.skipped:,} skipped: "
                "the same or something newer is here"
            )
        st.rerun()
    if submitted:
        st.info("Choose a file first.")
    if outcome := st.session_state.pop(_IMPORTED, ""):
        st.success(plain(outcome))
