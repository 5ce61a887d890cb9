"""Histograms of a neuron side by side: the data that the browser gets, and the component that draws them.

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
    html='<section class="view"><div class="choices"></div><div class="panels"></div><p class="caption"></p>'
    '<div class="tip" role="status" hidden></div></section>',
    css=style(_HERE, "histogram_view.css"),
    js=script(_HERE, "histogram_scales.js", "histogram_view.js"),
)


@dataclass(frozen=True)
class Panel:
    """One hook's histogram."""

    hook: str
    title: str
    bars: Bars
    quantiles: Sequence[tuple[str, float]]
    """Label and value of each marked quantile."""
    intervals: Sequence[float]
    """Edges of the ranges that examples were sampled from."""
    mean: float
    std: float


@dataclass(frozen=True)
class Outline:
    """Another neuron, drawn as an outline over the first."""

    name: str
    bars: Mapping[str, Bars]
    """Bars by hook; a hook that the first neuron lacks is not drawn."""


def histogram_view(
    panels: Sequence[Panel],
    hook: str,
    key: str,
    *,
    outline: Outline | None = None,
    on_bar: Callable[[str, float], None] | None = None,
    click: str = "samples from here",
    caption: str = "",
) -> None:
    """Draw histograms. The reader chooses log counts and marks; the browser keeps the choice.

    Args:
        panels: one for each hook.
        hook: the one whose examples are on the page, in full colour.
        key: of the component; keep it when the data changes.
        outline: another neuron over the first.
        on_bar: called in a callback, before the next run, with the hook and the middle of a clicked bar.
        click: names the result of a click on a bar, in the tooltip.
        caption: text below the histograms.
    """

    def clicked() -> None:
        bar = _clicked_bar(panels, st.session_state[key].get("bar"))
        if bar is not None and on_bar is not None:
            on_bar(*bar)

    data = histogram_view_data(panels, hook, outline, click if on_bar else "", caption)
    _mount(key=key, data=data, on_bar_change=clicked)


def histogram_view_data(
    panels: Sequence[Panel],
    hook: str,
    outline: Outline | None = None,
    click: str = "",
    caption: str = "",
) -> dict[str, Any]:
    """Return what the browser needs.

    Returns:
        `click`, `caption` and `outline_name` as text, empty for none; and of each panel `title`, `coloured`
        (True for the hook of the examples), `edges` and `counts` of its bars, `normal` (counts of a normal
        distribution with the same mean and standard deviation), `quantiles` (`label` and `value` of each),
        `intervals` (edges) and `outline` (`edges` and `counts`, or None). The outline's counts are scaled to
        as many tokens as the panel's.
    """
    return {
        "click": click,
        "caption": caption,
        "outline_name": "" if outline is None else outline.name,
        "panels": [
            {
                "title": panel.title,
                "coloured": panel.hook == hook,
                "edges": _to_six_digits(panel.bars.edges),
                "counts": panel.bars.counts.tolist(),
                "normal": _to_six_digits(normal_counts(panel.bars, panel.mean, panel.std)),
                "quantiles": [
                    {"label": label, "value": float(f"{value:.6g}")} for label, value in panel.quantiles
                ],
                "intervals": _to_six_digits(np.asarray(panel.intervals, dtype=np.float64)),
                "outline": _outline(panel, outline),
            }
            for panel in panels
        ],
    }


def _outline(panel: Panel, outline: Outline | None) -> dict[str, Any] | None:
    if outline is None or panel.hook not in outline.bars:
        return None
    bars = outline.bars[panel.hook]
    scale = panel.bars.counts.sum() / max(int(bars.counts.sum()), 1)
    return {"edges": _to_six_digits(bars.edges), "counts": _to_six_digits(bars.counts * scale)}


def _to_six_digits(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _clicked_bar(panels: Sequence[Panel], message: Any) -> tuple[str, float] | None:
    """Return hook and middle of the bar that the browser names by `panel` and `bar`; None for anything
    else."""
    try:
        index, bar = message["panel"], message["bar"]
        panel = panels[index]
        low, high = panel.bars.edges[bar], panel.bars.edges[bar + 1]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return (panel.hook, float(low + high) / 2) if min(index, bar) >= 0 else None
