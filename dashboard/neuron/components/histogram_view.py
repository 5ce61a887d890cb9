"""A neuron's histograms beside each other: the data that the browser gets, and the component that draws them.

Not plotly, which took 100 ms of every step from neuron to neuron. The data is text and numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from analysis.histogram_bars import Bars, normal_counts
from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_histogram_view",
    html='<section class="view"><div class="choices"></div><div class="panels"></div><p class="of"></p>'
    '<div class="tip" role="status" hidden></div></section>',
    css=style(_HERE, "histogram_view.css"),
    js=script(_HERE, "histogram_view.js"),
)


@dataclass(frozen=True)
class Panel:
    """One hook's histogram."""

    hook: str
    title: str
    bars: Bars
    quantiles: Sequence[tuple[str, float]]
    """Label and value of each quantile that is marked."""
    intervals: Sequence[float]
    """Edges of the intervals that examples were sampled from."""
    mean: float
    std: float


@dataclass(frozen=True)
class Second:
    """Another neuron, drawn as an outline over the first."""

    name: str
    bars: Mapping[str, Bars]
    """By hook; a hook that the first neuron lacks is not drawn."""


def histogram_view(
    panels: Sequence[Panel],
    shown: str,
    key: str,
    *,
    second: Second | None = None,
    on_bar: Callable[[str, float], None] | None = None,
    click: str = "samples from here",
    of: str = "",
) -> None:
    """Draw histograms; log or linear, marks and the normal approximation are the reader's choice, kept there.

    Args:
        shown: the hook whose examples are on the page, in full colour.
        on_bar: called in a callback, before the next run, with the hook and the middle of a bar clicked.
        click: what a click on a bar shows, in words.
        of: what the figures are of, said below them.
    """

    def clicked() -> None:
        chosen = _chosen(panels, st.session_state[key].get("bar"))
        if chosen is not None and on_bar is not None:
            on_bar(*chosen)

    data = histogram_view_data(panels, shown, second, click if on_bar else "")
    _mount(key=key, data=data | {"of": of}, on_bar_change=clicked)


def histogram_view_data(
    panels: Sequence[Panel], shown: str, second: Second | None = None, click: str = ""
) -> dict[str, Any]:
    """What the browser needs: of each hook the edges and exact counts of its bars, and what is marked.

    The second neuron's counts are scaled to as many tokens as the first one's were counted over.
    """
    return {
        "click": click,
        "second": "" if second is None else second.name,
        "panels": [
            {
                "title": panel.title,
                "shown": panel.hook == shown,
                "edges": _short(panel.bars.edges),
                "counts": panel.bars.counts.tolist(),
                "normal": _short(normal_counts(panel.bars, panel.mean, panel.std)),
                "quantiles": [[label, float(f"{value:.6g}")] for label, value in panel.quantiles],
                "intervals": _short(np.asarray(panel.intervals, dtype=np.float64)),
                "over": _over(panel, second),
            }
            for panel in panels
        ],
    }


def _over(panel: Panel, second: Second | None) -> dict[str, Any] | None:
    if second is None or panel.hook not in second.bars:
        return None
    bars = second.bars[panel.hook]
    scale = panel.bars.counts.sum() / max(int(bars.counts.sum()), 1)
    return {"edges": _short(bars.edges), "counts": _short(bars.counts * scale)}


def _short(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _chosen(panels: Sequence[Panel], place: Any) -> tuple[str, float] | None:
    """Hook and middle of the bar that the browser names as [panel, bar]; None for anything else."""
    try:
        which, bar = place
        panel = panels[which]
        low, high = panel.bars.edges[bar], panel.bars.edges[bar + 1]
    except (TypeError, ValueError, IndexError):
        return None
    return (panel.hook, float(low + high) / 2) if min(which, bar) >= 0 else None
