"""Edits of a single token, sorted by their effect on the peak."""

import pandas as pd
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.current_text import CurrentText
from dashboard.editor.occlusion import MAX_TOKENS, SingleEdit, single_edits


def draw(current: CurrentText) -> None:
    """Draw the button that tries every token, and the table of its last result."""
    workspace = current.workspace
    is_clicked = st.button(
        "Try every token", icon=":material/play_arrow:", key="try_edits", disabled=not current.tokens.ids
    )  # fmt: skip
    if is_clicked and current.tokens.ids:
        with st.spinner("Trying every token…"):
            workspace.results["edits"] = (current.key, (current.peak, single_edits(current)))
    result = workspace.results.get("edits")
    if result is None:
        st.caption(
            "Which tokens does the peak depend on? Each token is removed, and replaced by the token that the "
            f"model predicts in its place: at most {MAX_TOKENS} tokens up to the peak, since later ones "
            "cannot change it."
        )
        return
    key, (peak, edits) = result
    if key != current.key:
        st.caption("These were tried on an earlier text, neuron or hook. Press the button again.")
    if not edits:
        st.info("No single token of this text can be removed or replaced.")
        return
    edit_table(current, peak, edits)


def edit_table(current: CurrentText, peak: float, edits: list[SingleEdit]) -> None:
    """Draw the edits, and the button that makes the selected one."""
    frame = pd.DataFrame(
        {
            "token": [visible(e.old) for e in edits],
            "edit": ["removed" if not e.new else f"→ {visible(e.new)}" for e in edits],
            "peak": [e.peak for e in edits],
            "change": [e.peak - peak for e in edits],
        }
    )
    st.caption(f"Peak before the edit: {number(peak, 4)}. The edit that lowers it most is first. Select one.")
    selected = st.dataframe(
        frame,
        hide_index=True,
        key="edits_table",
        height="content" if len(edits) <= 12 else 420,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "token": st.column_config.TextColumn("token", width=110),
            "edit": st.column_config.TextColumn("edit", width=130),
            "peak": st.column_config.NumberColumn("new peak", format="%.4g", width=80),
            "change": st.column_config.NumberColumn("change", format="%+.4g", width=80),
        },
    )["selection"]["rows"]
    row = selected[0] if selected and selected[0] < len(edits) else None
    st.button(
        "Make the selected edit",
        disabled=row is None,
        on_click=current.workspace.replace_text,
        args=("" if row is None else edits[row].text,),
        key="make_edit",
    )
