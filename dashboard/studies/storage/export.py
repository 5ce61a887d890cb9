"""A study as files: pre-registration and ratings; after unblinding also the key."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.spreadsheet import escape_formula
from dashboard.studies.plan.design import Design, Item
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore
from solu_model.targets import check_target

PREREGISTRATION = "preregistration.json"
KEY = "key.json"

_RATING_COLUMNS = ("rater", "item", "verdict", "rule", "confidence", "seconds", "hidden_seconds", "at")
_KEY_COLUMNS = ("kind", "model", "hook", "layer", "neuron", "repeat_of", "expected")
"""Columns from the key, only after unblinding."""


def files(store: StudyStore, study: str) -> dict[str, bytes]:
    """Return a study's files by name: `preregistration.json`, `ratings.csv` and `ratings.json`.

    After unblinding also `key.json`, and in the ratings the columns from it.

    Raises:
        StudyError: there is no such study.
    """
    contents = {PREREGISTRATION: store.preregistration(study)}
    items: list[Item] | None = None
    if store.summary(study).closed is not None:
        contents[KEY], items = store.key_text(study), store.key(study)
    rows = rating_rows(store.design(study), store.ratings(study), items)
    return contents | {"ratings.csv": to_csv(rows, blind=items is None), "ratings.json": to_json(rows)}


def check_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Refuse a folder with files of the same names that are not of the same study.

    Raises:
        TargetError: such a file is there, or the folder cannot be written to.
    """
    own = folder / PREREGISTRATION
    is_same = own.is_file() and own.read_bytes() == contents[PREREGISTRATION]
    for name in contents:
        check_target(folder / name, "export of this study", lambda file: is_same and file.is_file())


def rating_rows(design: Design, ratings: list[Rating], items: list[Item] | None) -> list[dict[str, Any]]:
    """Return a row for each rating, by column.

    Args:
        items: the key of an unblinded study; None leaves its columns out.
    """
    by_name = {item.name: item for item in items or []}
    rows = []
    for rating in ratings:
        row = asdict(rating) | {"at": rating.at.isoformat() if rating.at else None}
        if items is not None:
            row |= _key_columns(design, by_name[rating.item])
        rows.append(row)
    return rows


def to_csv(rows: list[dict[str, Any]], *, blind: bool) -> bytes:
    """Return a heading and a row for each rating. Cells that look like formulas are guarded.

    Args:
        blind: leave out the columns from the key.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    columns = _RATING_COLUMNS if blind else _RATING_COLUMNS + _KEY_COLUMNS
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[c] is None else escape_formula(str(row[c])) for c in columns])
    return out.getvalue().encode()


def to_json(rows: list[dict[str, Any]]) -> bytes:
    """Return an array with one rating in each line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n".encode()


def _key_columns(design: Design, item: Item) -> dict[str, Any]:
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
