"""Figures of a hypothesis, in plotly: what fits in blue, what does not in orange, seen on both themes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.formatting import number, share
from analysis.histogram_bars import Bars

FITS, DOES_NOT = "#4d86bd", "#d98536"
"""Told apart by the colour-blind, and seen as well on a light as on a dark page."""

_GREY = "#8b8e95"
_MARGIN = {"l": 8, "r": 8, "t": 28, "b": 8}
_TITLE = {"font_size": 11, "standoff": 4}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """One hook of a neuron: how often it takes which value, and which share of each interval fits."""

    title: str
    bars: Bars
    edges: Floats
    """`[k + 1]` edges of the intervals, finite and ascending."""
    shares: Floats
    """`[k]` that fit; NaN where nothing was sampled."""
    lows: Floats
    """`[k]` lower end of each share's interval."""
    highs: Floats
    """`[k]` upper end."""


def consistency_figure(panels: Sequence[Levels], height: int = 330) -> go.Figure:
    """Above, the histogram of each hook, coloured by the share of each interval that fits; below, those
    shares with their intervals. Heights are logarithms of counts, the colours divide them by share."""
    figure = make_subplots(
        rows=2,
        cols=len(panels),
        shared_xaxes=True,
        row_heights=[0.62, 0.38],
        vertical_spacing=0.06,
        horizontal_spacing=0.09,
        subplot_titles=[panel.title for panel in panels],
    )
    for column, panel in enumerate(panels, start=1):
        for trace in _stacked(panel):
            figure.add_trace(trace, row=1, col=column)
        figure.add_trace(_shares(panel), row=2, col=column)
    for row, title in ((1, "tokens, logarithmic"), (2, "share that fits")):
        figure.update_yaxes(title={"text": title, **_TITLE}, row=row, col=1)
    most = max((int(panel.bars.counts.max(initial=1)) for panel in panels), default=1)
    powers = [10**k for k in range(len(str(most)))]
    figure.update_yaxes(tickvals=[_height(p) for p in powers], ticktext=[_short(p) for p in powers], row=1)
    figure.update_yaxes(
        range=[-0.04, 1.04], tickvals=[0, 0.5, 1], ticktext=["0%", "50%", "100%"], zeroline=False, row=2
    )
    for column, panel in enumerate(panels, start=1):
        pad = 0.02 * (panel.edges[-1] - panel.edges[0])
        low, high = panel.edges[0] - pad, panel.edges[-1] + pad
        figure.update_xaxes(range=[low, high], zeroline=False, nticks=7, row=1, col=column)
        figure.update_xaxes(
            range=[low, high],
            zeroline=False,
            nticks=7,
            title={"text": "activation", **_TITLE},
            row=2,
            col=column,
        )
    _laid_out(figure, height)
    figure.update_layout(bargap=0, barmode="stack")
    figure.update_annotations(font_size=12)
    return figure


@dataclass(frozen=True)
class TwoCounts:
    """Tokens by activation, those that fit and those that do not."""

    edges: Floats
    """`[n + 1]`."""
    fitting: npt.NDArray[np.int64]
    """`[n]`."""
    others: npt.NDArray[np.int64]
    """`[n]`."""


def distributions_figure(counts: TwoCounts, threshold: float, height: int = 225) -> go.Figure:
    """How strongly a neuron fires where a hypothesis fits and where it does not, each as a share of its own.

    Args:
        threshold: the activation that separates them best.
    """
    figure = go.Figure()
    lowest = 1.0
    for name, values, colour in (
        ("does not fit", counts.others, DOES_NOT),
        ("fits", counts.fitting, FITS),
    ):
        total = max(int(values.sum()), 1)
        shown = np.where(values > 0, values / total, np.nan)
        lowest = min(lowest, float(np.nanmin(np.append(shown, 1.0))))
        figure.add_scatter(
            x=np.repeat(counts.edges, 2)[1:-1],
            y=np.repeat(shown, 2),
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
            customdata=np.repeat(values, 2),
            hovertemplate="%{x:.3g}: %{customdata:,} tokens, %{y:.3%} of those<extra>" + name + "</extra>",
        )
    if np.isfinite(threshold):
        figure.add_vline(x=threshold, line={"color": _GREY, "width": 1, "dash": "dash"})
    _laid_out(figure, height)
    figure.update_layout(
        showlegend=True, margin=_MARGIN,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
    )  # fmt: skip
    figure.update_xaxes(title={"text": "activation", **_TITLE}, zeroline=False)
    figure.update_yaxes(
        type="log", range=[np.log10(lowest) - 0.2, 0.1], nticks=5, tickformat="~%",
        title={"text": "share of its tokens, logarithmic", **_TITLE},
    )  # fmt: skip
    return figure


def precision_recall_figure(
    recall: Floats, precision: Floats, best: tuple[float, float], base: float, height: int = 225
) -> go.Figure:
    """Precision against recall over all thresholds.

    Args:
        best: recall and precision at the best threshold.
        base: share of all tokens that fit: the precision of a neuron that knows nothing.
    """
    figure = go.Figure(
        go.Scatter(
            x=recall, y=precision, mode="lines", line={"color": FITS, "width": 2, "shape": "hv"},
            hovertemplate="recall %{x:.1%}<br>precision %{y:.1%}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_scatter(
        x=[best[0]], y=[best[1]], mode="markers", marker={"color": DOES_NOT, "size": 9},
        hovertemplate="best threshold<br>recall %{x:.1%}<br>precision %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=base, line={"color": _GREY, "width": 1, "dash": "dot"})
    _laid_out(figure, height)
    figure.update_xaxes(
        range=[-0.02, 1.02], tickformat=".0%", title={"text": "recall", **_TITLE}, zeroline=False
    )
    figure.update_yaxes(
        range=[-0.02, 1.05], tickformat=".0%", title={"text": "precision", **_TITLE}, zeroline=False
    )
    return figure


def _stacked(panel: Levels) -> list[go.Bar]:
    """The bars of what fits, does not fit and was not looked at, on top of each other."""
    bars = panel.bars
    middles, widths = (bars.edges[:-1] + bars.edges[1:]) / 2, np.diff(bars.edges)
    interval = np.clip(np.searchsorted(panel.edges, middles, side="right") - 1, 0, len(panel.shares) - 1)
    shares = panel.shares[interval]
    heights = np.array([_height(int(count)) for count in bars.counts])
    known = np.isfinite(shares)
    parts = {
        FITS: np.where(known, shares, 0) * heights,
        DOES_NOT: np.where(known, 1 - shares, 0) * heights,
        _GREY: np.where(known, 0, heights),
    }
    said = [
        f"{number(low)} to {number(high)}<br>{count:,} tokens<br>"
        + (f"about {share(part)} fit" if np.isfinite(part) else "none looked at")
        for low, high, count, part in zip(bars.edges[:-1], bars.edges[1:], bars.counts, shares, strict=True)
    ]
    return [
        go.Bar(
            x=middles, y=values, width=widths, marker={"color": colour, "line": {"width": 0}},
            customdata=said, hovertemplate="%{customdata}<extra></extra>",
        )
        for colour, values in parts.items()
    ]  # fmt: skip


def _shares(panel: Levels) -> go.Scatter:
    """A point an interval, with its bar of uncertainty."""
    ends = [f"{share(low)} to {share(high)}" for low, high in zip(panel.lows, panel.highs, strict=True)]
    return go.Scatter(
        x=(panel.edges[:-1] + panel.edges[1:]) / 2,
        y=panel.shares,
        mode="markers",
        marker={"color": FITS, "size": 7},
        error_y={
            "type": "data", "array": panel.highs - panel.shares, "arrayminus": panel.shares - panel.lows,
            "color": FITS, "thickness": 1.5, "width": 4,
        },
        customdata=ends,
        hovertemplate="%{y:.0%} fit, 95%: %{customdata}<extra></extra>",
    )  # fmt: skip


def _height(count: int) -> float:
    """Of a bar: a single token is still seen."""
    return float(np.log10(count) + 0.3) if count else 0.0


def _short(count: int) -> str:
    return f"{count // 10**6}M" if count >= 10**6 else f"{count // 1000}k" if count >= 1000 else f"{count}"


def _laid_out(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height, margin=_MARGIN, showlegend=False, dragmode=False, hoverlabel={"align": "left"}
    )
    figure.update_xaxes(fixedrange=True, tickfont_size=11)
    figure.update_yaxes(fixedrange=True, tickfont_size=11)
