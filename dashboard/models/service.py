"""How models were trained and what they can do, read once."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.shared.catalog import FoundModel, bits_per_byte
from dashboard.shared.place import Stamp, stamp_of
from solu_model.evaluation.tasks.results import TASKS_FILE, TaskResult, TaskResults


def loss_curve(model: FoundModel) -> pd.DataFrame | None:
    """Tokens and loss in nats a token while the model was trained; None where there is no readable curve."""
    return _loss_curve(str(model.curve), stamp_of(model.curve))


@st.cache_data(max_entries=64, show_spinner=False)
def _loss_curve(path: str, stamp: Stamp) -> pd.DataFrame | None:  # noqa: ARG001 part of the key
    try:
        frame = pd.read_parquet(path, columns=["tokens", "loss"]).astype(float)
    except (OSError, ValueError, TypeError, KeyError):  # missing, damaged, or with other things in it
        return None
    numbers = frame[(frame["tokens"] > 0) & np.isfinite(frame["loss"])]
    return numbers if len(numbers) else None


def source_losses(model: FoundModel) -> dict[str, float]:
    """Bits a byte on text it was not trained on, by source and of `all`; empty where not measured."""
    found = {source: bits_per_byte(said) for source, said in model.evaluation.items()}
    return {source: value for source, value in found.items() if value is not None}


def task_results(model: FoundModel) -> list[TaskResult]:
    """How well a model does the paper's tasks; empty where that was not measured or cannot be read."""
    file = model.path / TASKS_FILE
    return _task_results(str(file), stamp_of(file))


@st.cache_data(max_entries=64, show_spinner=False)
def _task_results(path: str, stamp: Stamp) -> list[TaskResult]:  # noqa: ARG001 part of the key
    try:
        return TaskResults.load(Path(path)).by_group()
    except (OSError, ValueError):
        return []
