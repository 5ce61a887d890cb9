"""Figures of a layer's page, in plotly: distributions, maxima at both hooks, all layers as boxes."""

import numpy as np
import plotly.graph_objects as go

from analysis.formatting import number
from dashboard.layer.distributions import Distribution, LayerQuantiles, Maxima, log_position
from dashboard.shared.chart_layout import lay_out
from dashboard.shared.palette import QUANTITY

TITLES = {"density": "density", "kurtosis": "excess kurtosis", "max": "maximum"}
# Round values to label: the axes hold logarithms, of kurtosis shifted by 3 (`log_position`).
_TICKS = {
    "density": np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
    "kurtosis": np.array([-2.0, 0.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]),
    "max": 10.0 ** np.arange(-6, 7),
}


def distribution_figure(distribution: Distribution, height: int = 210) -> go.Figure:
    """Draw the number of neurons by value of a quantity."""
    positions = distribution.positions
    hover_texts = [
        f"{number(low)} to {number(high)}<br>{count:,} neuron{'' if count == 1 else 's'}"
        for low, high, count in zip(
            distribution.edges[:-1], distribution.edges[1:], distribution.counts, strict=True
        )
    ]
    figure = go.Figure(
        go.Bar(
            x=(positions[:-1] + positions[1:]) / 2,
            y=distribution.counts,
            width=np.diff(positions),
            customdata=hover_texts,
            hovertemplate="%{customdata}<extra></extra>",
            marker={"color": QUANTITY, "line": {"width": 0}},
        )
    )
    _lay_out(figure, TITLES[distribution.name], height)
    low, high = positions[0], positions[-1]
    pad = 0.02 * (high - low) or 0.5  # a layer of equal neurons has one edge twice
    figure.update_xaxes(range=[low - pad, high + pad], **_ticks(distribution.name, low - pad, high + pad))
    return figure


def maxima_figure(maxima: Maxima, height: int = 340) -> go.Figure:
    """Draw each neuron by its maximum before and after LayerNorm."""
    figure = go.Figure(
        go.Scattergl(
            x=maxima.before,
            y=maxima.after,
            mode="markers",
            customdata=maxima.neurons,
            hovertemplate="neuron %{customdata}<br>before %{x:.3g}<br>after %{y:.3g}<extra></extra>",
            marker={"color": QUANTITY, "size": 5, "opacity": 0.6},
        )
    )
    _lay_out(figure, "", height)
    figure.update_xaxes(type="log", title={"text": "maximum before LayerNorm", "font_size": 12})
    figure.update_yaxes(type="log", title={"text": "maximum after LayerNorm", "font_size": 12})
    return figure


def layers_figure(name: str, quantiles: LayerQuantiles, height: int = 230) -> go.Figure:
    """Draw a box for each layer: the middle half of its neurons, with whiskers from 5 to 95%."""
    # Dead neurons have density and maximum 0, which has no logarithm.
    q = log_position(name, np.maximum(quantiles[name], 1e-12 if name != "kurtosis" else -2.0))
    figure = go.Figure(
        go.Box(
            x=quantiles["layer"],
            lowerfence=q[:, 0],
            q1=q[:, 1],
            median=q[:, 2],
            q3=q[:, 3],
            upperfence=q[:, 4],
            marker={"color": QUANTITY},
            line={"width": 1.3},
            hoverinfo="x+y",
        )
    )
    _lay_out(figure, TITLES[name], height)
    figure.update_xaxes(title={"text": "layer", "font_size": 12}, dtick=max(1, len(q) // 16))
    finite = q[np.isfinite(q)]
    if len(finite):
        figure.update_yaxes(**_ticks(name, finite.min() - 0.1, finite.max() + 0.1))
    return figure


def _lay_out(figure: go.Figure, title: str, height: int) -> None:
    lay_out(
        figure, height, top=26, bargap=0,
        title={"text": title, "font_size": 13, "x": 0.5, "xanchor": "center", "y": 0.98},
    )  # fmt: skip


def _ticks(name: str, low: float, high: float) -> dict[str, list[float] | list[str]]:
    """Return the round values between two positions, as arguments of an axis."""
    positions = log_position(name, _TICKS[name])
    is_inside = (positions >= low) & (positions <= high)
    return {
        "tickvals": positions[is_inside].tolist(),
        "ticktext": [
            number(value, 1) if abs(value) < 1 else f"{value:,.0f}" for value in _TICKS[name][is_inside]
        ],
    }
