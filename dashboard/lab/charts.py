"""Figures of a hypothesis, in plotly: tokens that fit in blue, tokens that do not in orange."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.formatting import number, share
from analysis.histogram_bars import Bars
from dashboard.shared.chart_layout import LEGEND, lay_out
from dashboard.shared.palette import DOES_NOT_FIT, FITS, GREY, REFERENCE

_TITLE = {"font_size": 11, "standoff": 4}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HookLevels:
    """Histogram of a neuron at one hook, and the share that fits at each of k levels of activation."""

    title: str
    bars: Bars
    edges: Floats
    """`[k + 1]`, limits of the levels, finite and ascending."""
    shares: Floats
    """`[k]`, shares that fit; NaN where nothing was sampled."""
    lows: Floats
    """`[k]`, lower ends of the shares' 95% intervals."""
    highs: Floats
    """`[k]`, upper ends."""


def consistency_figure(panels: Sequence[HookLevels], height: int = 330) -> go.Figure:
    """Draw each hook's histogram, coloured by the share that fits, above the shares with their intervals.

    The height of a bar is the logarithm of its count. Its colours divide this height in proportion to the
    shares (not the counts: their logarithms would make a small share look large).
    """
    figure = make_subplots(
        rows=2,
        cols=len(panels),
        shared_xaxes=True,
        row_heights=[0.62, 0.38],
        vertical_spacing=0.06,
        horizontal_spacing=0.09,
        subplot_titles=[panel.title for panel in panels],
    )
    lay_out(figure, height, top=28, bargap=0, barmode="stack")
    for column, panel in enumerate(panels, start=1):
        for trace in _stacked(panel):
            figure.add_trace(trace, row=1, col=column)
        figure.add_trace(_shares(panel), row=2, col=column)
    for row, title in ((1, "tokens, logarithmic"), (2, "share that fits")):
        figure.update_yaxes(title={"text": title, **_TITLE}, row=row, col=1)
    most = max((int(panel.bars.counts.max(initial=1)) for panel in panels), default=1)
    powers = [10**k for k in range(len(str(most)))]
    figure.update_yaxes(tickvals=[_height(p) for p in powers], ticktext=[_short(p) for p in powers], row=1)
    figure.update_yaxes(range=[-0.04, 1.04], tickvals=[0, 0.5, 1], ticktext=["0%", "50%", "100%"], row=2)
    for column, panel in enumerate(panels, start=1):
        pad = 0.02 * (panel.edges[-1] - panel.edges[0])
        low, high = panel.edges[0] - pad, panel.edges[-1] + pad
        figure.update_xaxes(range=[low, high], nticks=7, row=1, col=column)
        figure.update_xaxes(
            range=[low, high],
            nticks=7,
            title={"text": "activation", **_TITLE},
            row=2,
            col=column,
        )
    figure.update_annotations(font_size=12)
    return figure


@dataclass(frozen=True)
class FitCounts:
    """Numbers of tokens by activation, n bins: tokens that fit and the others."""

    edges: Floats
    """`[n + 1]`."""
    fitting: npt.NDArray[np.int64]
    """`[n]`."""
    others: npt.NDArray[np.int64]
    """`[n]`."""


def distributions_figure(counts: FitCounts, threshold: float, height: int = 225) -> go.Figure:
    """Draw the distributions of activation of the tokens that fit and of the others, each summing to 1.

    Args:
        counts: of a sample.
        threshold: the activation that separates the two best; NaN draws none.
    """
    figure = go.Figure()
    lowest = 1.0  # share, for the lower end of the axis
    for name, values, colour in (
        ("does not fit", counts.others, DOES_NOT_FIT),
        ("fits", counts.fitting, FITS),
    ):
        total = max(int(values.sum()), 1)
        shares = np.where(values > 0, values / total, np.nan)
        lowest = min(lowest, float(np.nanmin(np.append(shares, 1.0))))
        figure.add_scatter(
            x=np.repeat(counts.edges, 2)[1:-1],  # a staircase: each bin has a point at either edge
            y=np.repeat(shares, 2),
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
            customdata=np.repeat(values, 2),
            hovertemplate="%{x:.3g}: %{customdata:,} tokens, %{y:.3%} of these<extra>" + name + "</extra>",
        )
    if np.isfinite(threshold):
        figure.add_vline(x=threshold, line={"color": REFERENCE, "width": 1, "dash": "dash"})
    lay_out(figure, height, top=28, showlegend=True, legend=LEGEND | {"x": 1, "xanchor": "right", "y": 1.0})
    figure.update_xaxes(title={"text": "activation", **_TITLE})
    figure.update_yaxes(
        type="log", range=[np.log10(lowest) - 0.2, 0.1], nticks=5, tickformat="~%",
        title={"text": "share of its tokens, logarithmic", **_TITLE},
    )  # fmt: skip
    return figure


def precision_recall_figure(
    recall: Floats, precision: Floats, best: tuple[float, float], base: float, height: int = 225
) -> go.Figure:
    """Draw precision against recall over all thresholds.

    Args:
        recall: `[U]`, ascending.
        precision: `[U]`.
        best: recall and precision at the best threshold.
        base: share of all tokens that fit: the precision of a neuron that tells nothing apart.
    """
    figure = go.Figure(
        go.Scatter(
            x=recall, y=precision, mode="lines", line={"color": FITS, "width": 2, "shape": "hv"},
            hovertemplate="recall %{x:.1%}<br>precision %{y:.1%}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_scatter(
        x=[best[0]], y=[best[1]], mode="markers", marker={"color": DOES_NOT_FIT, "size": 9},
        hovertemplate="best threshold<br>recall %{x:.1%}<br>precision %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=base, line={"color": REFERENCE, "width": 1, "dash": "dot"})
    lay_out(figure, height, top=28)
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", title={"text": "recall", **_TITLE})
    figure.update_yaxes(range=[-0.02, 1.05], tickformat=".0%", title={"text": "precision", **_TITLE})
    return figure


def _stacked(panel: HookLevels) -> list[go.Bar]:
    """Return the stacked bars: tokens that fit, tokens that do not, and tokens of levels without samples."""
    bars = panel.bars
    middles, widths = (bars.edges[:-1] + bars.edges[1:]) / 2, np.diff(bars.edges)
    level = np.clip(np.searchsorted(panel.edges, middles, side="right") - 1, 0, len(panel.shares) - 1)
    shares = panel.shares[level]
    heights = np.array([_height(int(count)) for count in bars.counts])
    known = np.isfinite(shares)
    parts = {
        FITS: np.where(known, shares, 0) * heights,
        DOES_NOT_FIT: np.where(known, 1 - shares, 0) * heights,
        GREY: np.where(known, 0, heights),
    }
    hover_texts = [
        f"{number(low)} to {number(high)}<br>{count:,} tokens<br>"
        + (f"about {share(part)} fit" if np.isfinite(part) else "none sampled")
        for low, high, count, part in zip(bars.edges[:-1], bars.edges[1:], bars.counts, shares, strict=True)
    ]
    return [
        go.Bar(
            x=middles, y=values, width=widths, marker={"color": colour, "line": {"width": 0}},
            customdata=hover_texts, hovertemplate="%{customdata}<extra></extra>",
        )
        for colour, values in parts.items()
    ]  # fmt: skip


def _shares(panel: HookLevels) -> go.Scatter:
    """Return a point for each level, with the interval of its share."""
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
    """Return the height of a bar; the constant makes a single token visible, whose logarithm is 0."""
    return float(np.log10(count) + 0.3) if count else 0.0


def _short(count: int) -> str:
    """Format a power of ten for a tick: 1, 100, 10k, 1M."""
    return f"{count // 10**6}M" if count >= 10**6 else f"{count // 1000}k" if count >= 1000 else f"{count}"
