"""Rows of a label, a bar and a number, some of them links: the data that the browser gets, and the component.

The data is text and numbers; the script makes text nodes of it, never HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from dashboard.shared.address import Address, AddressError
from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_bar_list",
    html='<div class="bars"></div>',
    css=style(_HERE, "bar_list.css", dom=False),
    js=script(_HERE, "bar_list.js"),
)


@dataclass(frozen=True)
class Row:
    """A label, a number with its bar, and a detail."""

    label: str
    value: float
    number: str
    """The value as text."""
    detail: str = ""
    """Text after the number; empty for none."""
    address: Address | None = None
    """Target of a click."""
    more: dict[str, str] = field(default_factory=dict)
    """Parameters of the link beyond those of the address."""


@dataclass(frozen=True)
class Column:
    """Rows under a title."""

    title: str
    rows: Sequence[Row]


def bar_list(
    columns: Sequence[Column], key: str, open_address: Callable[[Address], None] | None = None
) -> None:
    """Draw columns side by side, their bars on one scale, positive values red and negative ones blue.

    Args:
        columns: from left to right.
        key: of the component; keep it when the data changes.
        open_address: called in a callback, before the next run, with the address of a clicked row.
    """

    def clicked() -> None:
        address = _clicked_address(st.session_state[key].get("open"))
        if address is not None and open_address is not None:
            open_address(address)

    _mount(key=key, data=bar_list_data(columns), on_open_change=clicked)


def bar_list_data(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what the browser needs.

    Returns:
        `columns`, each with `title` and `rows`; a row has `label`, `number` and `detail` as text, `share` (of
        the longest bar, from -1 to 1) and `query` (of its link, None for no link).
    """
    longest = max((abs(row.value) for column in columns for row in column.rows), default=0.0) or 1.0
    return {
        "columns": [
            {
                "title": column.title,
                "rows": [
                    {
                        "label": row.label,
                        "number": row.number,
                        "detail": row.detail,
                        "share": round(row.value / longest, 4),
                        "query": None
                        if row.address is None
                        else urlencode({**row.address.params(), **row.more}),
                    }
                    for row in column.rows
                ],
            }
            for column in columns
        ]
    }


def _clicked_address(query: object) -> Address | None:
    """Return the address that the browser names; None for anything else."""
    try:
        address = Address.parse(dict(parse_qsl(query))) if isinstance(query, str) else None
    except (AddressError, ValueError):
        return None
    return None if address is None or address.is_empty else address
