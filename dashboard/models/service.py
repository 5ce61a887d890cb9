"""Measurements stored beside a checkpoint: loss curve, losses by source, task results; each read once."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.shared.catalog import ModelFolder, bits_per_byte
from dashboard.shared.place import Stamp, stamp_of
from solu_model.evaluation.losses import losses_by_source
from solu_model.evaluation.tasks.results import TASKS_FILE, TaskResult, TaskResults

_SOURCE_NAMES = {"": "no source", "all": "'all'"}
"""Names that are shown for sources whose own name is empty, or that of all text together."""


def loss_curve(model: ModelFolder) -> pd.DataFrame | None:
    """Read a model's training loss; None if there is no curve, or none that can be read.

    Returns:
        Columns `tokens` (seen) and `loss` (nats per token).
    """
    return _loss_curve(str(model.curve), stamp_of(model.curve))


@st.cache_data(max_entries=64, show_spinner=False)
def _loss_curve(path: str, stamp: Stamp) -> pd.DataFrame | None:  # noqa: ARG001 part of the key
    try:
        frame = pd.read_parquet(path, columns=["tokens", "loss"]).astype(float)
    except (OSError, ValueError, TypeError, KeyError):  # missing, damaged, or other columns
        return None
    usable = frame[(frame["tokens"] > 0) & np.isfinite(frame["loss"])]
    return usable if len(usable) else None


def source_losses(model: ModelFolder) -> dict[str, float]:
    """Return losses in bits per byte on held-out text, by source and for `all`; empty if not measured."""
    by_source = losses_by_source(model.evaluation)
    losses = {_SOURCE_NAMES.get(s, s): bits_per_byte(entry) for s, entry in by_source.items()}
    losses["all"] = bits_per_byte(model.evaluation.get("all"))
    return {source: value for source, value in losses.items() if value is not None}


def task_results(model: ModelFolder) -> list[TaskResult]:
    """Read a model's results on the paper's tasks; empty if not measured, or if they cannot be read."""
    file = model.path / TASKS_FILE
    return _task_results(str(file), stamp_of(file))


@st.cache_data(max_entries=64, show_spinner=False)
def _task_results(path: str, stamp: Stamp) -> list[TaskResult]:  # noqa: ARG001 part of the key
    try:
        return TaskResults.load(Path(path)).by_group()
    except (OSError, ValueError):
        return []
