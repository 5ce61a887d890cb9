"""Keys of a page that belong to no button; they work wherever the focus is, except in a text field."""

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script

_mount = st.components.v2.component("solu_shortcuts", js=script(Path(__file__).parent, "shortcuts.js"))


def shortcuts(keys: Sequence[str], key: str, on_key: Callable[[str], None]) -> None:
    """Listen for keys.

    Args:
        keys: by the browser's names: `1`, `h`, `?`.
        key: of the component.
        on_key: called in a callback, before the next run, with the pressed key.
    """

    def pressed() -> None:
        name = st.session_state[key].get("pressed")
        if isinstance(name, str) and name in keys:
            on_key(name)

    _mount(key=key, data={"keys": list(keys)}, height=0, on_pressed_change=pressed)
