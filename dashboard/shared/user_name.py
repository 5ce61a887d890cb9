"""The name under which a person's annotations, hypotheses, judgements and ratings are saved."""

import os
from urllib.parse import unquote

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from dashboard.shared.annotations.content import AnnotationError, UserName
from dashboard.shared.components.kept_name import keep_name
from dashboard.shared.messages import plain

USER_VARIABLE = "SOLU_USER"
"""Environment: the name, where only one person uses the dashboard."""

COOKIE = "solu_user"
"""Cookie in which a browser keeps the name, percent-encoded."""

_SESSION_KEY = "user_name"
_FIELD, _ERROR, _ENTERED = "asked_name", "asked_name_error", "asked_name_entered"


def user_name() -> str:
    """Return the name of this session's user: entered in it, else SOLU_USER, else the browser's; or empty."""
    entered = st.session_state.get(_SESSION_KEY)
    if isinstance(entered, str):
        return entered
    candidates = os.environ.get(USER_VARIABLE, ""), unquote(st.context.cookies.get(COOKIE, ""))
    return next((name for text in candidates if (name := _valid(text))), "")


def required_user_name(kind: str) -> str:
    """Return the name of this session's user, under which something is about to be saved.

    Args:
        kind: of what is saved, as `annotations`.

    Raises:
        AnnotationError: the user has no name yet.
    """
    user = user_name()
    if not user:
        raise AnnotationError(f"{kind} are saved under a name: enter yours first")
    return user


def set_user_name(name: str) -> str:
    """Set the name of this session's user, and return it as it will be saved. An empty name unsets it.

    Raises:
        AnnotationError: the name is too long, or is not text.
    """
    valid = _valid(name)
    if name.strip() and not valid:
        raise AnnotationError("expected a name of at most 80 characters on one line")
    st.session_state[_SESSION_KEY] = valid
    return valid


def ask_name(purpose: str) -> None:
    """Draw a field for the name.

    Args:
        purpose: ends the field's label, as `to label this neuron`.
    """

    def enter() -> None:
        try:
            name = set_user_name(st.session_state[_FIELD])
        except AnnotationError as error:
            st.session_state[_ERROR] = str(error)
        else:
            st.session_state[_ERROR] = ""
            if name:
                st.session_state[_ENTERED] = name

    st.text_input(
        f"Your name, {purpose}",
        key=_FIELD,
        max_chars=80,
        on_change=enter,
        placeholder="shown beside what you write",
        help="Asked once: this browser remembers it. Everyone who uses this dashboard sees what you save and "
        "your name beside it.",
    )
    if problem := st.session_state.get(_ERROR):
        st.error(plain(problem))


def remember_name() -> None:
    """Have the browser remember a name that was entered in this session."""
    # Not in the callback that takes the name: a component can only be drawn by the page.
    if name := st.session_state.get(_ENTERED):
        keep_name(COOKIE, name)


def _valid(name: str) -> str:
    """Return a name with single blanks, or an empty one if it is none."""
    try:
        return _NAME.validate_python(" ".join(name.split()))
    except ValidationError:
        return ""


_NAME: TypeAdapter[str] = TypeAdapter(UserName)
