"""The rating of a study, card after card, as one component.

The browser requests its cards from the route in `dashboard/studies/rating_route.py`, so that Streamlit's own
messages are the same whatever model is rated. Text nodes only, never HTML.
"""

from pathlib import Path

import streamlit as st

from dashboard.shared.components.browser_files import script, style
from dashboard.studies.storage.ratings import MOST_RULE

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_rating_card",
    html=(_HERE / "rating_card.html").read_text(encoding="utf-8"),
    css=style(_HERE, "rating_card.css"),
    js=script(_HERE, "rating_clock.js", "rating_card.js"),
)


def rating_card(study: str, rater: str, instruction: str) -> None:
    """Let a rater rate the remaining cards of a study.

    Args:
        study: its id.
        rater: the name under which the ratings are stored.
        instruction: shown before the first card and on `?`.
    """
    data = {"study": study, "rater": rater, "instruction": instruction, "most_rule": MOST_RULE}
    _mount(key="rating", data=data)
