"""A name kept in the browser, in a cookie that the server is shown at the next visit."""

from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script

_mount = st.components.v2.component(
    "solu_kept_name",
    html='<span hidden aria-hidden="true"></span>',
    js=script(Path(__file__).parent, "kept_name.js"),
)


def keep_name(cookie: str, name: str) -> None:
    """Keep a name for a year; an empty one is forgotten."""
    _mount(key="kept_name", data={"cookie": cookie, "name": name}, height=1)
