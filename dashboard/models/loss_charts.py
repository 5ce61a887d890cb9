"""Figures of losses of several models: during training, and on held-out text by source."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.shared.chart_layout import LEGEND, lay_out
from dashboard.shared.palette import REFERENCE, ModelStyle

_PER_OCTAVE = 12  # points of a line for every doubling of the tokens
_ALL = "all"  # the entry of all sources together in `evaluation.json`


def smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """Average a loss curve over stretches of training, twelve for every doubling of the tokens seen.

    Losses of single steps vary more than the models differ.

    Args:
        curve: columns `tokens` (ascending, from 1) and `loss`.

    Returns:
        The same columns, one row for each stretch: tokens seen at its end, and its mean loss. The index
        numbers the stretches alike for all curves.
    """
    stretch = np.floor(np.log2(curve["tokens"].to_numpy(np.float64)) * _PER_OCTAVE).astype(int)
    is_last = stretch == stretch[-1]
    # A short last stretch would be a tail of noise: it joins the one before.
    if 2 * is_last.sum() < (stretch == stretch[-1] - 1).sum():
        stretch[is_last] -= 1
    return curve.groupby(stretch).agg({"tokens": "max", "loss": "mean"})


def difference(curve: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Subtract another model's averaged loss curve, over the stretches that both models have trained for."""
    last = min(curve["tokens"].iloc[-1], other["tokens"].iloc[-1])
    one, two = (smoothed(c[c["tokens"] <= last]) for c in (curve, other))
    both = one.index.intersection(two.index)
    return pd.DataFrame({"tokens": one["tokens"][both], "loss": one["loss"][both] - two["loss"][both]})


def curves_figure(
    curves: Mapping[str, pd.DataFrame],
    styles: Mapping[str, ModelStyle],
    baseline: str | None = None,
    height: int = 340,
) -> go.Figure:
    """Draw training loss by tokens seen, one line for each model, both axes logarithmic.

    Args:
        curves: by model, columns `tokens` and `loss` (nats per token).
        styles: by model.
        baseline: one of these models, to draw the others' differences from it on a linear axis; None draws
        losses.
        height: pixels.
    """
    figure = go.Figure()
    lay_out(figure, height, top=6, hovermode="closest", showlegend=True, legend=LEGEND)
    for model, curve in curves.items():
        if model == baseline:
            continue
        line = smoothed(curve) if baseline is None else difference(curve, curves[baseline])
        figure.add_scatter(
            x=line["tokens"], y=line["loss"], mode="lines", name=escape(model),  # plotly reads tags in names
            line={"width": 2, "color": styles[model].colour, "dash": styles[model].dash},
            hovertemplate=f"%{{y:{'+' * (baseline is not None)}.3f}} nats at %{{x:.3s}} tokens",
        )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1, exponentformat="SI", title="tokens seen")
    if baseline is None:
        figure.update_yaxes(type="log", nticks=8, title="nats per token")
    else:
        title = f"nats per token more than {escape(baseline)}"
        figure.update_yaxes(zeroline=True, zerolinecolor=REFERENCE, title=title)
    return figure


def sources_figure(
    losses: Mapping[str, Mapping[str, float]],
    styles: Mapping[str, ModelStyle],
    baseline: str | None = None,
    row_height: int = 17,
) -> go.Figure:
    """Draw loss by source of text: one row for each source, all text on top, then the highest losses.

    Args:
        losses: bits per byte, by model, by source.
        styles: by model.
        baseline: one of these models, to draw the others' differences from it; None draws losses.
        row_height: pixels.
    """
    reference = losses.get(baseline or "", {})
    kept = {m: own for m, own in losses.items() if m != baseline}
    sources = {s for own in kept.values() for s in own if baseline is None or s in reference}
    hardest = {s: max(own.get(s, -np.inf) for own in losses.values()) for s in sources}
    if baseline is not None:
        hardest = {s: max(own.get(s, -np.inf) for own in kept.values()) - reference[s] for s in sources}
    rows = {s: at for at, s in enumerate(sorted(sources, key=lambda s: (s == _ALL, hardest[s], s)))}
    figure = go.Figure()
    for model, own in kept.items():
        measured, style = [s for s in rows if s in own], styles[model]
        figure.add_scatter(
            x=[own[s] - reference.get(s, 0.0) for s in measured], y=[rows[s] for s in measured],
            mode="markers", name=escape(model), customdata=[[escape(s)] for s in measured],
            marker={"size": 8, "color": style.colour, "symbol": style.symbol, "opacity": 0.85},
            hovertemplate=f"%{{customdata[0]}}: %{{x:{'+' if baseline else ''}.3f}} bits per byte",
        )  # fmt: skip
    lay_out(figure, 90 + row_height * len(rows), top=6, showlegend=True, legend=LEGEND)
    title = "bits per byte" if baseline is None else f"bits per byte more than {escape(baseline)}"
    figure.update_xaxes(zeroline=baseline is not None, zerolinecolor=REFERENCE, title=title)
    names = ["<b>all text</b>" if source == _ALL else escape(source) for source in rows]
    figure.update_yaxes(
        tickvals=list(rows.values()), ticktext=names, range=[-0.8, len(rows) - 0.2],
    )  # fmt: skip
    return figure
