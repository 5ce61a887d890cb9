"""Figures of a rating study, in plotly: the paper's Figure 4, and power by sample size."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from analysis.rating.report import format_interval, format_percent
from analysis.rating.results import Results

COLOURS = ("#8b8e95", "#4d86bd", "#d98536", "#c4605a", "#5d5f66", "#7fb0d9", "#b9741f", "#8f2f2c")
"""Of models in their order: grey, blue, orange, red, apart for the colour-blind; names stand below."""

_INK = "#74777e"
_BESIDE = 0.14  # of a rater's circle, right of the interval
_MARGIN = {"l": 8, "r": 8, "t": 12, "b": 8}


def share_figure(found: Results, *, dark: bool = False, height: int = 330) -> go.Figure:
    """A bar a model with the interval of its share, and a point a rater where there are several.

    Args:
        dark: whether the page is, which the intervals are seen against.
    """
    ink = "#e4e4e1" if dark else "#1f2023"
    measured = [(at, side) for at, side in enumerate(found.sides) if side.n_neurons]
    colours = [COLOURS[at % len(COLOURS)] for at, _ in measured]
    figure = go.Figure(
        go.Bar(
            x=[at for at, _ in measured],
            y=[side.share.value for _, side in measured],
            width=0.55,
            marker={"color": colours, "opacity": 0.5, "line": {"color": colours, "width": 2}},
            error_y={
                "array": [side.share.high - side.share.value for _, side in measured],
                "arrayminus": [side.share.value - side.share.low for _, side in measured],
                "color": ink, "thickness": 2, "width": 7,
            },
            customdata=[[format_interval(side.share), side.n_neurons] for _, side in measured],
            hovertemplate="%{customdata[0]} of %{customdata[1]} neurons<extra></extra>",
        )
    )  # fmt: skip
    if len(found.raters) > 1:
        points = [
            (at + _BESIDE, rater.shares[at].share.value, escape(rater.rater))  # plotly reads tags in names
            for at, _ in measured
            for rater in found.raters
            if rater.shares[at].n
        ]
        figure.add_scatter(
            x=[point[0] for point in points], y=[point[1] for point in points],
            customdata=[point[2] for point in points], mode="markers",
            marker={"symbol": "circle-open", "size": 9, "color": ink, "line": {"width": 2}},
            hovertemplate="%{customdata}: %{y:.0%}<extra></extra>",
        )  # fmt: skip
    _laid_out(figure, height)
    figure.update_xaxes(
        tickvals=[at for at, _ in measured], range=[-0.6, len(found.sides) - 0.4], showgrid=False,
        ticktext=[f"{escape(side.side)}<br>{side.n_neurons} neurons" for _, side in measured],
    )  # fmt: skip
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
        f"{side.side} {format_percent(side.share.value)}" for side in found.sides
    )


def _laid_out(figure: go.Figure, height: int) -> None:
    figure.update_layout(height=height, margin=_MARGIN, showlegend=False, dragmode=False)
    figure.update_xaxes(fixedrange=True, zeroline=False)
    figure.update_yaxes(fixedrange=True, zeroline=False)
