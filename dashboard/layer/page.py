"""Page of a layer: distributions of its neurons, and all layers side by side."""

from typing import Any

import streamlit as st

from cache.format.schema import CacheError
from dashboard.layer.charts import TITLES, distribution_figure, layers_figure, maxima_figure
from dashboard.layer.distributions import QUANTITIES, Distribution, Maxima, bar_limits
from dashboard.layer.service import all_layers, layer_summary
from dashboard.shared import places
from dashboard.shared.address import AddressError
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar
from dashboard.shared.error_message import show_error
from dashboard.shared.list_address import Listing
from dashboard.shared.messages import plain
from dashboard.shared.neuron_query import Interval, Query
from dashboard.shared.page_paths import MODELS, NEURON, NEURONS
from dashboard.shared.place import Place

# Number of times that the page was left through a figure. It is part of the figures' keys: a figure would
# otherwise still have its click when the page opens again, and leave at once.
VISIT = "layer_visit"


def heading(place: Place) -> None:
    """Draw the context bar, with the way to the list of the layer's neurons."""
    bar = context_bar(place, "Layer", neuron=False)
    with bar.row:
        if st.button("List of its neurons", icon=":material/table_rows:", shortcut="L"):
            leave(NEURONS, {"model": place.model.name} | Listing(Query(place.hook, place.layer)).params())


def leave(page: str, params: dict[str, str]) -> None:
    """Go to another page, and forget the click that led there."""
    st.session_state[VISIT] = st.session_state.get(VISIT, 0) + 1
    st.switch_page(page, query_params=params)


def draw_clickable(figure: Any, key: str, alt: str) -> int | None:
    """Draw a figure and return the index of the bar or point that was clicked."""
    event = st.plotly_chart(
        figure, key=f"{key}_{st.session_state.get(VISIT, 0)}", config={"displayModeBar": False},
        on_select="rerun", selection_mode="points", alt=alt,
    )  # fmt: skip
    points = event["selection"]["points"]
    return int(points[0]["point_index"]) if points else None


def draw_distribution(place: Place, distribution: Distribution) -> None:
    """Draw a distribution; a click on a bar opens the list of its neurons."""
    name = distribution.name
    alt = f"Distribution of {TITLES[name]} over the layer. A bar opens the list of its neurons."
    bar = draw_clickable(distribution_figure(distribution), f"distribution_{name}", alt)
    if bar is not None and 0 <= bar < len(distribution.counts):  # the click may be on a figure drawn before
        interval = Interval(*bar_limits(distribution, bar))
        query = Query(place.hook, place.layer, {name: interval}, state="all", sort=name)
        leave(NEURONS, {"model": place.model.name} | Listing(query).params())


def draw_maxima(place: Place, maxima: Maxima) -> None:
    """Draw the maxima before and after LayerNorm; a click on a point opens its neuron."""
    st.subheader("Maximum activation before and after LayerNorm", anchor=False)
    n = len(maxima.neurons)
    sample = (
        "" if n == maxima.n_neurons else f" {n:,} of {maxima.n_neurons:,} are drawn, evenly spaced by index."
    )
    st.caption(
        f"Each point is a neuron; click it to open the neuron.{sample} LayerNorm amplifies a neuron more, "
        "the higher it lies above the others."
    )
    alt = "Maximum of every neuron before and after LayerNorm. A point opens its neuron."
    point = draw_clickable(maxima_figure(maxima), "maxima", alt)
    if point is not None and 0 <= point < n:
        leave(NEURON, place.address.with_(neuron=int(maxima.neurons[point])).params())


def page() -> None:
    """Draw the layer named by the address."""
    try:
        place = places.find_place(places.requested_address().with_(beside=None))
        summary = layer_summary(place)
    except (AddressError, ModelError, CacheError) as error:
        show_error("This address shows no layer", error)
        st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.from_dict(place.address.with_(neuron=None, view=None, panel=None, range=None).params())

    heading(place)
    of_maximum = summary.distributions[-1]  # the last of `QUANTITIES`: it leaves out neurons that never fire
    n_neurons = int(of_maximum.counts.sum()) + of_maximum.left_out
    silent = f", {of_maximum.left_out:,} of them never above 0" if of_maximum.left_out else ""
    st.caption(
        f"{n_neurons:,} neurons of layer {place.layer} of {plain(place.model.name)}{silent}. "
        "Click a bar to list its neurons. The axes are logarithmic."
    )
    for column, distribution in zip(st.columns(3, gap="medium"), summary.distributions, strict=True):
        with column:
            draw_distribution(place, distribution)
    if summary.maxima is not None:
        draw_maxima(place, summary.maxima)
    if len(place.cache.layers) > 1:
        st.subheader("All layers", anchor=False)
        st.caption(
            "One box for each layer: half of its neurons are inside the box, 90% between the whiskers."
        )
        quantiles = all_layers(place)
        for column, name in zip(st.columns(3, gap="medium"), QUANTITIES, strict=True):
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
