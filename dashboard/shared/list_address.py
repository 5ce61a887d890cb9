"""What the address of a list says: filters, order, page and search, beside model, layer and hook. Pure.

`/neurons?model=solu-1l&layer=0&hook=hook_mid&density=~0.01&sort=max&q=captain` alone restores a list.
An interval is `low~high`, either of which may be left out; `layer=all` is every layer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dashboard.shared.address import Address, AddressError
from dashboard.shared.neuron_query import QUANTITIES, SORTS, STATES, Interval, Query

SEARCHES = ("token", "text", "peaks", "label", "promotes", "suppresses")
"""What a list can be searched by: a token that neurons fire on, a text, an expression that their peak tokens
fit, a label, a token that they promote or suppress."""

ALL_LAYERS = "all"
"""The value of `layer` that stands for every layer of the model."""

LONGEST = 4000
"""Characters of a search at most."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_INTERVAL = re.compile(f"({_NUMBER})?~({_NUMBER})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Search:
    """A search; none where `text` is empty."""

    by: str = SEARCHES[0]
    text: str = ""
    token: int | None = None
    """The token that was picked among those that the text finds; None is the first of them."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list shows of a model."""

    query: Query
    search: Search = Search()

    def with_query(self, **changes: Any) -> "Listing":
        """The same list but for these of its query, from its first page on unless a page is named."""
        return replace(self, query=self.query.with_(**({"page": 1} | changes)))

    def sorted_by(self, column: str) -> "Listing":
        """Sorted by a column, or the other way round where it already is."""
        if self.query.sort == column:
            return self.with_query(descending=not self.query.descending)
        return self.with_query(sort=column, descending=column != "neuron")

    def searching(self, search: Search) -> "Listing":
        """Another search: the best match comes first, or the default order where there is none."""
        fresh = Query(self.query.hook)
        order = ("match", True) if search.text else (fresh.sort, fresh.descending)
        if bool(search.text) == bool(self.search.text) and search.by == self.search.by:
            order = self.query.sort, self.query.descending
        return replace(self, search=search).with_query(sort=order[0], descending=order[1])

    def params(self) -> dict[str, str]:
        """As query parameters without the model; what is as by default is left out."""
        query, search = self.query, self.search
        found = {"layer": ALL_LAYERS if query.layer is None else str(query.layer), "hook": query.hook}
        for name in QUANTITIES:
            if (interval := query.intervals.get(name)) and not interval.is_open:
                found[name] = "~".join("" if b is None else repr(b) for b in (interval.low, interval.high))
        if query.source is not None:
            found["source"] = query.source
        if query.state != STATES[0]:
            found["show"] = query.state
        if search.text:
            found |= {"by": search.by, "q": search.text}
            if search.token is not None:
                found["token"] = str(search.token)
        if query.sort != _default_sort(search):
            found["sort"] = query.sort
        if not query.descending:
            found["dir"] = "up"
        if query.page != 1:
            found["page"] = str(query.page)
        return found


def place_of(params: Mapping[str, str]) -> Address:
    """The address of the place that a list is of; for all layers, and for no neuron, the first.

    Raises:
        AddressError: it cannot be read.
    """
    whole = {name: value for name, value in params.items() if (name, value) != ("layer", ALL_LAYERS)}
    address = Address.parse(whole)
    return address if address.neuron is not None else address.with_(neuron=0)


def parse(params: Mapping[str, str], layer: int, hook: str) -> Listing:
    """What query parameters say of a list.

    Args:
        layer: shown where they do not say all.
        hook: shown.

    Raises:
        AddressError: a value is not as expected.
    """
    search = Search(
        by=_one_of(params, "by", SEARCHES, SEARCHES[0]),
        text=(params.get("q") or "").strip("\n")[:LONGEST],
        token=_whole(params, "token"),
    )
    query = Query(
        hook=hook,
        layer=None if params.get("layer") == ALL_LAYERS else layer,
        intervals={name: _interval(name, params[name]) for name in QUANTITIES if params.get(name)},
        source=params.get("source") or None,
        state=_one_of(params, "show", STATES, STATES[0]),
        sort=_one_of(params, "sort", SORTS, _default_sort(search)),
        descending=_one_of(params, "dir", ("up", "down"), "down") == "down",
        page=max(1, _whole(params, "page") or 1),
    )
    return Listing(query, search)


def _default_sort(search: Search) -> str:
    return "match" if search.text else "kurtosis"


def _interval(name: str, text: str) -> Interval:
    found = _INTERVAL.fullmatch(text)
    bounds = [None if b is None else float(b) for b in found.groups()] if found else []
    if not bounds or any(b is not None and not math.isfinite(b) for b in bounds):
        raise AddressError(
            f"the address says {name} = {text!r}: expected an interval as in {name}=0.5~2, 0.5~ or ~2"
        )
    return Interval(*bounds)


def _whole(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name) or None
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise AddressError(f"the address says {name} = {text!r}: expected a whole number, as in {name}=1")
    return int(text)


def _one_of(params: Mapping[str, str], name: str, expected: tuple[str, ...], default: str) -> str:
    value = params.get(name) or default
    if value not in expected:
        raise AddressError(f"the address says {name} = {value!r}: expected one of {', '.join(expected)}")
    return value
