"""Losses of models beside each other: while they were trained, and on text they were not trained on."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.models.model_marks import Mark

_PER_OCTAVE = 12
"""Means a line has for every doubling of the tokens."""
_ALL = "all"
"""What `solu evaluate` calls all sources together."""
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
_ZERO = "#8a8d95"
_MARGIN = {"l": 8, "r": 8, "t": 6, "b": 8}


def smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """Means of the loss over stretches of tokens, twelve to a doubling: steps differ more than models.

    Args:
        curve: columns `tokens` (rising, from 1) and `loss`.

    Returns:
        The same columns, by stretch: its last number of tokens, and its mean loss.
    """
    stretch = np.floor(np.log2(curve["tokens"].to_numpy(np.float64)) * _PER_OCTAVE).astype(int)
    end = stretch == stretch[-1]
    if 2 * end.sum() < (stretch == stretch[-1] - 1).sum():  # a few last steps would be a tail of noise
        stretch[end] -= 1
    return curve.groupby(stretch).agg({"tokens": "max", "loss": "mean"})


def difference(curve: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """How much more a loss is than another's, over the stretches of tokens that both have seen."""
    last = min(curve["tokens"].iloc[-1], other["tokens"].iloc[-1])
    one, two = (smoothed(c[c["tokens"] <= last]) for c in (curve, other))
    both = one.index.intersection(two.index)
    return pd.DataFrame({"tokens": one["tokens"][both], "loss": one["loss"][both] - two["loss"][both]})


def curves_figure(
    curves: Mapping[str, pd.DataFrame],
    marks: Mapping[str, Mark],
    baseline: str | None = None,
    height: int = 340,
) -> go.Figure:
    """Training loss by tokens seen, both logarithmic, a line a model.

    Args:
        curves: by model, columns `tokens` and `loss` (nats a token).
        marks: how each model looks.
        baseline: a model of these from which the others' differences are drawn, instead of the losses.
    """
    figure = go.Figure()
    for model, curve in curves.items():
        if model == baseline:
            continue
        line = smoothed(curve) if baseline is None else difference(curve, curves[baseline])
        figure.add_scatter(
            x=line["tokens"], y=line["loss"], mode="lines", name=escape(model),  # plotly reads tags in names
            line={"width": 2, "color": marks[model].colour, "dash": marks[model].dash},
            hovertemplate=f"%{{y:{'+' * (baseline is not None)}.3f}} nats at %{{x:.3s}} tokens",
        )  # fmt: skip
    figure.update_layout(
        height=height, margin=_MARGIN, dragmode=False, hovermode="closest", showlegend=True, legend=_LEGEND
    )
    figure.update_xaxes(type="log", fixedrange=True, dtick=1, exponentformat="SI", title="tokens seen")
    if baseline is None:
        figure.update_yaxes(type="log", fixedrange=True, nticks=8, title="nats a token")
    else:
        figure.update_yaxes(
            fixedrange=True, zerolinecolor=_ZERO, title=f"nats a token more than {escape(baseline)}"
        )
    return figure


def sources_figure(
    losses: Mapping[str, Mapping[str, float]],
    marks: Mapping[str, Mark],
    baseline: str | None = None,
    row_height: int = 17,
) -> go.Figure:
    """Loss by source of text in bits a byte, a row a source, a mark a model: all text, then the hardest.

    Args:
        losses: by model, by source.
        marks: how each model looks.
        baseline: a model from which the others' differences are drawn, instead of the losses.
    """
    beside = losses.get(baseline or "", {})
    kept = {m: own for m, own in losses.items() if m != baseline}
    sources = {s for own in kept.values() for s in own if baseline is None or s in beside}
    hardest = {s: max(own.get(s, -np.inf) for own in losses.values()) for s in sources}
    if baseline is not None:
        hardest = {s: max(own.get(s, -np.inf) for own in kept.values()) - beside[s] for s in sources}
    rows = {s: at for at, s in enumerate(sorted(sources, key=lambda s: (s == _ALL, hardest[s], s)))}
    figure = go.Figure()
    for model, own in kept.items():
        shown = [s for s in rows if s in own]
        figure.add_scatter(
            x=[own[s] - beside.get(s, 0.0) for s in shown], y=[rows[s] for s in shown], mode="markers",
            name=escape(model), customdata=[[escape(s)] for s in shown],
            marker={"size": 8, "color": marks[model].colour, "symbol": marks[model].symbol, "opacity": 0.85},
            hovertemplate=f"%{{customdata[0]}}: %{{x:{'+' if baseline else ''}.3f}} bits a byte",
        )  # fmt: skip
    figure.update_layout(
        height=90 + row_height * len(rows), margin=_MARGIN, dragmode=False, showlegend=True, legend=_LEGEND
    )
    title = "bits a byte" if baseline is None else f"bits a byte more than {escape(baseline)}"
    figure.update_xaxes(fixedrange=True, zeroline=baseline is not None, zerolinecolor=_ZERO, title=title)
    names = ["<b>all text</b>" if source == _ALL else escape(source) for source in rows]
    figure.update_yaxes(
        tickvals=list(rows.values()), ticktext=names, tickfont_size=11, fixedrange=True, zeroline=False,
        range=[-0.8, len(rows) - 0.2],
    )  # fmt: skip
    return figure
