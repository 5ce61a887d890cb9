"""The rating of cards: what a rater sees and does, in one component for a whole study.

It asks the server's route for its cards (`dashboard/studies/rating_route.py`), so that Streamlit's own
messages are the same whatever is rated. Text reaches the page through text nodes alone.
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
    js=script(_HERE, "rating_draw.js", "rating_clock.js", "rating_card.js", shared=("tokens.js",)),
)


def rating_card(study: str, rater: str, instruction: str) -> None:
    """Have a rater rate what is left of a study.

    Args:
        study: its id.
        rater: the name that the ratings are kept under.
        instruction: shown before the first card and on `?`.
    """
    _mount(
        key="rating",
        data={"study": study, "rater": rater, "instruction": instruction, "most_rule": MOST_RULE},
    )
