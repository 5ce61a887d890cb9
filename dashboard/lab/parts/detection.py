"""Given that, does the neuron fire? Precision and recall over text that activation did not choose."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.formatting import number, share
from analysis.hypothesis.detection import Detection
from analysis.intervals import Estimate
from dashboard.lab import service as lab
from dashboard.lab.charts import FitCounts, distributions_figure, precision_recall_figure
from dashboard.lab.sampling import sample_for
from dashboard.shared.display_names import hook_title
from dashboard.shared.place import Place

_POINTS = 600
"""Of a curve that are drawn."""
_BARS = 60


def draw(place: Place, text: str) -> None:
    """Both hooks beside each other."""
    sample = sample_for(place)
    if sample is None:
        return
    if not text:
        st.info("Write a hypothesis above: this part then says how well the neuron finds what fits it.")
        return
    with st.spinner("Looking for it in the sample…"):
        found = lab.detect(place, text, sample)
        marks = lab.sample_marks(place, text, sample.n_contexts)
    if not marks.any() or marks.all():
        what = "No token" if not marks.any() else "Every token"
        st.warning(
            f"{what} of the {len(marks):,} sampled tokens fits, so there is nothing to tell apart. "
            "Try something " + ("wider, or a larger sample." if not marks.any() else "narrower.")
        )
        return
    several = len(found) > 1
    for column, (hook, detection) in zip(st.columns(len(found), gap="medium"), found.items(), strict=True):
        with column:
            values = np.array(sample.activations(hook)[place.neuron], dtype=np.float32)
            st.markdown(f"**{hook_title(hook, several)}**")
            _numbers(detection)
            edges = np.linspace(values.min(), values.max() or 1.0, _BARS + 1)
            counts = FitCounts(
                edges, np.histogram(values[marks], edges)[0], np.histogram(values[~marks], edges)[0]
            )
            threshold = float(detection.curve.values[detection.curve.best])
            st.plotly_chart(
                distributions_figure(counts, threshold), key=f"lab_distributions_{hook}",
                config={"displayModeBar": False},
                alt="How strongly it fires where the hypothesis fits and where it does not",
            )  # fmt: skip
            st.plotly_chart(
                _curve(detection), key=f"lab_curve_{hook}", config={"displayModeBar": False},
                alt="Precision against recall over every threshold",
            )  # fmt: skip
    st.caption(
        "Intervals are 95%, from drawing the contexts anew 200 times. Dashed: the best threshold. "
        "Dotted: the precision of a neuron that knows nothing."
    )


def _numbers(found: Detection) -> None:
    curve, best = found.curve, found.curve.best
    st.markdown(
        f"Fits: {found.n_fit:,} tokens, {share(found.base_rate)} of all.  \n"
        f"Average precision **{said(found.average_precision)}**, area under ROC **{said(found.auc)}**.  \n"
        f"Best threshold {number(float(curve.values[best]))}: "
        f"precision {share(float(curve.precision[best]))}, recall {share(float(curve.recall[best]))}."
    )


def said(estimate: Estimate) -> str:
    """A part of one with its interval, as it is read."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _curve(found: Detection) -> go.Figure:
    curve = found.curve
    kept = np.unique(np.searchsorted(curve.recall, np.linspace(0, 1, _POINTS)).clip(0, len(curve.values) - 1))
    best = float(curve.recall[curve.best]), float(curve.precision[curve.best])
    return precision_recall_figure(curve.recall[kept], curve.precision[kept], best, found.base_rate)
