"""Ratings of an unblinded study: each verdict with the neuron that it is about."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.spreadsheet import unescape_formula

INTERPRETABLE = "interpretable"

_EMPTY = ("", None)  # in CSV, in JSON


@dataclass(frozen=True, slots=True)
class UnblindedRating:
    """A rater's verdict on an item, with the item's neuron."""

    rater: str
    item: str
    kind: str
    """`neuron`, `repeat` (the same neuron shown again) or `check` (an item with a known answer)."""
    is_interpretable: bool
    """The verdict."""
    seconds: float
    """Time from the card to the verdict."""
    rule: str = ""
    side: str = ""
    """Model, followed by the hook if the study compares two hooks of one model; empty for a check."""
    layer: int = -1
    """-1 for a check."""
    neuron: int = -1
    """-1 for a check."""
    repeat_of: str = ""
    """First item of the same neuron; empty except for a repeat."""
    expected: bool | None = None
    """Known answer of a check; None for other items."""


def ratings_from_rows(rows: Iterable[Mapping[str, Any]]) -> list[UnblindedRating]:
    """Convert rows of an unblinded study's export, from CSV or JSON.

    Raises:
        ValueError: the rows lack the columns that unblinding adds.
    """
    listed = list(rows)
    if listed and "kind" not in listed[0]:
        raise ValueError(
            f"expected the columns kind, model, layer and neuron, found {', '.join(listed[0])}: "
            "export the ratings again after the study is unblinded"
        )
    hooks: dict[str, set[str]] = {}
    for row in listed:
        if row["model"] not in _EMPTY:
            hooks.setdefault(row["model"], set()).add(row["hook"])
    return [_rating(row, hooks) for row in listed]


def read_ratings(file: Path | str) -> list[UnblindedRating]:
    """Read a downloaded `ratings.csv`.

    Raises:
        ValueError: as in `ratings_from_rows`.
    """
    with open(file, newline="", encoding="utf-8") as lines:
        return ratings_from_rows(
            [{k: unescape_formula(v) for k, v in row.items()} for row in csv.DictReader(lines)]
        )


def _rating(row: Mapping[str, Any], hooks: Mapping[str, set[str]]) -> UnblindedRating:
    model, expected = row["model"] or "", row["expected"]
    return UnblindedRating(
        rater=row["rater"],
        item=row["item"],
        kind=row["kind"],
        is_interpretable=row["verdict"] == INTERPRETABLE,
        seconds=float(row["seconds"]),
        rule=row["rule"],
        side=side_name(model, row["hook"], twice=len(hooks.get(model, ())) > 1),
        layer=-1 if row["layer"] in _EMPTY else int(row["layer"]),
        neuron=-1 if row["neuron"] in _EMPTY else int(row["neuron"]),
        repeat_of=row["repeat_of"] or "",
        expected=None if expected in _EMPTY else expected == INTERPRETABLE,
    )


def side_name(model: str, hook: str, *, twice: bool) -> str:
    """Return the name of a side of a study: its model, with the hook if the study has this model `twice`."""
    return f"{model} {hook}" if twice else model
