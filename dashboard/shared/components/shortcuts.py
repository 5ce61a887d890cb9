"""Keys that a page answers to beyond those of its buttons, wherever the focus is but in a field of text."""

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script

_mount = st.components.v2.component("solu_shortcuts", js=script(Path(__file__).parent, "shortcuts.js"))


def shortcuts(keys: Sequence[str], key: str, on_key: Callable[[str], None]) -> None:
    """Listen for keys.

    Args:
        keys: as the browser calls them: `1`, `h`, `?`.
        on_key: called in a callback, before the next run, with the one that was pressed.
    """

    def pressed() -> None:
        found = st.session_state[key].get("pressed")
        if isinstance(found, str) and found in keys:
            on_key(found)

    _mount(key=key, data={"keys": list(keys)}, height=0, on_pressed_change=pressed)
