"""Figures of a rating study, in plotly: the paper's Figure 4, and power by sample size."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from dashboard.analysis.rating.results import Results
from dashboard.analysis.rating.words import interval, percent

COLOURS = ("#8b8e95", "#4d86bd", "#d98536", "#c4605a", "#5d5f66", "#7fb0d9", "#b9741f", "#8f2f2c")
"""Of models in their order: grey, blue, orange, red, apart for the colour-blind; names stand below."""

_INK = "#808389"
_MARGIN = {"l": 8, "r": 8, "t": 12, "b": 8}


def share_figure(found: Results, height: int = 330) -> go.Figure:
    """A bar a model with the interval of its share, and a point a rater where there are several."""
    measured = [side for side in found.sides if side.n_neurons]
    figure = go.Figure(
        go.Bar(
            x=[_named(side.side) for side in measured],
            y=[side.share.value for side in measured],
            width=0.55,
            marker={"color": [COLOURS[found.sides.index(s) % len(COLOURS)] for s in measured]},
            error_y={
                "array": [side.share.high - side.share.value for side in measured],
                "arrayminus": [side.share.value - side.share.low for side in measured],
                "color": _INK, "thickness": 2, "width": 7,
            },
            customdata=[[interval(side.share), side.n_neurons] for side in measured],
            hovertemplate="%{customdata[0]} of %{customdata[1]} neurons<extra></extra>",
        )
    )  # fmt: skip
    if len(found.raters) > 1:
        points = [
            (_named(side.side), rater.shares[i].share.value, escape(rater.rater))
            for i, side in enumerate(found.sides)
            for rater in found.raters
            if rater.shares[i].n
        ]
        figure.add_scatter(
            x=[point[0] for point in points], y=[point[1] for point in points],
            customdata=[point[2] for point in points], mode="markers",
            marker={"symbol": "circle-open", "size": 9, "color": _INK, "line": {"width": 2}},
            hovertemplate="%{customdata}: %{y:.0%}<extra></extra>",
        )  # fmt: skip
    _laid_out(figure, height)
    figure.update_yaxes(
        range=[0, 1], tickformat=".0%", title={"text": "neurons called interpretable", "font_size": 12}
    )
    return figure


def power_figure(
    curve: Sequence[tuple[int, float]], wanted: float, n: int | None, height: int = 190
) -> go.Figure:
    """Power by neurons a model.

    Args:
        curve: neurons a model, and the power with so many.
        wanted: the power asked for, 0 to 1. n: with how many it is reached; None: with none that was tried.
    """
    figure = go.Figure(
        go.Scatter(
            x=[point[0] for point in curve], y=[point[1] for point in curve], mode="lines",
            line={"color": COLOURS[1], "width": 2},
            hovertemplate="%{x} neurons a model: %{y:.0%}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_hline(y=wanted, line={"color": _INK, "width": 1, "dash": "dash"})
    if n is not None:
        figure.add_vline(x=n, line={"color": COLOURS[2], "width": 2})
    _laid_out(figure, height)
    figure.update_xaxes(title={"text": "neurons a model", "font_size": 12})
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", title={"text": "power", "font_size": 12})
    return figure


def described(found: Results) -> str:
    """The first figure in words, for who cannot see it."""
    return "Neurons called interpretable: " + "; ".join(
        f"{side.side} {percent(side.share.value)}" for side in found.sides
    )


def _named(side: str) -> str:
    """A model's name under a bar; plotly reads tags in it."""
    return escape(side)


def _laid_out(figure: go.Figure, height: int) -> None:
    figure.update_layout(height=height, margin=_MARGIN, showlegend=False, dragmode=False)
    figure.update_xaxes(fixedrange=True, zeroline=False)
    figure.update_yaxes(fixedrange=True, zeroline=False)
