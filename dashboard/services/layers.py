"""The table of a layer's neurons, read once. Imports no torch."""

import pandas as pd
import streamlit as st

from dashboard.neuron_table import neuron_frame
from dashboard.services.places import Place, Stamp, open_cache


def layer_frame(place: Place) -> pd.DataFrame:
    """A layer's neurons as the table that the page shows."""
    return _layer_frame(*place.version, place.layer, place.hook)


@st.cache_resource(max_entries=16, show_spinner="Reading the layer…")
def _layer_frame(path: str, stamp: Stamp, layer: int, hook: str) -> pd.DataFrame:
    cache = open_cache(path, stamp)
    return neuron_frame(cache.table(layer, hook, histograms=True), cache.vocabulary)
