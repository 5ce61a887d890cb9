"""The name that a person writes under: asked once, wherever something is first kept."""

import streamlit as st

from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.components.kept_name import keep_name
from dashboard.shared.messages import plain

_FIELD, _ERROR, _SAID = "asked_name", "asked_name_error", "asked_name_said"


def ask_name(purpose: str) -> None:
    """A field for the name.

    Args:
        purpose: what it is for, as in `to label this neuron`.
    """

    def said() -> None:
        try:
            name = annotations.set_user_name(st.session_state[_FIELD])
        except AnnotationError as error:
            st.session_state[_ERROR] = str(error)
        else:
            st.session_state[_ERROR] = ""
            if name:
                st.session_state[_SAID] = name

    st.text_input(
        f"Your name, {purpose}",
        key=_FIELD,
        max_chars=80,
        on_change=said,
        placeholder="shown beside what you write",
        help="Asked once: this browser remembers it. Everyone who uses this dashboard sees what is kept and "
        "who wrote it.",
    )
    if problem := st.session_state.get(_ERROR):
        st.error(plain(problem))


def keep_said_name() -> None:
    """Have the browser remember a name that was said in this session."""
    if name := st.session_state.get(_SAID):
        keep_name(annotations.COOKIE, name)
