"""Keys of the pages: the key for help, and the list of a page's keys that it opens."""

from collections.abc import Sequence

import streamlit as st

from dashboard.shared.components.shortcuts import shortcuts

HELP = "?"
"""The key that opens the list of keys on every page."""

Keys = Sequence[tuple[str, str]]
"""Keys of a page, each with what it does."""

_REQUESTED = "show_keys"


def request_key_list() -> None:
    """Open the list of keys at the end of the next run."""
    st.session_state[_REQUESTED] = True


def listen_for_help() -> None:
    """Open the list of keys on `?`, on a page without other keys of its own."""
    shortcuts([HELP], "keys", lambda _: request_key_list())


def show_key_list(keys: Keys) -> None:
    """Open the list of keys if it was requested."""
    if st.session_state.pop(_REQUESTED, False):
        _dialog(keys)


@st.dialog("Keys")
def _dialog(keys: Keys) -> None:
    st.table([{"key": key, "what it does": action} for key, action in keys])
