"""The models beside each other: how their loss fell, what it is by source of text, and the paper's tasks."""

import pandas as pd
import streamlit as st

from dashboard.models.loss_charts import curves_figure, sources_figure
from dashboard.models.model_marks import Mark, marks_of
from dashboard.models.service import loss_curve, source_losses, task_results
from dashboard.models.task_charts import tasks_figure
from dashboard.shared.catalog import FoundModel
from dashboard.shared.messages import plain

_STILL = {"displayModeBar": False}
_NONE = "nothing: the losses themselves"


def measured(models: list[FoundModel]) -> None:
    """A part for each thing that was measured of at least one model."""
    marks = marks_of(model.name for model in models)
    curves = {m.name: curve for m in models if (curve := loss_curve(m)) is not None}
    losses = {m.name: found for m in models if (found := source_losses(m))}
    comparable = [m.name for m in models if m.name in curves or m.name in losses]
    baseline = None
    if len(comparable) > 1:
        chosen = st.selectbox("Losses against those of", [_NONE, *comparable], key="baseline", width=320)
        baseline = None if chosen == _NONE else chosen
    if curves:
        _curves(curves, marks, baseline)
    if losses:
        _by_source(losses, marks, baseline)
    tasks = {m.name: results for m in models if (results := task_results(m))}
    if tasks:
        st.subheader("The paper's tasks", anchor=False)
        st.caption(
            "Share answered rightly, zero-shot, with 95% intervals; dotted: guessing. "
            "`solu evaluate --tasks all` measures it with lm-eval."
        )
        st.plotly_chart(
            tasks_figure(tasks, marks), key="tasks", config=_STILL,
            alt="Share of each task that each model answers rightly",
        )  # fmt: skip


def _curves(curves: dict[str, pd.DataFrame], marks: dict[str, Mark], baseline: str | None) -> None:
    st.subheader("While they were trained", anchor=False)
    st.caption(
        "Training loss in nats a token, by tokens seen; lines are means over stretches of the run. "
        "Models of one tokenizer can be compared in it."
    )
    if baseline is not None and (baseline not in curves or len(curves) == 1):
        st.info(f"There is no curve of {plain(baseline)} and another model to compare.")
        return
    against = f", against {baseline}" if baseline else ""
    st.plotly_chart(
        curves_figure(curves, marks, baseline), key="curves", config=_STILL,
        alt=f"Training loss of {', '.join(curves)} in nats a token, by tokens seen{against}",
    )  # fmt: skip


def _by_source(losses: dict[str, dict[str, float]], marks: dict[str, Mark], baseline: str | None) -> None:
    st.subheader("On text they were not trained on", anchor=False)
    st.caption(
        "Bits a byte by source of text, which models of any tokenizer can be compared in. "
        "`solu evaluate --data TEXT --out MODEL/evaluation.json` measures it."
    )
    others = [own for model, own in losses.items() if model != baseline]
    if baseline is not None and not any(losses.get(baseline, {}).keys() & own.keys() for own in others):
        st.info(f"No source of text was measured of {plain(baseline)} and another model.")
        return
    against = f", against {baseline}" if baseline else ""
    st.plotly_chart(
        sources_figure(losses, marks, baseline), key="losses", config=_STILL,
        alt=f"Loss of {', '.join(losses)} in bits a byte, by source of text{against}",
    )  # fmt: skip
