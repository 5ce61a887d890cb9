"""The controls above a list: place, search and filters. Each changes the address."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.formatting import visible
from dashboard.neurons import searches
from dashboard.shared import places
from dashboard.shared.display_names import HOOK_LABELS
from dashboard.shared.list_address import LONGEST, SEARCHES, Listing, Search
from dashboard.shared.neuron_query import STATES, Interval, quantities_of
from dashboard.shared.place import Place

SEARCH_LABELS = {
    "token": "token it fires on",
    "text": "text it fires on",
    "peaks": "pattern of peaks",
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
    "share": "Share of the strongest source (0.5 is 50%)",
}
_ANY = "all"

Show = Callable[[Listing], None]
"""Makes a list the one that the address names."""


def place_controls(place: Place, listing: Listing, show: Show) -> None:
    """Model, layer and hook."""

    def moved() -> None:
        layer, hook = st.session_state["list_layer"], st.session_state["list_hook"]
        show(listing.with_query(layer=None if layer == _ANY else layer, hook=hook))

    def other_model() -> None:
        st.query_params.from_dict({"model": st.session_state["list_model"]})

    names = [m.name for m in places.models() if m.has_cache]
    layer = listing.query.layer
    st.session_state.update(
        list_model=place.model.name, list_layer=_ANY if layer is None else layer, list_hook=place.hook
    )
    st.selectbox("Model", names, key="list_model", on_change=other_model, width=150)
    many = [_ANY] if len(place.cache.layers) > 1 else []
    st.selectbox("Layer", [*place.cache.layers, *many], key="list_layer", on_change=moved, width=80)
    st.selectbox(
        "Measured",
        place.cache.hooks,
        format_func=HOOK_LABELS.__getitem__,
        key="list_hook",
        on_change=moved,
        width=165,
    )


def search_controls(listing: Listing, show: Show) -> None:
    """What to search by, and for what."""

    def other_kind() -> None:
        show(listing.searching(Search(st.session_state["list_by"], listing.search.text)))

    def other_text() -> None:
        show(listing.searching(Search(listing.search.by, st.session_state[key] or "")))

    by, text = listing.search.by, listing.search.text
    key = f"list_q_{by}"
    st.session_state["list_by"] = by
    if st.session_state.get(key) != text:  # else somebody may be typing on
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
    """Which token is meant, among those that the text finds; nothing where the search is for no token."""
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
    """Which neurons are shown, by state, source and intervals of what was measured."""
    query = listing.query

    def changed() -> None:
        found: dict[str, Interval] = {}
        for name in quantities:
            low, high = (st.session_state[f"list_{name}_{end}"] for end in ("low", "high"))
            found[name] = Interval(low, high)
        source = st.session_state.get("list_source", _ANY)
        show(
            listing.with_query(
                intervals=found,
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
            st.selectbox("Strongest source", names, key="list_source", on_change=changed)
        st.button(
            "Clear the filters",
            key="list_clear",
            icon=":material/filter_list_off:",
            disabled=not n,
            on_click=lambda: show(cleared(listing)),
        )


def cleared(listing: Listing) -> Listing:
    """The same list without filters."""
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
    """Text that may stand between two backquotes."""
    return text.replace("`", "ˋ")
