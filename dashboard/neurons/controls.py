"""Controls above the list: search and filters. Each changes the address."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.formatting import visible
from dashboard.neurons import searches
from dashboard.neurons.neuron_pages import quantities_of
from dashboard.shared.list_address import LONGEST, SEARCHES, Listing, Search
from dashboard.shared.neuron_query import STATES, Interval
from dashboard.shared.place import Place

SEARCH_LABELS = {
    "token": "token it fires on",
    "text": "text it fires on",
    "peaks": "pattern in peak tokens",
    "label": "label",
    "promotes": "token it promotes",
    "suppresses": "token it suppresses",
}
_PLACEHOLDERS = {
    "token": "a token, or part of one",
    "text": "a sentence, then Enter: the model reads it",
    "peaks": r"a regular expression over the peak tokens: ^ ?\d+$",
    "label": "part of a label",
    "promotes": "a token, or part of one",
    "suppresses": "a token, or part of one",
}
STATE_LABELS = {"alive": "without dead", "all": "all", "dead": "dead only", "always": "always on only"}
QUANTITY_LABELS = {
    "max": "Maximum",
    "density": "Density (a share: 0.01 is 1%)",
    "kurtosis": "Excess kurtosis",
    "skewness": "Skewness",
    "share": "Share of the main source (0.5 is 50%)",
}
_ANY = "all"

Show = Callable[[Listing], None]
"""A callback that writes a list into the address."""


def search_controls(listing: Listing, show: Show) -> None:
    """Draw the kind of the search and its text."""

    def other_kind() -> None:
        show(listing.searching(Search(st.session_state["list_by"], listing.search.text)))

    def other_text() -> None:
        show(listing.searching(Search(listing.search.by, st.session_state[key] or "")))

    by, text = listing.search.by, listing.search.text
    key = f"list_q_{by}"
    st.session_state["list_by"] = by
    if st.session_state.get(key) != text:  # setting the same text would overwrite what is being typed
        st.session_state[key] = text
    st.selectbox(
        "Search by",
        SEARCHES,
        format_func=SEARCH_LABELS.__getitem__,
        key="list_by",
        on_change=other_kind,
        width=175,
    )
    st.text_input(
        "Search for",
        key=key,
        on_change=other_text,
        placeholder=_PLACEHOLDERS[by],
        max_chars=LONGEST,
        live=False if by == "text" else "250ms",
    )


def token_choice(place: Place, listing: Listing, show: Show) -> None:
    """Draw the choice among the tokens that match the text, if the search is for a token."""
    search = listing.search
    if search.by not in ("token", "promotes", "suppresses") or not search.text:
        return
    offered = searches.matching_tokens(place, search.text)
    if len(offered) < 2:
        return

    def picked() -> None:
        show(listing.searching(replace(search, token=st.session_state["list_token"])))

    st.session_state["list_token"] = search.token if search.token in offered else offered[0]
    st.pills(
        "Token",
        offered,
        required=True,
        format_func=lambda token: f"`{_code(visible(place.cache.vocabulary.text(token)))}`",
        key="list_token",
        on_change=picked,
        label_visibility="collapsed",
    )


def filter_controls(place: Place, listing: Listing, show: Show) -> None:
    """Draw the filters: state, source, and intervals of the quantities."""
    query = listing.query

    def changed() -> None:
        intervals: dict[str, Interval] = {}
        for name in quantities:
            low, high = (st.session_state[f"list_{name}_{end}"] for end in ("low", "high"))
            intervals[name] = Interval(low, high)
        source = st.session_state.get("list_source", _ANY)
        show(
            listing.with_query(
                intervals=intervals,
                source=None if source == _ANY else source,
                state=st.session_state["list_state"],
            )
        )

    quantities = quantities_of(place.cache.path)
    n = len([i for i in query.intervals.values() if not i.is_open])
    n += (query.source is not None) + (query.state != STATES[0])
    with st.popover(f"Filters ({n})" if n else "Filters", icon=":material/filter_list:", width=125):
        st.session_state["list_state"] = query.state
        st.segmented_control(
            "Neurons",
            STATES,
            required=True,
            format_func=STATE_LABELS.__getitem__,
            key="list_state",
            on_change=changed,
            help="dead: never reaches a thousandth of its layer's strongest activation. always on: above "
            "a tenth of its maximum on more than half of all tokens.",
        )
        for name in quantities:
            interval = query.intervals.get(name, Interval())
            _interval_inputs(name, interval, changed)
        if "share" in quantities:
            names = [_ANY, *(s.source for s in place.cache.manifest.corpus.sources)]
            if query.source is not None and query.source not in names:
                names.append(query.source)
            st.session_state["list_source"] = query.source or _ANY
            st.selectbox("Main source", names, key="list_source", on_change=changed)
        st.button(
            "Clear the filters",
            key="list_clear",
            icon=":material/filter_list_off:",
            disabled=not n,
            on_click=lambda: show(cleared(listing)),
        )


def cleared(listing: Listing) -> Listing:
    """Return the list without filters."""
    return listing.with_query(intervals={}, source=None, state=STATES[0])


def _interval_inputs(name: str, interval: Interval, changed: Callable[[], None]) -> None:
    label = QUANTITY_LABELS[name]
    common: dict[str, Any] = {"format": "%g", "on_change": changed, "placeholder": "no bound"}
    for end in ("low", "high"):
        st.session_state[f"list_{name}_{end}"] = getattr(interval, end)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.number_input(f"{label}, from", key=f"list_{name}_low", value=None, **common)
        st.number_input("to", key=f"list_{name}_high", value=None, **common)


def _code(text: str) -> str:
    """Return text that can stand between two backquotes in Markdown."""
    return text.replace("`", "ˋ")
