"""Comparisons of all models: loss during training, loss by source of text, and the paper's tasks."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.models.loss_charts import curves_figure, sources_figure
from dashboard.models.service import loss_curve, source_losses, task_results
from dashboard.models.task_charts import tasks_figure
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.messages import plain
from dashboard.shared.palette import ModelStyle, model_styles
from solu_model.evaluation.tasks.results import TaskResult

_NO_TOOLBAR = {"displayModeBar": False}
_ABSOLUTE = "no model: absolute losses"


def draw_comparisons(models: list[ModelFolder]) -> None:
    """Draw a section for each measurement that at least one model has."""
    styles = model_styles(models)
    curves = {m.name: curve for m in models if (curve := loss_curve(m)) is not None}
    losses = {m.name: by_source for m in models if (by_source := source_losses(m))}
    comparable = [m.name for m in models if m.name in curves or m.name in losses]
    baseline = None
    if len(comparable) > 1:
        chosen = st.selectbox(
            "Losses relative to", [_ABSOLUTE, *comparable], key="baseline", width=320,
            help="With a model chosen, the figures show how much higher the losses of the others are.",
        )  # fmt: skip
        baseline = None if chosen == _ABSOLUTE else chosen
    if curves:
        _draw_curves(curves, styles, baseline)
    if losses:
        _draw_sources(losses, styles, baseline)
    tasks = {m.name: results for m in models if (results := task_results(m))}
    if tasks:
        _draw_tasks(tasks, styles)


def _draw_curves(
    curves: dict[str, pd.DataFrame], styles: Mapping[str, ModelStyle], baseline: str | None
) -> None:
    st.subheader("Loss during training", anchor=False)
    st.caption(
        "Nats per token, by tokens seen, averaged over stretches of training. Only models with the same "
        "tokenizer can be compared."
    )
    if baseline is not None and (baseline not in curves or len(curves) == 1):
        st.info(f"There are no loss curves of both {plain(baseline)} and another model to compare.")
        return
    relative = f", relative to {baseline}" if baseline else ""
    st.plotly_chart(
        curves_figure(curves, styles, baseline), key="curves", config=_NO_TOOLBAR,
        alt=f"Training loss of {', '.join(curves)} in nats per token, by tokens seen{relative}",
    )  # fmt: skip


def _draw_sources(
    losses: dict[str, dict[str, float]], styles: Mapping[str, ModelStyle], baseline: str | None
) -> None:
    st.subheader("Held-out loss", anchor=False)
    st.caption(
        "Bits per byte, by source of text; models with any tokenizer can be compared. "
        "Measured by `solu evaluate --data TEXT --out MODEL/evaluation.json`."
    )
    others = [by_source for model, by_source in losses.items() if model != baseline]
    if baseline is not None and not any(losses.get(baseline, {}).keys() & own.keys() for own in others):
        st.info(f"No source of text was measured for both {plain(baseline)} and another model.")
        return
    relative = f", relative to {baseline}" if baseline else ""
    st.plotly_chart(
        sources_figure(losses, styles, baseline), key="losses", config=_NO_TOOLBAR,
        alt=f"Loss of {', '.join(losses)} in bits per byte, by source of text{relative}",
    )  # fmt: skip


def _draw_tasks(tasks: Mapping[str, Sequence[TaskResult]], styles: Mapping[str, ModelStyle]) -> None:
    st.subheader("The paper's tasks", anchor=False)
    st.caption(
        "Share of correct answers, zero-shot, with 95% intervals; dotted lines show the score of guessing. "
        "Measured by `solu evaluate --tasks all`, with lm-eval."
    )
    st.plotly_chart(
        tasks_figure(tasks, styles), key="tasks", config=_NO_TOOLBAR,
        alt="Share of correct answers of each model on each task",
    )  # fmt: skip
