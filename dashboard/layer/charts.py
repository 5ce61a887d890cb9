"""Figures of a layer at a glance, in plotly: bars, points and boxes that can be clicked."""

import numpy as np
import plotly.graph_objects as go

from analysis.formatting import number
from dashboard.layer.spread import Points, Quantiles, Spread, log_position

TITLES = {"density": "density", "kurtosis": "excess kurtosis", "max": "maximum"}
_BAR = "#5b8fc0"
_MARGIN = {"l": 8, "r": 8, "t": 26, "b": 8}
_TICKS = {
    "density": np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
    "kurtosis": np.array([-2.0, 0.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]),
    "max": 10.0 ** np.arange(-6, 7),
}


def spread_figure(spread: Spread, height: int = 210) -> go.Figure:
    """How many neurons have which value of a quantity."""
    positions = spread.positions
    said = [
        f"{number(low)} to {number(high)}<br>{count:,} neuron{'' if count == 1 else 's'}"
        for low, high, count in zip(spread.edges[:-1], spread.edges[1:], spread.counts, strict=True)
    ]
    figure = go.Figure(
        go.Bar(
            x=(positions[:-1] + positions[1:]) / 2,
            y=spread.counts,
            width=np.diff(positions),
            customdata=said,
            hovertemplate="%{customdata}<extra></extra>",
            marker={"color": _BAR, "line": {"width": 0}},
        )
    )
    _laid_out(figure, TITLES[spread.name], height)
    low, high = positions[0], positions[-1]
    pad = 0.02 * (high - low) or 0.5
    figure.update_xaxes(range=[low - pad, high + pad], **_ticks(spread.name, low - pad, high + pad))
    return figure


def strength_figure(points: Points, height: int = 340) -> go.Figure:
    """Every neuron by its maximum before the LayerNorm and after it."""
    figure = go.Figure(
        go.Scattergl(
            x=points.before,
            y=points.after,
            mode="markers",
            customdata=points.neurons,
            hovertemplate="neuron %{customdata}<br>before %{x:.3g}<br>after %{y:.3g}<extra></extra>",
            marker={"color": _BAR, "size": 5, "opacity": 0.6},
        )
    )
    _laid_out(figure, "", height)
    figure.update_xaxes(type="log", title={"text": "maximum before the LayerNorm", "font_size": 12})
    figure.update_yaxes(type="log", title={"text": "maximum after it", "font_size": 12})
    return figure


def layers_figure(name: str, quantiles: Quantiles, height: int = 230) -> go.Figure:
    """A quantity over the neurons of every layer: a box a layer, from 5 to 95%."""
    q = log_position(name, np.maximum(quantiles[name], 1e-12 if name != "kurtosis" else -2.0))
    figure = go.Figure(
        go.Box(
            x=quantiles["layer"],
            lowerfence=q[:, 0],
            q1=q[:, 1],
            median=q[:, 2],
            q3=q[:, 3],
            upperfence=q[:, 4],
            marker={"color": _BAR},
            line={"width": 1.3},
            hoverinfo="x+y",
        )
    )
    _laid_out(figure, TITLES[name], height)
    figure.update_xaxes(title={"text": "layer", "font_size": 12}, dtick=max(1, len(q) // 16))
    finite = q[np.isfinite(q)]
    if len(finite):
        figure.update_yaxes(**_ticks(name, finite.min() - 0.1, finite.max() + 0.1))
    return figure


def _laid_out(figure: go.Figure, title: str, height: int) -> None:
    figure.update_layout(
        height=height, margin=_MARGIN, bargap=0, showlegend=False, dragmode=False,
        hoverlabel={"align": "left"},
        title={"text": title, "font_size": 13, "x": 0.5, "xanchor": "center", "y": 0.98},
    )  # fmt: skip
    figure.update_xaxes(fixedrange=True, tickfont_size=11, zeroline=False)
    figure.update_yaxes(fixedrange=True, tickfont_size=11, zeroline=False)


def _ticks(name: str, low: float, high: float) -> dict[str, list[float] | list[str]]:
    positions = log_position(name, _TICKS[name])
    shown = (positions >= low) & (positions <= high)
    return {
        "tickvals": positions[shown].tolist(),
        "ticktext": [
            number(value, 1) if abs(value) < 1 else f"{value:,.0f}" for value in _TICKS[name][shown]
        ],
    }
