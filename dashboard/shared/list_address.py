"""The address of a list: filters, order, page and search, beside model, layer and hook.

`/neurons?model=solu-1l&layer=0&hook=hook_mid&density=~0.01&sort=max&q=captain` alone restores a list.
An interval is `low~high`, with either bound left out for none; `layer=all` is every layer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dashboard.shared.address import Address, AddressError, one_of, whole_number
from dashboard.shared.neuron_query import QUANTITIES, SORTS, STATES, Interval, Query

SEARCHES = ("token", "text", "peaks", "label", "promotes", "suppresses")
"""Kinds of search: a token that neurons fire on, a text, a regular expression over the tokens of their peaks,
a label, a token that they promote or suppress."""

ALL_LAYERS = "all"
"""The value of `layer` that stands for every layer of the model."""

LONGEST = 4000
"""Maximum length of a search, in characters."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_INTERVAL = re.compile(f"({_NUMBER})?~({_NUMBER})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Search:
    """A search; an empty `text` means no search."""

    by: str = SEARCHES[0]
    text: str = ""
    token: int | None = None
    """The token chosen among the tokens that match the text; None: the first match."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: the query and the search that choose and order its neurons."""

    query: Query
    search: Search = Search()

    def with_query(self, **changes: Any) -> "Listing":
        """Return the list with changes to its query, at its first page unless a page is named."""
        return replace(self, query=self.query.with_(**({"page": 1} | changes)))

    def sorted_by(self, column: str) -> "Listing":
        """Return the list sorted by a column; in the other direction if it is sorted by it already."""
        if self.query.sort == column:
            return self.with_query(descending=not self.query.descending)
        return self.with_query(sort=column, descending=column != "neuron")

    def searching(self, search: Search) -> "Listing":
        """Return the list with another search: the best match first, or the default order if it is empty."""
        fresh = Query(self.query.hook)
        order = ("match", True) if search.text else (fresh.sort, fresh.descending)
        if bool(search.text) == bool(self.search.text) and search.by == self.search.by:
            order = self.query.sort, self.query.descending
        return replace(self, search=search).with_query(sort=order[0], descending=order[1])

    def params(self) -> dict[str, str]:
        """Return the query parameters without the model; defaults are left out."""
        query, search = self.query, self.search
        params = {"layer": ALL_LAYERS if query.layer is None else str(query.layer), "hook": query.hook}
        for name in QUANTITIES:
            if (interval := query.intervals.get(name)) and not interval.is_open:
                params[name] = "~".join("" if b is None else repr(b) for b in (interval.low, interval.high))
        if query.source is not None:
            params["source"] = query.source
        if query.state != STATES[0]:
            params["show"] = query.state
        if search.text:
            params |= {"by": search.by, "q": search.text}
            if search.token is not None:
                params["token"] = str(search.token)
        if query.sort != _default_sort(search):
            params["sort"] = query.sort
        if not query.descending:
            params["dir"] = "up"
        if query.page != 1:
            params["page"] = str(query.page)
        return params


def place_of(params: Mapping[str, str]) -> Address:
    """Return the address of the place whose model and layer a list shows.

    All layers become the first layer, and neuron 0 stands for none.

    Raises:
        AddressError: the parameters cannot be parsed.
    """
    whole = {name: value for name, value in params.items() if (name, value) != ("layer", ALL_LAYERS)}
    address = Address.parse(whole)
    return address if address.neuron is not None else address.with_(neuron=0)


def parse(params: Mapping[str, str], layer: int, hook: str) -> Listing:
    """Parse the query parameters of a list.

    Args:
        layer: the layer shown unless the parameters say all layers.
        hook: the hook shown.

    Raises:
        AddressError: a value is not as expected.
    """
    search = Search(
        by=one_of(params, "by", SEARCHES) or SEARCHES[0],
        text=(params.get("q") or "").strip("\n")[:LONGEST],
        token=whole_number(params, "token"),
    )
    query = Query(
        hook=hook,
        layer=None if params.get("layer") == ALL_LAYERS else layer,
        intervals={name: _interval(name, params[name]) for name in QUANTITIES if params.get(name)},
        source=params.get("source") or None,
        state=one_of(params, "show", STATES) or STATES[0],
        sort=one_of(params, "sort", SORTS) or _default_sort(search),
        descending=one_of(params, "dir", ("up", "down")) != "up",
        page=max(1, whole_number(params, "page") or 1),
    )
    return Listing(query, search)


def _default_sort(search: Search) -> str:
    return "match" if search.text else "kurtosis"


def _interval(name: str, text: str) -> Interval:
    match = _INTERVAL.fullmatch(text)
    bounds = [None if b is None else float(b) for b in match.groups()] if match else []
    if not bounds or any(b is not None and not math.isfinite(b) for b in bounds):
        raise AddressError(
            f"the address says {name} = {text!r}: expected an interval as in {name}=0.5~2, 0.5~ or ~2"
        )
    return Interval(*bounds)
