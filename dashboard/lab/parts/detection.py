"""When the text fits, does the neuron fire? Precision and recall on text that activation did not choose."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.formatting import number, share
from analysis.hypothesis.detection import Detection
from analysis.intervals import format_estimate
from dashboard.lab.charts import FitCounts, distributions_figure, precision_recall_figure
from dashboard.lab.sample_form import sample_or_form
from dashboard.lab.sample_marks import mark_sample
from dashboard.lab.service import detection_by_hook
from dashboard.shared.display_names import hook_title
from dashboard.shared.place import Place

_N_POINTS = 600
"""Points drawn of a curve, which has one for every distinct activation: too many for a browser."""
_N_BARS = 60


def draw(place: Place, hypothesis: str) -> None:
    """Draw the results of both hooks beside each other."""
    sample = sample_or_form(place)
    if sample is None:
        return
    if not hypothesis:
        st.info("Write a hypothesis above to see how well the neuron detects the tokens that fit.")
        return
    with st.spinner("Testing the hypothesis on the sample…"):
        results = detection_by_hook(place, hypothesis, sample)
        marks = mark_sample(place, hypothesis, sample.n_contexts)
    if not marks.any() or marks.all():
        tokens = "No token" if not marks.any() else "Every token"
        st.warning(
            f"{tokens} of the {len(marks):,} sampled tokens fits, so there is nothing to detect. Try "
            + ("a wider hypothesis, or a larger sample." if not marks.any() else "a narrower hypothesis.")
        )
        return
    several = len(results) > 1
    for column, (hook, result) in zip(st.columns(len(results), gap="medium"), results.items(), strict=True):
        with column:
            acts_N = np.array(sample.activations(hook)[place.neuron], dtype=np.float32)
            st.markdown(f"**{hook_title(hook, several)}**")
            _numbers(result)
            edges = np.linspace(acts_N.min(), acts_N.max() or 1.0, _N_BARS + 1)
            counts = FitCounts(
                edges, np.histogram(acts_N[marks], edges)[0], np.histogram(acts_N[~marks], edges)[0]
            )
            threshold = float(result.curve.values[result.curve.best])
            st.plotly_chart(
                distributions_figure(counts, threshold), key=f"lab_distributions_{hook}",
                config={"displayModeBar": False},
                alt="Activations of tokens that fit and of tokens that do not fit",
            )  # fmt: skip
            st.plotly_chart(
                _curve_figure(result), key=f"lab_curve_{hook}", config={"displayModeBar": False},
                alt="Precision against recall over every threshold",
            )  # fmt: skip
    st.caption(
        "Intervals are 95%, from 200 bootstrap samples of the contexts. Dashed line and dot: the best "
        "threshold, of highest F1. Dotted line: the precision of a detector at random."
    )


def _numbers(result: Detection) -> None:
    curve, best = result.curve, result.curve.best
    number_text = "{:.3f}".format
    st.markdown(
        f"Fits: {result.n_fit:,} tokens, {share(result.base_rate)} of all.  \n"
        f"Average precision **{format_estimate(result.average_precision, number_text)}**, "
        f"area under ROC **{format_estimate(result.auc, number_text)}**.  \n"
        f"Best threshold {number(float(curve.values[best]))}: "
        f"precision {share(float(curve.precision[best]))}, recall {share(float(curve.recall[best]))}."
    )


def _curve_figure(result: Detection) -> go.Figure:
    curve = result.curve
    evenly = np.searchsorted(curve.recall, np.linspace(0, 1, _N_POINTS)).clip(0, len(curve.values) - 1)
    points = np.unique(evenly)
    best = float(curve.recall[curve.best]), float(curve.precision[curve.best])
    return precision_recall_figure(curve.recall[points], curve.precision[points], best, result.base_rate)
