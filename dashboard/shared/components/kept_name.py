"""A user's name in a cookie of the browser, which sends it to the server at the next visit."""

import streamlit as st

_SCRIPT = """
const YEAR = 365 * 24 * 3600; // seconds

export default function ({ data: { cookie, name } }) {
  const age = name ? YEAR : 0; // an age of 0 removes the cookie
  document.cookie = `${cookie}=${encodeURIComponent(name)}; path=/; max-age=${age}; samesite=strict`;
}
"""

_mount = st.components.v2.component(
    "solu_kept_name", html='<span hidden aria-hidden="true"></span>', js=_SCRIPT
)


def keep_name(cookie: str, name: str) -> None:
    """Keep a name for a year; an empty name removes the cookie."""
    _mount(key="kept_name", data={"cookie": cookie, "name": name}, height=1)
