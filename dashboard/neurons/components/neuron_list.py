"""A page of a list of neurons: the data that the browser gets, and the component that draws it.

The data is text and numbers; the script makes text nodes of it, never HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.formatting import number, share
from dashboard.shared.components.browser_files import script, style
from dashboard.shared.neuron_preview import Preview
from dashboard.shared.neuron_query import Query, Row

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_neuron_list",
    html='<table class="list">\n<caption class="caption"></caption>'
    '<thead><tr></tr></thead><tbody class="rows"></tbody></table>',
    css=style(_HERE, "neuron_list.css"),
    js=script(_HERE, "neuron_list.js"),
)

_HELP = {
    "neuron": "Its number in the layer.",
    "label": "What people wrote of it.",
    "preview": "Its strongest examples, the peaks below each other; the redder, the stronger.",
    "spark": "How often it takes which value, from its lowest to its highest; counts are logarithmic.",
    "max": "The strongest activation in the corpus.",
    "density": "The share of tokens above a tenth of the neuron's maximum.",
    "kurtosis": "Excess kurtosis: 0 for a normal distribution.",
    "skewness": "0 for a symmetric distribution.",
    "share": "The source of text that most of its activation above 0 came from, and how much of it.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A neuron as the list shows it."""

    row: Row
    preview: Preview
    address: str
    """Of its page, from the list's."""
    match: str = ""
    """How well it fits the search."""
    match_token: str = ""
    """The token of a text that was searched by on which it fires most."""
    label: str = ""
    star: bool = False


def neuron_list(data: dict[str, Any], key: str, on_sort: Callable[[], None]) -> None:
    """Draw a page. A click on a row sets the trigger `open` to its layer and neuron, with `example` where one
    is to be edited; one on a column's name sets `sort` to that column: `st.session_state[KEY]` has both."""
    _mount(key=key, data=data, on_open_change=lambda: None, on_sort_change=on_sort)


def neuron_list_data(
    lines: Sequence[Line],
    query: Query,
    quantities: Sequence[str],
    caption: str,
    match: tuple[str, str] | None,
) -> dict[str, Any]:
    """What the browser needs to draw a page.

    Args:
        lines: in order.
        query: that found them.
        quantities: those that the cache holds.
        caption: the table's name, for those who do not see it.
        match: name and explanation of the search's column, where there is a search.
    """
    columns = [("neuron", "neuron", _HELP["neuron"])]
    if any(line.label or line.star for line in lines):
        columns.append(("label", "label", _HELP["label"]))
    columns.append(("preview", "fires most on", _HELP["preview"]))
    if match is not None:
        columns.append(("match", *match))
    columns.append(("spark", "histogram", _HELP["spark"]))
    names = {"share": "strongest source"}
    columns += [(name, names.get(name, name), _HELP[name]) for name in quantities]
    return {
        "caption": caption,
        "all": query.layer is None,
        "first": 50 * (query.page - 1) + 1,
        "columns": [
            {"key": key, "name": name, "help": text, "sort": _order(key, query)}
            for key, name, text in columns
        ],
        "rows": [_row(line) for line in lines],
    }


def _order(column: str, query: Query) -> str | None:
    """The order of a column, as `aria-sort` calls it; None where it cannot be sorted by."""
    if column in ("label", "preview", "spark"):
        return None
    if column != query.sort:
        return "none"
    return "descending" if query.descending else "ascending"


def _row(line: Line) -> dict[str, Any]:
    row = line.row
    return {
        "layer": row.layer,
        "neuron": row.neuron,
        "href": line.address,
        "state": row.state,
        "label": line.label,
        "star": line.star,
        "snippets": [asdict(snippet) for snippet in line.preview.snippets],
        "spark": line.preview.spark,
        "match": line.match,
        "on": line.match_token,
        "max": number(row.max),
        "density": share(row.density),
        "kurtosis": number(row.kurtosis),
        "skewness": number(row.skewness),
        "source": row.source or "",
        "share": "" if row.share is None else f"{100 * row.share:.0f}%",
        "part": row.share or 0,
    }
