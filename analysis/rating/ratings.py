"""One rating with what it was of: what all statistics of a study are computed from."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.spreadsheet import unescape_formula

INTERPRETABLE = "interpretable"

_EMPTY = ("", None)


@dataclass(frozen=True, slots=True)
class UnblindedRating:
    """A verdict of a rater on an item of an unblinded study."""

    rater: str
    item: str
    kind: str
    """`neuron`, `repeat` (the same neuron shown again) or `check` (an item with a known answer)."""
    positive: bool
    """Whether the rater called it interpretable."""
    seconds: float
    rule: str = ""
    side: str = ""
    """The model, with its hook where a study holds a model twice; empty for a check."""
    layer: int = -1
    neuron: int = -1
    repeat_of: str = ""
    """The item of the neuron's other showing."""
    expected: bool | None = None
    """The answer to a check."""


def ratings_from_rows(rows: Iterable[Mapping[str, Any]]) -> list[UnblindedRating]:
    """Ratings of the rows of an unblinded study's export: of its CSV, of its JSON, or of `rating_rows`.

    Raises:
        ValueError: the rows lack the columns that come with unblinding.
    """
    found = list(rows)
    if found and "kind" not in found[0]:
        raise ValueError(
            f"expected the columns kind, model, layer and neuron, found {', '.join(found[0])}: "
            "export the ratings again after the study is unblinded"
        )
    hooks: dict[str, set[str]] = {}
    for row in found:
        if row["model"] not in _EMPTY:
            hooks.setdefault(row["model"], set()).add(row["hook"])
    return [_rated(row, hooks) for row in found]


def read_ratings(file: Path | str) -> list[UnblindedRating]:
    """Ratings of a downloaded `ratings.csv`.

    Raises:
        ValueError: as in `rated`.
    """
    with open(file, newline="", encoding="utf-8") as lines:
        return ratings_from_rows(
            [{k: unescape_formula(v) for k, v in row.items()} for row in csv.DictReader(lines)]
        )


def _rated(row: Mapping[str, Any], hooks: Mapping[str, set[str]]) -> UnblindedRating:
    model, expected = row["model"] or "", row["expected"]
    return UnblindedRating(
        rater=row["rater"],
        item=row["item"],
        kind=row["kind"],
        positive=row["verdict"] == INTERPRETABLE,
        seconds=float(row["seconds"]),
        rule=row["rule"],
        side=side_name(model, row["hook"], twice=len(hooks.get(model, ())) > 1),
        layer=-1 if row["layer"] in _EMPTY else int(row["layer"]),
        neuron=-1 if row["neuron"] in _EMPTY else int(row["neuron"]),
        repeat_of=row["repeat_of"] or "",
        expected=None if expected in _EMPTY else expected == INTERPRETABLE,
    )


def side_name(model: str, hook: str, *, twice: bool) -> str:
    """What a side is called: its model, with the hook where the study holds that model twice."""
    return f"{model} {hook}" if twice else model
