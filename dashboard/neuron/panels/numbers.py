"""Exact extremes and moments, a column for each hook."""

import streamlit as st

from analysis.formatting import number, share
from dashboard.neuron.components.quantity_table import quantity_table
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.place import Place

_QUANTITIES = [
    ("maximum", "max"),
    ("minimum", "min"),
    ("mean", "mean"),
    ("standard deviation", "std"),
    ("skewness", "skewness"),
    ("excess kurtosis", "kurtosis"),
]


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw the table."""
    moments = facts.moments
    rows = [(label, [number(getattr(m, name)) for m in moments.values()]) for label, name in _QUANTITIES]
    rows.append(("density (above a tenth of its maximum)", [share(facts.density[h]) for h in moments]))
    if any(m.n_nan or m.n_inf for m in moments.values()):
        rows.append(("NaN / infinite", [f"{m.n_nan:,} / {m.n_inf:,}" for m in moments.values()]))
    st.html(quantity_table(list(moments), rows))
