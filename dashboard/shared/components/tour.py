"""A few lines for those who are here for the first time; the browser remembers that they were read."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_tour",
    html='<aside class="tour" aria-label="A short tour" hidden></aside>',
    css=style(_HERE, "tour.css"),
    js=script(_HERE, "tour.js"),
)


def tour(steps: Sequence[str], key: str) -> None:
    """Show the steps one after another, until the last or until they are closed."""
    _mount(key=key, data={"name": key, "steps": list(steps)})
