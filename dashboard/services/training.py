"""How models were trained, read once."""

import pandas as pd
import streamlit as st

from dashboard.catalog import FoundModel
from dashboard.services.places import Stamp, stamp_of


def loss_curve(model: FoundModel) -> pd.DataFrame | None:
    """Tokens and loss in nats a token while the model was trained; None where there is no readable curve."""
    return _loss_curve(str(model.curve), stamp_of(model.curve))


@st.cache_data(max_entries=64, show_spinner=False)
def _loss_curve(path: str, stamp: Stamp) -> pd.DataFrame | None:  # noqa: ARG001 part of the key
    try:
        frame = pd.read_parquet(path, columns=["tokens", "loss"])
    except (OSError, ValueError):  # missing, damaged (Arrow's errors are ValueErrors), or without a column
        return None
    return frame if len(frame) else None
