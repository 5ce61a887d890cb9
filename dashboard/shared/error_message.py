"""Error messages on a page."""

import streamlit as st

from dashboard.shared.messages import plain
from dashboard.shared.page_paths import MODELS


def show_error(title: str, error: object, advice: str = "", command: str = "") -> None:
    """Show an error message: what is wrong, what to do, and the command that does it."""
    body = f"**{plain(title)}**\n\n{plain(error)}"
    st.error(f"{body}\n\n{plain(advice)}" if advice else body, icon=":material/error:")
    if command:
        st.code(command, language="shell")


def show_address_error(title: str, error: object, page: str, label: str) -> None:
    """Show why an address opens nothing, with a link to an empty page and one to the models.

    Args:
        page: path of the page that the first link opens, without parameters.
        label: of the first link.
    """
    show_error(title, error)
    with st.container(horizontal=True):
        st.page_link(page, label=label, query_params={})
        st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
