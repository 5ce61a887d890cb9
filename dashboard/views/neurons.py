"""The neurons of a layer: sort, filter, open one."""

import pandas as pd
import streamlit as st

from cache.schema import CacheError
from dashboard.catalog import ModelError
from dashboard.hooks import HOOK_LABELS
from dashboard.messages import number, plain, show_problem
from dashboard.neuron_table import chosen
from dashboard.services import places
from dashboard.services.layers import layer_frame
from dashboard.services.places import Place
from dashboard.state import AddressError

NEURON = "views/neuron.py"
SORTS = {
    "Kurtosis, highest first": ("kurtosis", True),
    "Maximum, highest first": ("max", True),
    "Density, lowest first": ("density", False),
    "Density, highest first": ("density", True),
    "Number": ("neuron", False),
}


def open_neuron(place: Place, neuron: int) -> None:
    """Leave for a neuron's page; the next visit finds a table without a selection."""
    st.session_state["table_visit"] = st.session_state.get("table_visit", 0) + 1
    st.switch_page(NEURON, query_params=place.address.with_(neuron=neuron).params())


def choices(place: Place, frame: pd.DataFrame) -> pd.DataFrame:
    """The controls above the table, and the rows they leave."""

    def moved() -> None:
        st.query_params.update(
            {
                "model": str(st.session_state["list_model"]),
                "layer": str(st.session_state["list_layer"]),
                "hook": str(st.session_state["list_hook"]),
            }
        )

    def other_model() -> None:
        st.query_params.clear()
        st.query_params["model"] = str(st.session_state["list_model"])

    names = [m.name for m in places.models() if m.has_cache]
    st.session_state.update(list_model=place.model.name, list_layer=place.layer, list_hook=place.hook)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox("Model", names, key="list_model", on_change=other_model, width=180)
        st.selectbox("Layer", place.cache.layers, key="list_layer", on_change=moved, width=80)
        st.selectbox(
            "Measured",
            place.cache.hooks,
            format_func=HOOK_LABELS.__getitem__,
            key="list_hook",
            on_change=moved,
            width=160,
        )
        sort = st.selectbox("Sorted by", list(SORTS), key="list_sort", persist_state="session", width=220)
        fires_on = st.text_input(
            "Fires most on",
            key="list_fires_on",
            placeholder="text in its strongest tokens",
            persist_state="session",
            live="250ms",
            width=240,
        )
        n_dead = int((frame["state"] == "dead").sum())
        hide = st.checkbox(f"Hide {n_dead:,} dead", value=True, key="list_hide_dead", persist_state="session")
    by, descending = SORTS[sort]
    return chosen(frame, fires_on=fires_on, states=("dead",) if hide else (), by=by, descending=descending)


def table(place: Place, rows: pd.DataFrame) -> None:
    """The table; a selected row opens its neuron."""
    digits = st.column_config.NumberColumn
    event = st.dataframe(
        rows,
        key=f"table_{place.model.name}_{place.layer}_{place.hook}_{st.session_state.get('table_visit', 0)}",
        hide_index=True,
        height=max(200, min(30 * (len(rows) + 1) + 6, 726)),
        row_height=30,
        column_order=[c for c in rows.columns if c != "state" or rows[c].any()],
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "neuron": digits("neuron", width=70, pinned=True),
            "state": st.column_config.TextColumn(
                "state",
                width=80,
                help="dead: never reaches a thousandth of the layer's strongest activation. always on: above "
                "a tenth of its maximum on more than half of all tokens.",
            ),
            "fires most on": st.column_config.TextColumn(
                "fires most on",
                width=420,
                help="The tokens at the peaks of its strongest examples. · is a space.",
            ),
            "histogram": st.column_config.BarChartColumn(
                "histogram, log counts", width=150, help="From its lowest to its highest value."
            ),
            "max": digits("max", format="%.4g", width=80),
            "density": digits(
                "density",
                format="%.2e",
                width=90,
                help="Share of tokens above a tenth of the neuron's maximum.",
            ),
            "kurtosis": digits(
                "kurtosis", format="%.4g", width=90, help="Excess: 0 for a normal distribution."
            ),
            "skewness": digits("skewness", format="%.4g", width=85),
            "mean": digits("mean", format="%.2e", width=85),
            "std": digits("std", format="%.2e", width=85),
            "min": digits("min", format="%.2e", width=85),
        },
        alt="The neurons of the layer. Select a row to open a neuron.",
    )
    if event.selection.rows:
        open_neuron(place, int(rows.iloc[event.selection.rows[0]]["neuron"]))


def page() -> None:
    """Draw the layer that the address names."""
    try:
        place = places.find_place(places.asked_address())
        frame = layer_frame(place)
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address shows no layer", error)
        st.page_link("views/models.py", label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(place.address.with_(neuron=None).params())
    places.remember(place.address)

    rows = choices(place, frame)
    always = int((frame["state"] == "always on").sum())
    with st.container(horizontal=True, vertical_alignment="center", key="above_table"):
        st.caption(
            f"{len(rows):,} of {len(frame):,} neurons of layer {place.layer} of {plain(place.model.name)}, "
            f"strongest activation {number(float(frame['max'].max()))}, {always:,} always on. "
            "Tick a row to open its neuron.",
            width="stretch",
        )
        if st.button("Open the first", key="open_first", shortcut="O", disabled=rows.empty):
            open_neuron(place, int(rows.iloc[0]["neuron"]))
    if rows.empty:
        st.info("No neuron fits. Clear the text, or show the dead ones.")
    else:
        table(place, rows)


page()
