"""Tokens with the highest mean activation, and the sources of text that the activation comes from."""

import pandas as pd
import streamlit as st

from dashboard.neuron.service import NeuronFacts
from dashboard.shared.place import Place


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw both tables side by side."""
    if not facts.tokens and not facts.sources:
        st.info(
            "This cache is of version 1 and holds no activation by token or source. Build it again to see "
            "them."
        )
        return
    columns = st.columns(2, gap="small")
    with columns[0]:
        st.dataframe(
            pd.DataFrame(facts.tokens, columns=["token", "mean", "count"]),
            hide_index=True,
            height=215,
            column_config={
                "token": st.column_config.TextColumn("token", width="small"),
                "mean": st.column_config.NumberColumn("mean", format="%.3g", width="small"),
                "count": st.column_config.NumberColumn("count", format="localized", width="small"),
            },
        )
    with columns[1]:
        st.dataframe(
            pd.DataFrame(facts.sources, columns=["source", "share"]),
            hide_index=True,
            height=215,
            column_config={
                "source": st.column_config.TextColumn("source", width="small"),
                "share": st.column_config.ProgressColumn(
                    "share of activation", format="percent", min_value=0, max_value=1, width="small"
                ),
            },
        )
