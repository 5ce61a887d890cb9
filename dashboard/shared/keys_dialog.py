"""The list of a page's keys."""

from collections.abc import Sequence

import streamlit as st

from dashboard.shared.components.shortcuts import shortcuts
from dashboard.shared.keys import HELP

_ASKED = "show_keys"


def ask_for_keys() -> None:
    """Show the list at the end of the next run."""
    st.session_state[_ASKED] = True


def listen_for_help() -> None:
    """Answer to the one key of a page that has no others."""
    shortcuts([HELP], "keys", lambda _: ask_for_keys())


def keys_if_asked(keys: Sequence[tuple[str, str]]) -> None:
    """The list, where it was asked for.

    Args:
        keys: each with what it does.
    """
    if st.session_state.pop(_ASKED, False):
        _dialog(keys)


@st.dialog("Keys")
def _dialog(keys: Sequence[tuple[str, str]]) -> None:
    st.table([{"key": key, "what it does": what} for key, what in keys])
