"""A page of the list of neurons: the data that the browser gets, and the component that draws it.

The data is text and numbers; the script makes text nodes of it, never HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.formatting import number, share
from dashboard.neurons.neuron_pages import PAGE_SIZE, Row
from dashboard.shared.components.browser_files import script, style
from dashboard.shared.neuron_preview import Preview
from dashboard.shared.neuron_query import Query

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_neuron_list",
    html='<table class="list">\n<caption class="caption"></caption>'
    '<thead><tr></tr></thead><tbody class="rows"></tbody></table>',
    css=style(_HERE, "neuron_list.css"),
    js=script(_HERE, "neuron_list.js"),
)

_HELP = {
    "neuron": "Index of the neuron in its layer.",
    "label": "The label that people gave it.",
    "preview": "Its strongest examples, aligned at their peaks; redder tokens have stronger activations.",
    "spark": "Histogram of its activation, from the lowest value to the highest; counts are logarithmic.",
    "max": "The largest activation in the corpus.",
    "density": "The share of tokens above a tenth of the neuron's maximum.",
    "kurtosis": "Excess kurtosis of the activation: 0 for a normal distribution.",
    "skewness": "Skewness of the activation: 0 for a symmetric distribution.",
    "share": "The source with the largest share of the activation above 0, and that share.",
}
"""Tooltips of the columns."""


@dataclass(frozen=True, slots=True)
class Line:
    """One neuron of the list."""

    row: Row
    preview: Preview
    address: str
    """Address of the neuron's page, relative to the list's."""
    match: str = ""
    """Score of the search, as text."""
    match_token: str = ""
    """The token of the searched text with its highest activation."""
    label: str = ""
    star: bool = False


def neuron_list(data: dict[str, Any], key: str, on_sort: Callable[[], None]) -> None:
    """Draw a page of the list.

    A click on a row sets the trigger `open` to its `layer` and `neuron`, with `example` where an example is
    to be edited. A click on a column's name sets the trigger `sort` to that column. `st.session_state[key]`
    has both.

    Args:
        data: as `neuron_list_data` returns it.
        key: of the component; keep it when the data changes.
        on_sort: called in a callback, before the next run, after a click on a column's name.
    """
    _mount(key=key, data=data, on_open_change=lambda: None, on_sort_change=on_sort)


def neuron_list_data(
    lines: Sequence[Line],
    query: Query,
    quantities: Sequence[str],
    caption: str,
    match: tuple[str, str] | None,
) -> dict[str, Any]:
    """Return what the browser needs to draw a page.

    Args:
        lines: in order.
        query: the query that selected them.
        quantities: the columns of numbers that the cache holds.
        caption: the table's name, for screen readers.
        match: name and explanation of the search's column; None without a search.

    Returns:
        `caption`; `all_layers` (True where the list is not of one layer); `first_rank`; `columns` (`key`,
        `name`, `help`, `sort` as in `aria-sort` or None); and `rows`: numbers as text by the column's key,
        `snippets` and `spark` as in `Preview`, `source` and `source_share` (0 to 1) for the bar.
    """
    columns = [("neuron", "neuron", _HELP["neuron"])]
    if any(line.label or line.star for line in lines):
        columns.append(("label", "label", _HELP["label"]))
    columns.append(("preview", "fires most on", _HELP["preview"]))
    if match is not None:
        columns.append(("match", *match))
    columns.append(("spark", "histogram", _HELP["spark"]))
    names = {"share": "main source"}
    columns += [(name, names.get(name, name), _HELP[name]) for name in quantities]
    return {
        "caption": caption,
        "all_layers": query.layer is None,
        "first_rank": PAGE_SIZE * (query.page - 1) + 1,
        "columns": [
            {"key": key, "name": name, "help": text, "sort": _order(key, query)}
            for key, name, text in columns
        ],
        "rows": [_row(line) for line in lines],
    }


def _order(column: str, query: Query) -> str | None:
    """Return the order of a column as in `aria-sort`; None where the list cannot be sorted by it."""
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
        "match_token": line.match_token,
        "max": number(row.max),
        "density": share(row.density),
        "kurtosis": number(row.kurtosis),
        "skewness": number(row.skewness),
        "source": row.source or "",
        "share": "" if row.share is None else f"{100 * row.share:.0f}%",
        "source_share": row.share or 0,
    }
