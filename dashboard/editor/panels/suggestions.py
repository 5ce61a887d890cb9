"""Edits of a single token, ranked by what they do to the peak."""

import pandas as pd
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.desk import Reading
from dashboard.editor.occlusion import MOST_TOKENS, SingleEdit, single_edits


def draw(reading: Reading) -> None:
    """Try every token when asked to; a table of the edits."""
    desk = reading.desk
    asked = st.button(
        "Try every token", icon=":material/play_arrow:", key="try_edits", disabled=not reading.tokens.ids
    )  # fmt: skip
    if asked and reading.tokens.ids:
        with st.spinner("Trying every token…"):
            desk.results["edits"] = (reading.version, (reading.peak, single_edits(reading)))
    kept = desk.results.get("edits")
    if kept is None:
        st.caption(
            f"What does the peak depend on? Each of the {MOST_TOKENS} tokens up to it is taken out, and "
            "replaced by the one that the model expected most in its place. Tokens after it cannot change it."
        )
        return
    peak, edits = kept[1]
    if kept[0] != reading.version:
        st.caption("These were tried on an earlier text, neuron or hook: try again for this one.")
    if not edits:
        st.info("No single token can be taken out or replaced here.")
        return
    table(reading, peak, edits)


def table(reading: Reading, peak: float, edits: list[SingleEdit]) -> None:
    """The edits, the one that takes most from the peak first; the chosen one can be made."""
    frame = pd.DataFrame(
        {
            "token": [visible(e.old) for e in edits],
            "edit": ["taken out" if not e.new else f"→ {visible(e.new)}" for e in edits],
            "peak": [e.peak for e in edits],
            "change": [e.peak - peak for e in edits],
        }
    )
    st.caption(
        f"Peak of the text that was tried: {number(peak, 4)}. The edit that takes most is first: choose one."
    )
    chosen = st.dataframe(
        frame,
        hide_index=True,
        key="edits_table",
        height="content" if len(edits) <= 12 else 420,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "token": st.column_config.TextColumn("token", width=110),
            "edit": st.column_config.TextColumn("edit", width=130),
            "peak": st.column_config.NumberColumn("peak then", format="%.4g", width=80),
            "change": st.column_config.NumberColumn("change", format="%+.4g", width=80),
        },
    )["selection"]["rows"]
    row = chosen[0] if chosen and chosen[0] < len(edits) else None
    st.button(
        "Make the chosen edit",
        disabled=row is None,
        on_click=reading.desk.put,
        args=("" if row is None else edits[row].text,),
        key="make_edit",
    )
