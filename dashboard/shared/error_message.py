"""Error messages on a page."""

import streamlit as st

from dashboard.shared.messages import plain


def show_error(title: str, error: object, advice: str = "", command: str = "") -> None:
    """Show an error message: what is wrong, what to do, and the command that does it."""
    body = f"**{plain(title)}**\n\n{plain(error)}"
    st.error(f"{body}\n\n{plain(advice)}" if advice else body, icon=":material/error:")
    if command:
        st.code(command, language="shell")
