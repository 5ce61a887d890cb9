"""The neurons of a layer, or of all: search, filter, sort, open one."""

from typing import Any
from urllib.parse import urlencode

import streamlit as st

from analysis.formatting import number, share, visible
from cache.format.schema import CacheError
from dashboard.neurons import searches
from dashboard.neurons import service as layers
from dashboard.neurons.components.neuron_list import Line, neuron_list, neuron_list_data
from dashboard.neurons.controls import cleared, filter_controls, place_controls, search_controls, token_choice
from dashboard.neurons.searches import Found, NothingToSearch
from dashboard.neurons.token_search import PatternError
from dashboard.shared import last_list, places
from dashboard.shared.address import Address, AddressError
from dashboard.shared.annotations import service as annotations
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_problem
from dashboard.shared.keys import NEURON_LIST
from dashboard.shared.keys_dialog import keys_if_asked, listen_for_help
from dashboard.shared.list_address import Listing, Search, parse, place_of
from dashboard.shared.messages import plain
from dashboard.shared.neuron_query import Page, Row, quantities_of
from dashboard.shared.page_paths import EDITOR, MODELS, NEURON
from dashboard.shared.place import Place

TABLE = "neuron_list"


def neuron_address(place: Place, row: Row) -> Address:
    """Of a neuron's page, which keeps the view and panel that were last looked at."""
    return last_list.last_address().with_(
        model=place.model.name, layer=row.layer, neuron=row.neuron, hook=place.hook
    )


def lines(place: Place, page: Page, found: Found | None) -> list[Line]:
    """The page's neurons as they are shown."""
    previews = layers.page_previews(place, [(row.layer, row.neuron) for row in page.rows])
    labels = {layer: annotations.by_neuron(place.model, layer) for layer in {row.layer for row in page.rows}}
    shown = []
    for row in page.rows:
        said = labels[row.layer].get(row.neuron)
        match = token = ""
        if found is not None and row.match is not None:
            match = share(row.match) if found.is_share else number(found.sign * row.match)
            if found.peaks is not None:
                token = visible(found.texts[found.peaks[row.layer][row.neuron]])
        shown.append(
            Line(
                row,
                previews[row.layer, row.neuron],
                "./?" + urlencode(neuron_address(place, row).params()),
                match=match,
                match_token=token,
                label=said.content.label if said else "",
                star=said.content.star if said else False,
            )
        )
    return shown


def summary(place: Place, listing: Listing, page: Page, found: Found | None) -> str:
    """How many neurons are shown of how many, in words."""
    layer = listing.query.layer
    of = len(place.cache.layers) * place.cache.d_mlp if layer is None else place.cache.d_mlp
    where = "all layers" if layer is None else f"layer {layer}"
    text = f"{page.total:,} of {of:,} neurons of {where} of {place.model.name}."
    return f"{text} {found.explanation}" if found else text


def page_choice(listing: Listing, page: Page, show: Any) -> None:
    """Which page is shown, where there are several."""
    if page.n_pages == 1:
        return
    key = f"list_page_{page.number}"  # a widget of its own: it has to show the page of the address
    st.pagination(
        page.n_pages,
        default=page.number,
        key=key,
        on_change=lambda: show(listing.with_query(page=st.session_state[key])),
    )


def table(place: Place, listing: Listing, show: Any) -> None:
    """Page and table, or what to do where they are empty."""
    of = place.cache.layers if listing.query.layer is None else [listing.query.layer]
    try:
        found = searches.find(place, of, listing.search)
    except (PatternError, NothingToSearch, ModelError) as error:
        show_problem("This search finds nothing", error)
        return
    page = layers.page(place, listing.query, found)
    text = summary(place, listing, page, found)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(plain(text), width="stretch")
        page_choice(listing, page, show)
    if not page.rows:
        st.info("No neuron fits.")
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
        lines(place, page, found),
        listing.query.with_(page=page.number),
        quantities_of(place.cache.path),
        text,
        (found.heading, found.explanation) if found else None,
    )
    neuron_list(data, key=TABLE, on_sort=sort)


def page() -> None:
    """Draw the list that the address names."""
    try:
        params = st.query_params.to_dict() or last_list.last_list()
        place = places.find_place(place_of(params))
        listing = parse(params, place.layer, place.hook)
    except (AddressError, ModelError, CacheError) as error:
        show_problem("This address shows no layer", error)
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
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            place_controls(place, listing, show)
            search_controls(listing, show)
            filter_controls(place, listing, show)
        token_choice(place, listing, show)
        table(place, listing, show)
    except CacheError as error:
        show_problem("This list cannot be read", error)
    keys_if_asked(NEURON_LIST)


page()
