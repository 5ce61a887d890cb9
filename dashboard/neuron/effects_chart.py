"""Two effects on the vocabulary against each other: binned, whatever the size of the vocabulary."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from analysis.formatting import number
from analysis.token_effects import Effects, TokenEffect

_COLOUR = "#5b8fc0"
_SELECTED = "#c4605a"
_MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
_GRID = 56
"""Cells of a map along each side."""


def effect_map(
    direct: Effects, measured: Effects, named: Sequence[TokenEffect], height: int = 230
) -> go.Figure:
    """Two effects on every token of the vocabulary: where many lie and, by name, a few.

    Args:
        direct: `[V]` across. measured: `[V]` upwards.
        named: the tokens drawn as points.
    """
    counts, across, upwards = np.histogram2d(
        direct.astype(np.float64), measured.astype(np.float64), bins=_GRID
    )
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).T
    figure = go.Figure(
        go.Heatmap(
            x=across,
            y=upwards,
            z=shown,
            customdata=counts.T,
            hovertemplate="%{customdata:,} tokens<extra></extra>",
            colorscale=[[0, "rgba(91,143,192,0.35)"], [1, "rgba(91,143,192,1)"]],
            showscale=False,
        )
    )
    tokens = [t.token for t in named]
    figure.add_scatter(
        x=direct[tokens],
        y=measured[tokens],
        mode="markers",
        marker={"color": _SELECTED, "size": 6},
        customdata=[
            f"{escape(t.text)}<br>direct {number(float(direct[t.token]))}<br>"
            f"measured {number(float(measured[t.token]))}"
            for t in named
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_layout(
        height=height, margin=_MARGIN, dragmode=False, showlegend=False, hoverlabel={"align": "left"}
    )
    figure.update_xaxes(
        fixedrange=True, zeroline=True, nticks=7, tickfont_size=11,
        title={"text": "direct effect", "font_size": 11},
    )  # fmt: skip
    figure.update_yaxes(
        fixedrange=True, zeroline=True, nticks=6, tickfont_size=11,
        title={"text": "measured change", "font_size": 11},
    )  # fmt: skip
    return figure
