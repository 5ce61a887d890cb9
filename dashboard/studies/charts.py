"""Figures of a rating study, in plotly: share of interpretable neurons (the paper's Figure 4), and power."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go

from analysis.rating.report import format_interval, format_percent
from analysis.rating.results import Results
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.chart_layout import lay_out
from dashboard.shared.palette import INK, INK_ON_DARK, QUANTITY, REFERENCE, SELECTED, model_styles

RATER_OFFSET = 0.14
"""Distance of the raters' circles from the middle of a bar, to the right of its interval."""
BAR_WIDTH = 0.55
_TITLE_SIZE = 12


class SideStyle(NamedTuple):
    """Look of a side of a study."""

    colour: str
    """Colour of the side's model, as on every page."""
    pattern: str
    """Hatching, for the second side of the same model at another hook; empty for a plain bar."""


def side_styles(sides: Sequence[str], models: Iterable[ModelFolder]) -> list[SideStyle]:
    """Return a style for each side of a study.

    Args:
        sides: name of each side's model.
        models: all models on this server.
    """
    styles = model_styles(models, missing=sides)
    return [SideStyle(styles[name].colour, "/" * (name in sides[:k])) for k, name in enumerate(sides)]


def share_figure(
    study: Results, styles: Sequence[SideStyle], *, dark: bool = False, height: int = 330
) -> go.Figure:
    """Draw a bar for each side with the interval of its share; with several raters, a circle for each.

    Args:
        study: its results.
        styles: of the sides, in their order.
        dark: the page is dark; intervals are drawn in its ink.
        height: pixels.
    """
    ink = INK_ON_DARK if dark else INK
    rated = [(k, side) for k, side in enumerate(study.sides) if side.n_neurons]
    colours = [styles[k].colour for k, _ in rated]
    figure = go.Figure(
        go.Bar(
            x=[k for k, _ in rated],
            y=[side.share.value for _, side in rated],
            width=BAR_WIDTH,
            marker={
                "color": colours, "opacity": 0.5, "line": {"color": colours, "width": 2},
                "pattern": {"shape": [styles[k].pattern for k, _ in rated]},
            },
            error_y={
                "array": [side.share.high - side.share.value for _, side in rated],
                "arrayminus": [side.share.value - side.share.low for _, side in rated],
                "color": ink, "thickness": 2, "width": 7,
            },
            customdata=[[format_interval(side.share), side.n_neurons] for _, side in rated],
            hovertemplate="%{customdata[0]} of %{customdata[1]} neurons<extra></extra>",
        )
    )  # fmt: skip
    if len(study.raters) > 1:
        points = [
            (k + RATER_OFFSET, rater.shares[k].share.value, escape(rater.rater))  # plotly reads tags in names
            for k, _ in rated
            for rater in study.raters
            if rater.shares[k].n
        ]
        figure.add_scatter(
            x=[point[0] for point in points], y=[point[1] for point in points],
            customdata=[point[2] for point in points], mode="markers",
            marker={"symbol": "circle-open", "size": 9, "color": ink, "line": {"width": 2}},
            hovertemplate="%{customdata}: %{y:.0%}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, height, top=12)
    figure.update_xaxes(
        tickvals=[k for k, _ in rated], range=[-0.6, len(study.sides) - 0.4], showgrid=False,
        ticktext=[f"{escape(side.side)}<br>{side.n_neurons} neurons" for _, side in rated],
    )  # fmt: skip
    figure.update_yaxes(
        range=[0, 1],
        tickformat=".0%",
        title={"text": "neurons called interpretable", "font_size": _TITLE_SIZE},
    )
    return figure


def power_figure(
    curve: Sequence[tuple[int, float]], required: float, n: int | None, height: int = 190
) -> go.Figure:
    """Draw power by number of neurons.

    Args:
        curve: numbers of neurons of each model, with the power of such a study.
        required: power to reach, 0 to 1.
        n: number that reaches it; None if no number tried does.
        height: pixels.
    """
    figure = go.Figure(
        go.Scatter(
            x=[point[0] for point in curve], y=[point[1] for point in curve], mode="lines",
            line={"color": QUANTITY, "width": 2},
            hovertemplate="%{x} neurons of each model: %{y:.0%}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_hline(y=required, line={"color": REFERENCE, "width": 1, "dash": "dash"})
    if n is not None:
        figure.add_vline(x=n, line={"color": SELECTED, "width": 2})
    lay_out(figure, height, top=12)
    figure.update_xaxes(title={"text": "neurons of each model", "font_size": _TITLE_SIZE})
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", title={"text": "power", "font_size": _TITLE_SIZE})
    return figure


def describe_shares(study: Results) -> str:
    """Describe the figure of shares in words, for screen readers."""
    return "Neurons called interpretable: " + "; ".join(
        f"{side.side} {format_percent(side.share.value)}" for side in study.sides
    )
