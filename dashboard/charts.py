"""Figures: pre-binned bars in plotly. Text and grid follow Streamlit's theme."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cache.histogram import Histogram, Moments
from dashboard.messages import number

N_BARS = 64
"""Bars a histogram has at most."""

HOOK_TITLES = {
    "hook_mid": "before the LayerNorm · hook_mid",
    "hook_post": "after the LayerNorm · hook_post",
}


HOOK_LABELS = {"hook_mid": "before LayerNorm", "hook_post": "after LayerNorm"}

HOOK_COLOURS = {"hook_mid": "#c4605a", "hook_post": "#5b8fc0"}
"""Seen as well on a light as on a dark page."""


@dataclass(frozen=True)
class Bars:
    """Exact counts between edges."""

    edges: npt.NDArray[np.float64]
    """`[n + 1]`, finite."""
    counts: npt.NDArray[np.int64]
    """`[n]`."""


def bars_of(histogram: Histogram, moments: Moments, n_bars: int = N_BARS) -> Bars:
    """A cache's histogram as bars of about even width between the lowest and the highest value.

    Every edge is one of the histogram's own, so that every count is exact: far from zero, where its bins
    are wider than a bar, a bar is one bin.
    """
    used = np.flatnonzero(histogram.counts)
    if not len(used):
        return Bars(np.array([0.0, 1.0]), np.array([0]))
    edges = histogram.edges[used[0] : used[-1] + 2].copy()
    edges[0], edges[-1] = max(edges[0], moments.min), min(edges[-1], moments.max)
    counts = histogram.counts[used[0] : used[-1] + 1]
    step = (edges[-1] - edges[0]) / n_bars
    kept = [0]
    for index in range(1, len(edges) - 1):
        if edges[index] - edges[kept[-1]] >= step and edges[-1] - edges[index] >= step / 2:
            kept.append(index)
    sums = np.add.reduceat(counts, kept).astype(np.int64)
    shown = np.append(edges[kept], edges[-1])
    if shown[0] == shown[-1]:  # one single value
        shown = np.array([shown[0] - 0.5, shown[0] + 0.5])
    return Bars(shown, sums)


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
            line={"width": 1.5, "color": HOOK_COLOURS["hook_mid"]},
            hovertemplate="%{x:.3s} tokens<br>%{y:.3f} nats<extra></extra>",
        )
    )
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 6, "b": 8}, dragmode=False)
    figure.update_xaxes(type="log", fixedrange=True, tickfont_size=11, dtick=1, exponentformat="SI")
    figure.update_yaxes(type="log", fixedrange=True, tickfont_size=11, nticks=4)
    return figure


def histograms(bars: Mapping[str, Bars], shown: str, log: bool = True, height: int = 210) -> go.Figure:
    """The histograms of a neuron beside each other, log counts, the shown hook in full colour.

    Args:
        bars: by hook.
        shown: the hook whose examples are on the page.
    """
    has_norm = len(bars) > 1
    titles = [HOOK_TITLES[hook] if has_norm else f"after the activation · {hook}" for hook in bars]
    figure = make_subplots(
        rows=1, cols=len(bars), subplot_titles=titles, horizontal_spacing=0.09, shared_yaxes=log
    )
    highest = 1
    for column, (hook, b) in enumerate(bars.items(), start=1):
        width = np.diff(b.edges)
        label = [
            f"{number(low)} to {number(high)}<br>{count:,} token{'' if count == 1 else 's'}"
            for low, high, count in zip(b.edges[:-1], b.edges[1:], b.counts, strict=True)
        ]
        figure.add_bar(
            x=b.edges[:-1] + width / 2,
            y=b.counts,
            width=width,
            customdata=label,
            hovertemplate="%{customdata}<extra></extra>",
            marker={
                "color": HOOK_COLOURS[hook],
                "line": {"width": 0},
                "opacity": 1.0 if hook == shown else 0.5,
            },
            row=1,
            col=column,
        )
        highest = max(highest, int(b.counts.max()))
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 26, "b": 8},
        bargap=0,
        showlegend=False,
        dragmode=False,
        hoverlabel={"align": "left"},
    )
    figure.update_annotations(font_size=12)
    figure.update_xaxes(zeroline=True, fixedrange=True, nticks=7, tickfont_size=11)
    figure.update_yaxes(fixedrange=True, tickfont_size=11)
    if log:
        top = float(np.log10(highest)) + 0.25
        figure.update_yaxes(type="log", range=[float(np.log10(0.6)), top], dtick=1, exponentformat="power")
    return figure
