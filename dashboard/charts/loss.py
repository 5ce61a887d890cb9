"""Figures in plotly, for pages where a step may take 0.1 s. Text and grid follow Streamlit's theme."""

import pandas as pd
import plotly.graph_objects as go

_LINE = "#c4605a"  # seen as well on a light as on a dark page


def loss_figure(curve: pd.DataFrame, height: int = 130) -> go.Figure:
    """Training loss by tokens seen, both logarithmic.

    Args:
        curve: columns `tokens` and `loss` (nats a token).
    """
    figure = go.Figure(
        go.Scatter(
            x=curve["tokens"],
            y=curve["loss"],
            mode="lines",
            line={"width": 1.5, "color": _LINE},
            hovertemplate="%{x:.3s} tokens<br>%{y:.3f} nats<extra></extra>",
        )
    )
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 6, "b": 8}, dragmode=False)
    figure.update_xaxes(type="log", fixedrange=True, tickfont_size=11, dtick=1, exponentformat="SI")
    figure.update_yaxes(type="log", fixedrange=True, tickfont_size=11, nticks=4)
    return figure
