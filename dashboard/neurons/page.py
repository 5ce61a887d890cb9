"""The list of neurons of a layer or of all layers: search, filter, sort, open one."""

from typing import Any
from urllib.parse import urlencode

import streamlit as st

from analysis.formatting import number, share, visible
from analysis.patterns import PatternError
from cache.format.schema import CacheError
from dashboard.neurons import searches
from dashboard.neurons import service as layers
from dashboard.neurons.components.neuron_list import Line, neuron_list, neuron_list_data
from dashboard.neurons.controls import cleared, filter_controls, search_controls, token_choice
from dashboard.neurons.neuron_pages import Page, Row, quantities_of
from dashboard.neurons.searches import SearchError, SearchResult
from dashboard.shared import last_list, places
from dashboard.shared.address import Address, AddressError
from dashboard.shared.annotations import service as annotations
from dashboard.shared.catalog import ModelError
from dashboard.shared.context_bar import context_bar
from dashboard.shared.error_message import show_error
from dashboard.shared.keyboard import Keys, listen_for_help, show_key_list
from dashboard.shared.list_address import ALL_LAYERS, Listing, Search, parse, place_of
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import EDITOR, MODELS, NEURON
from dashboard.shared.place import Place

TABLE = "neuron_list"
KEYS: Keys = [
    ("j k", "next and previous neuron"),
    ("↑ ↓", "the same, once a neuron has the focus"),
    ("Enter", "open the neuron; on a column's name, sort by it"),
    ("Esc", "close what is open"),
    ("?", "this list"),
]


def neuron_address(place: Place, row: Row) -> Address:
    """Return the address of a neuron's page, with the session's last view and panel."""
    return last_list.last_address().with_(
        model=place.model.name, layer=row.layer, neuron=row.neuron, hook=place.hook
    )


def lines(place: Place, page: Page, result: SearchResult | None) -> list[Line]:
    """Return the lines of a page of the list."""
    previews = layers.page_previews(place, [(row.layer, row.neuron) for row in page.rows])
    labels = {layer: annotations.by_neuron(place.model, layer) for layer in {row.layer for row in page.rows}}
    shown = []
    for row in page.rows:
        annotation = labels[row.layer].get(row.neuron)
        match = token = ""
        if result is not None and row.match is not None:
            match = share(row.match) if result.is_share else number(result.sign * row.match)
            if result.peaks is not None:
                token = visible(result.texts[result.peaks[row.layer][row.neuron]])
        shown.append(
            Line(
                row,
                previews[row.layer, row.neuron],
                "./?" + urlencode(neuron_address(place, row).params()),
                match=match,
                match_token=token,
                label=annotation.content.label if annotation else "",
                star=annotation.content.star if annotation else False,
            )
        )
    return shown


def summary(place: Place, listing: Listing, page: Page, result: SearchResult | None) -> str:
    """Return the number of neurons that the list holds, in words."""
    layer = listing.query.layer
    of = len(place.cache.layers) * place.cache.d_mlp if layer is None else place.cache.d_mlp
    scope = "all layers" if layer is None else f"layer {layer}"
    text = f"{page.total:,} of {of:,} neurons of {scope} of {place.model.name}."
    return f"{text} {result.explanation}" if result else text


def page_choice(listing: Listing, page: Page, show: Any) -> None:
    """Draw the choice of the page, if there are several."""
    if page.n_pages == 1:
        return
    key = f"list_page_{page.number}"  # one widget for each page, so that it shows the page of the address
    st.pagination(
        page.n_pages,
        default=page.number,
        key=key,
        on_change=lambda: show(listing.with_query(page=st.session_state[key])),
    )


def table(place: Place, listing: Listing, show: Any) -> None:
    """Draw the table, or what to do if it is empty."""
    of = place.cache.layers if listing.query.layer is None else [listing.query.layer]
    try:
        result = searches.search(place, of, listing.search)
    except (PatternError, SearchError, ModelError) as error:
        show_error("This search cannot be made", error)
        return
    page = layers.page(place, listing.query, result)
    text = summary(place, listing, page, result)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(plain(text), width="stretch")
        page_choice(listing, page, show)
    if not page.rows:
        st.info("No neuron matches the search and the filters.")
        with st.container(horizontal=True):
            st.button("Clear the filters", key="empty_filters", on_click=lambda: show(cleared(listing)))
            st.button(
                "Clear the search", key="empty_search", on_click=lambda: show(listing.searching(Search()))
            )
        return

    def sort() -> None:
        if column := st.session_state[TABLE].get("sort"):
            show(listing.sorted_by(column))

    data = neuron_list_data(
        lines(place, page, result),
        listing.query.with_(page=page.number),
        quantities_of(place.cache.path),
        text,
        (result.heading, result.explanation) if result else None,
    )
    neuron_list(data, key=TABLE, on_sort=sort)


def page() -> None:
    """Draw the list that the address names."""
    try:
        params = st.query_params.to_dict() or last_list.last_list()
        place = places.find_place(place_of(params))
        listing = parse(params, place.layer, place.hook)
    except (AddressError, ModelError, CacheError) as error:
        show_error("This address shows no layer", error)
        st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    if opened := st.session_state.get(TABLE, {}).get("open"):
        row = {name: int(opened[name]) for name in ("layer", "neuron")}
        address = last_list.last_address().with_(model=place.model.name, hook=place.hook, **row)
        if example := opened.get("example"):
            st.switch_page(EDITOR, query_params=address.with_(view=None).params() | {"example": str(example)})
        st.switch_page(NEURON, query_params=address.params())

    def show(other: Listing) -> None:
        st.query_params.from_dict({"model": place.model.name} | other.params())

    listen_for_help()
    show(listing)
    last_list.remember_list(place, st.query_params.to_dict())
    try:
        layer = ALL_LAYERS if listing.query.layer is None else listing.query.layer
        context_bar(place, "Neurons", neuron=False, layer=layer, all_layers=True)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            search_controls(listing, show)
            filter_controls(place, listing, show)
        token_choice(place, listing, show)
        table(place, listing, show)
    except CacheError as error:
        show_error("This list cannot be read", error)
    show_key_list(KEYS)


page()
