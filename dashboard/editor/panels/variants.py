"""Texts saved on the way, each with its peak: a series of edits as evidence."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.desk import Desk, Reading
from dashboard.editor.service import corpus_maximum
from dashboard.shared.hook_names import HOOK_COLOURS


def draw(reading: Reading) -> None:
    """Save the text as it is; a table and a plot of all that were saved."""
    desk, place = reading.desk, reading.place
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Save this text", icon=":material/add:", on_click=save, args=(desk,), key="save_variant")
        st.button("Clear", on_click=desk.variants.clear, disabled=not desk.variants, key="clear_variants")
    texts = ([] if desk.original is None else [desk.original]) + desk.variants
    if not desk.variants:
        st.caption("Saved texts stand here with the highest activation on each, as a table and a plot.")
        return
    names = ([] if desk.original is None else ["original"]) + [f"{n + 1}" for n in range(len(desk.variants))]
    peaks = [desk.peak(place, reading.live, text) for text in texts]
    frame = pd.DataFrame({"name": names, "peak": peaks, "change": [p - peaks[0] for p in peaks],
                          "text": [changed_part(texts[0], t) for t in texts]})  # fmt: skip
    st.plotly_chart(
        figure(frame, place.hook, corpus_maximum(place, place.layer, place.neuron)),
        key="variants_plot",
        config={"displayModeBar": False},
        alt="Highest activation on each saved text",
    )
    chosen = st.dataframe(
        frame,
        hide_index=True,
        key="variants_table",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "name": st.column_config.TextColumn("text", width=70),
            "peak": st.column_config.NumberColumn("peak", format="%.4g", width=70),
            "change": st.column_config.NumberColumn(f"from {names[0]}", format="%+.4g", width=90),
            "text": st.column_config.TextColumn("where it differs"),
        },
    )["selection"]["rows"]
    row = chosen[0] if chosen and chosen[0] < len(texts) else None
    st.button(
        "Put the chosen one into the editor",
        disabled=row is None,
        on_click=desk.put,
        args=("" if row is None else texts[row],),
        key="put_variant",
    )


def save(desk: Desk) -> None:
    """Keep the text as it is now, once."""
    desk.take_edit()
    if desk.text not in desk.variants:
        desk.variants.append(desk.text)


def changed_part(first: str, text: str, most: int = 60) -> str:
    """What a text says where it differs from the first, between what both begin and end with."""
    shorter = min(len(first), len(text))
    before = next((i for i in range(shorter) if first[i] != text[i]), shorter)
    after = next((i for i in range(shorter - before) if first[-1 - i] != text[-1 - i]), shorter - before)
    part = text[before : len(text) - after]
    if first == text:
        return visible(text[:most]) + ("…" if len(text) > most else "")
    return "…" + visible(part[:most]) + "…" if part else "… (taken out) …"


def figure(frame: pd.DataFrame, hook: str, highest: float) -> go.Figure:
    """Peaks in the order saved, with the neuron's maximum in the corpus as a line."""
    made = go.Figure(
        go.Bar(
            x=frame["name"],
            y=frame["peak"],
            marker={"color": HOOK_COLOURS[hook]},
            text=[number(p) for p in frame["peak"]],
            hovertemplate="%{x}: %{y:.4g}<extra></extra>",
        )
    )
    made.add_hline(
        y=highest, line={"dash": "dot", "width": 1}, annotation_text="maximum in the corpus",
        annotation_font_size=11,
    )  # fmt: skip
    made.update_layout(height=190, margin={"l": 8, "r": 8, "t": 14, "b": 8}, dragmode=False)
    made.update_xaxes(type="category", fixedrange=True, tickfont_size=11)
    made.update_yaxes(fixedrange=True, tickfont_size=11, title={"text": f"peak {hook}", "font": {"size": 11}})
    return made
