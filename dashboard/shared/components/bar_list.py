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
    css=style(_HERE, "bar_list.css"),
    js=script(_HERE, "bar_list.js"),
)


@dataclass(frozen=True)
class Row:
    """A label, what is said beside it, and a number with its bar."""

    label: str
    value: float
    number: str
    """The value as it is read."""
    detail: str = ""
    address: Address | None = None
    """Where a click leads."""
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
    """Draw columns beside each other, their bars on one scale, positive ones red and negative ones blue.

    Args:
        open_address: called in a callback, before the next run, with the address of a row that was clicked.
    """

    def clicked() -> None:
        chosen = _address(st.session_state[key].get("open"))
        if chosen is not None and open_address is not None:
            open_address(chosen)

    _mount(key=key, data=bar_list_data(columns), on_open_change=clicked)


def bar_list_data(columns: Sequence[Column]) -> dict[str, Any]:
    """What the browser needs: of each row its texts, the share of the longest bar and where it leads."""
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


def _address(query: object) -> Address | None:
    """The address that the browser names; None for anything else."""
    try:
        found = Address.parse(dict(parse_qsl(query))) if isinstance(query, str) else None
    except (AddressError, ValueError):
        return None
    return None if found is None or found.is_empty else found
