"""A short tour for a first visit; the browser remembers that it was closed."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_tour",
    html='<aside class="tour" aria-label="A short tour" hidden></aside>',
    css=style(_HERE, "tour.css", dom=False),
    js=script(_HERE, "tour.js"),
)


def tour(steps: Sequence[str], key: str) -> None:
    """Show the steps one after another, until the last or until the tour is closed."""
    _mount(key=key, data={"name": key, "steps": list(steps)})
