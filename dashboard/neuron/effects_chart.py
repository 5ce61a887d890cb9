"""Direct effect against measured change of every token, binned: a vocabulary has too many points to draw."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from analysis.formatting import number
from analysis.token_effects import Effects, TokenEffect
from dashboard.shared.chart_layout import lay_out
from dashboard.shared.palette import QUANTITY, SELECTED, with_opacity

_GRID = 56  # cells along each side
_TITLE_SIZE = 11


def effect_map(
    direct: Effects, measured: Effects, named: Sequence[TokenEffect], height: int = 230
) -> go.Figure:
    """Draw a map of the density of tokens, with some tokens as points.

    Args:
        direct: `[V]`, direct effects, on the horizontal axis.
        measured: `[V]`, measured changes, on the vertical axis.
        named: tokens drawn as points with their text.
    """
    counts, across, upwards = np.histogram2d(
        direct.astype(np.float64), measured.astype(np.float64), bins=_GRID
    )
    logarithms = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).T
    figure = go.Figure(
        go.Heatmap(
            x=across,
            y=upwards,
            z=logarithms,
            customdata=counts.T,
            hovertemplate="%{customdata:,} tokens<extra></extra>",
            colorscale=[[0, with_opacity(QUANTITY, 0.35)], [1, QUANTITY]],  # a single token is visible
            showscale=False,
        )
    )
    tokens = [t.token for t in named]
    figure.add_scatter(
        x=direct[tokens],
        y=measured[tokens],
        mode="markers",
        marker={"color": SELECTED, "size": 6},
        customdata=[
            f"{escape(t.text)}<br>direct {number(float(direct[t.token]))}<br>"
            f"measured {number(float(measured[t.token]))}"
            for t in named
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    lay_out(figure, height)
    figure.update_xaxes(zeroline=True, nticks=7, title={"text": "direct effect", "font_size": _TITLE_SIZE})
    figure.update_yaxes(zeroline=True, nticks=6, title={"text": "measured change", "font_size": _TITLE_SIZE})
    return figure
