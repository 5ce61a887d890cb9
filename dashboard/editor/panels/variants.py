"""Saved texts, each with its peak: a series of edits as evidence."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.current_text import CurrentText
from dashboard.editor.service import corpus_maximum
from dashboard.editor.workspace import Workspace
from dashboard.shared.chart_layout import lay_out
from dashboard.shared.palette import HOOK_COLOURS


def draw(current: CurrentText) -> None:
    """Draw the button that saves the text, and a plot and a table of the saved texts."""
    workspace, place = current.workspace, current.place
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Save this text", icon=":material/add:", on_click=save_variant, args=(workspace,),
            key="save_variant",
        )  # fmt: skip
        st.button(
            "Clear", on_click=workspace.variants.clear, disabled=not workspace.variants, key="clear_variants"
        )
    if not workspace.variants:
        st.caption("No text is saved yet. Saved texts are listed here with the peak of each.")
        return
    names = [f"{n + 1}" for n in range(len(workspace.variants))]
    texts = workspace.variants
    if workspace.original is not None:
        names, texts = ["original", *names], [workspace.original, *texts]
    peaks = [workspace.peak(place, current.running, text) for text in texts]
    frame = pd.DataFrame({"name": names, "peak": peaks, "change": [p - peaks[0] for p in peaks],
                          "text": [changed_part(texts[0], t) for t in texts]})  # fmt: skip
    st.plotly_chart(
        peaks_figure(frame, place.hook, corpus_maximum(place, place.layer, place.neuron)),
        key="variants_plot",
        config={"displayModeBar": False},
        alt="Highest activation on each saved text",
    )
    selected = st.dataframe(
        frame,
        hide_index=True,
        key="variants_table",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "name": st.column_config.TextColumn("text", width=70),
            "peak": st.column_config.NumberColumn("peak", format="%.4g", width=70),
            "change": st.column_config.NumberColumn(f"from {names[0]}", format="%+.4g", width=90),
            "text": st.column_config.TextColumn("changed part"),
        },
    )["selection"]["rows"]
    row = selected[0] if selected and selected[0] < len(texts) else None
    st.button(
        "Open the selected text in the editor",
        disabled=row is None,
        on_click=workspace.replace_text,
        args=("" if row is None else texts[row],),
        key="put_variant",
    )


def save_variant(workspace: Workspace) -> None:
    """Save the text as it is now, unless it is saved already."""
    workspace.apply_edit()
    if workspace.text not in workspace.variants:
        workspace.variants.append(workspace.text)


def changed_part(first: str, text: str, limit: int = 60) -> str:
    """Return the part of a text between its common beginning and end with the first text."""
    shorter = min(len(first), len(text))
    before = next((i for i in range(shorter) if first[i] != text[i]), shorter)
    after = next((i for i in range(shorter - before) if first[-1 - i] != text[-1 - i]), shorter - before)
    part = text[before : len(text) - after]
    if first == text:
        return visible(text[:limit]) + ("…" if len(text) > limit else "")
    return "…" + visible(part[:limit]) + "…" if part else "… (removed) …"


def peaks_figure(frame: pd.DataFrame, hook: str, maximum: float) -> go.Figure:
    """Build a bar for each peak, in the order saved, and a line at the neuron's maximum in the corpus."""
    figure = go.Figure(
        go.Bar(
            x=frame["name"],
            y=frame["peak"],
            marker={"color": HOOK_COLOURS[hook]},
            text=[number(p) for p in frame["peak"]],
            hovertemplate="%{x}: %{y:.4g}<extra></extra>",
        )
    )
    figure.add_hline(
        y=maximum, line={"dash": "dot", "width": 1}, annotation_text="maximum in the corpus",
        annotation_font_size=11,
    )  # fmt: skip
    lay_out(figure, 190, top=14)
    figure.update_xaxes(type="category")
    figure.update_yaxes(title={"text": f"peak {hook}", "font": {"size": 11}})
    return figure
