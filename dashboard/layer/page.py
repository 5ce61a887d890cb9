"""A layer at a glance: how its neurons are spread, and all layers beside each other."""

from typing import Any

import streamlit as st

from cache.format.schema import CacheError
from dashboard.layer.charts import TITLES, layers_figure, spread_figure, strength_figure
from dashboard.layer.service import all_layers, glance
from dashboard.layer.spread import SPREAD, Points, Spread, interval_around
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar
from dashboard.shared.error_message import show_problem
from dashboard.shared.list_address import Listing
from dashboard.shared.messages import plain
from dashboard.shared.neuron_query import Interval, Query
from dashboard.shared.page_paths import MODELS, NEURON, NEURONS
from dashboard.shared.place import Place

VISIT = "layer_visit"  # how often one left through a figure: none must remember what was clicked


def heading(place: Place) -> None:
    """Draw the context bar, with the way to the list of the layer's neurons."""
    bar = context_bar(place, "Layer", neuron=False)
    with bar.row:
        if st.button("List of its neurons", icon=":material/table_rows:", shortcut="L"):
            leave(NEURONS, {"model": place.model.name} | Listing(Query(place.hook, place.layer)).params())


def leave(page: str, params: dict[str, str]) -> None:
    """Go to another page."""
    st.session_state[VISIT] = st.session_state.get(VISIT, 0) + 1
    st.switch_page(page, query_params=params)


def selected(figure: Any, key: str, alt: str) -> int | None:
    """Draw a figure; the number of the bar or point that was clicked."""
    event = st.plotly_chart(
        figure, key=f"{key}_{st.session_state.get(VISIT, 0)}", config={"displayModeBar": False},
        on_select="rerun", selection_mode="points", alt=alt,
    )  # fmt: skip
    points = event["selection"]["points"]
    return int(points[0]["point_index"]) if points else None


def bars(place: Place, spread: Spread) -> None:
    """A distribution; a bar leads to the list of its neurons."""
    alt = f"Distribution of {TITLES[spread.name]} over the layer. A bar opens the list of its neurons."
    bar = selected(spread_figure(spread), f"spread_{spread.name}", alt)
    if bar is not None and 0 <= bar < len(spread.counts):
        interval = Interval(*interval_around(spread, bar))
        query = Query(place.hook, place.layer, {spread.name: interval}, state="all", sort=spread.name)
        leave(NEURONS, {"model": place.model.name} | Listing(query).params())


def strengths(place: Place, points: Points) -> None:
    """Maxima before and after the LayerNorm; a point leads to its neuron."""
    st.subheader("Strength before and after the LayerNorm", anchor=False)
    sample = (
        ""
        if len(points.neurons) == points.n_neurons
        else f" {len(points.neurons):,} of {points.n_neurons:,}, evenly."
    )
    st.caption(
        f"A point is a neuron; a click opens it.{sample} Above the others: the LayerNorm lifts it more."
    )
    alt = "Maximum of every neuron before the LayerNorm against after it. A point opens its neuron."
    point = selected(strength_figure(points), "strength", alt)
    if point is not None and 0 <= point < len(points.neurons):
        leave(NEURON, place.address.with_(neuron=int(points.neurons[point])).params())


def page() -> None:
    """Draw the layer that the address names."""
    try:
        place = places.find_place(places.asked_address().with_(beside=None))
        found = glance(place)
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address shows no layer", error)
        st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.from_dict(place.address.with_(neuron=None, view=None, panel=None, range=None).params())

    heading(place)
    n_neurons = int(found.spreads[-1].counts.sum()) + found.spreads[-1].left_out
    left_out = found.spreads[-1].left_out
    silent = f", {left_out:,} of them never above 0" if left_out else ""
    st.caption(
        f"{n_neurons:,} neurons of layer {place.layer} of {plain(place.model.name)}{silent}. "
        "A click on a bar lists its neurons. The axes are logarithmic."
    )
    for column, spread in zip(st.columns(3, gap="medium"), found.spreads, strict=True):
        with column:
            bars(place, spread)
    if found.points is not None:
        strengths(place, found.points)
    if len(place.cache.layers) > 1:
        st.subheader("All layers", anchor=False)
        st.caption("A box a layer: from 5 to 95% of its neurons, half of them inside the box.")
        quantiles = all_layers(place)
        for column, name in zip(st.columns(3, gap="medium"), SPREAD, strict=True):
            column.plotly_chart(
                layers_figure(name, quantiles), key=f"layers_{name}", config={"displayModeBar": False},
                alt=f"{TITLES[name]} over the neurons of every layer",
            )  # fmt: skip
    manifest = place.cache.manifest
    st.caption(
        f"{plain(manifest.model.name)} (SHA-256 {manifest.model.sha256[:12]}), {place.hook}, "
        f"{manifest.corpus.n_tokens:,} tokens of {plain(', '.join(manifest.corpus.names))}, {manifest.dtype}"
    )


page()
