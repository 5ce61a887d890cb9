"""A study as files: what was registered and rated; after unblinding also which item is which neuron."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from analysis.spreadsheet import escape_formula
from dashboard.studies.plan.design import Design, Item
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore

PREREGISTRATION = "preregistration.json"
KEY = "key.json"

_RATED = ("rater", "item", "verdict", "rule", "confidence", "seconds", "hidden_seconds", "at")
_KNOWN = ("kind", "model", "hook", "layer", "neuron", "repeat_of", "expected")
"""Columns only after unblinding."""


def files(store: StudyStore, study: str) -> dict[str, bytes]:
    """A study's files by name. `key.json`, and what it says in the ratings, only where it is unblinded.

    Raises:
        StudyError: there is no such study.
    """
    found = {PREREGISTRATION: store.preregistration(study)}
    items: list[Item] | None = None
    if store.summary(study).closed is not None:
        found[KEY], items = store.key_text(study), store.key(study)
    rows = rating_rows(store.design(study), store.ratings(study), items)
    return found | {"ratings.csv": to_csv(rows, opaque=items is None), "ratings.json": to_json(rows)}


def rating_rows(design: Design, ratings: list[Rating], items: list[Item] | None) -> list[dict[str, Any]]:
    """A row a rating.

    Args:
        items: the key of an unblinded study; None leaves its columns out.
    """
    by_name = {item.name: item for item in items or []}
    rows = []
    for rating in ratings:
        row = asdict(rating) | {"at": rating.at.isoformat() if rating.at else None}
        if items is not None:
            row |= _known(design, by_name[rating.item])
        rows.append(row)
    return rows


def to_csv(rows: list[dict[str, Any]], *, opaque: bool) -> bytes:
    """A line each, after the names of the columns; cells that look like formulas are guarded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    columns = _RATED if opaque else _RATED + _KNOWN
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[c] is None else escape_formula(str(row[c])) for c in columns])
    return out.getvalue().encode()


def to_json(rows: list[dict[str, Any]]) -> bytes:
    """One rating a line, in an array."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n".encode()


def _known(design: Design, item: Item) -> dict[str, Any]:
    side = None if item.side is None else design.sides[item.side]
    return {
        "kind": item.kind,
        "model": side and side.model,
        "hook": side and side.hook,
        "layer": item.layer,
        "neuron": item.neuron,
        "repeat_of": item.repeat_of,
        "expected": item.expected,
    }
