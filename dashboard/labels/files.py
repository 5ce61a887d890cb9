"""Annotations as CSV and JSON: what is written can be read back without loss."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from analysis.spreadsheet import escape_formula, unescape_formula
from dashboard.shared.annotations.content import Annotation, AnnotationError, checked, problems_of

FORMAT = "solu-explorer-annotations"
VERSION = 1
COLUMNS = ("model_sha256", "model", "layer", "neuron", "user", "label", "note", "star", "verdict", "changed")
LARGEST = 64 * 2**20
"""Bytes of the largest file that is read."""

_MOST_PROBLEMS = 5


def to_json(annotations: Iterable[Annotation]) -> str:
    """One annotation a line, in an array under a heading that says what it is."""
    rows = ",\n".join("  " + json.dumps(_flat(a), ensure_ascii=False) for a in annotations)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "annotations": [\n{rows}\n]}}\n'


def to_csv(annotations: Iterable[Annotation]) -> str:
    """A line each, after the names of the columns; cells that look like formulas are guarded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for annotation in annotations:
        writer.writerow([escape_formula(str(value)) for value in _flat(annotation).values()])
    return out.getvalue()


def from_file(data: bytes) -> list[Annotation]:
    """The annotations in a file that `to_json` or `to_csv` wrote, or one made like it.

    Raises:
        AnnotationError: it is neither, or a part of it is wrong; says where.
    """
    if len(data) > LARGEST:
        raise AnnotationError(
            f"expected a file of at most {LARGEST:,} bytes, found {len(data):,}: import it in parts"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise AnnotationError(f"line {line}: expected text in UTF-8: save the file as UTF-8") from error
    return _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text)


def _from_json(text: str) -> list[Annotation]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"line {error.lineno}: no JSON ({error.msg})") from error
    except RecursionError as error:
        raise AnnotationError("line 1: JSON nested too deeply for annotations") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise AnnotationError(
            f'line 1: expected {{"format": "{FORMAT}", "version": {VERSION}, "annotations": [...]}}'
        )
    rows = found.get("annotations")
    if not isinstance(rows, list):
        raise AnnotationError("line 1: expected an array under annotations")
    lines = _lines_of_entries(text, len(rows))
    return _checked((lines[i], row) for i, row in enumerate(rows))


def _lines_of_entries(text: str, n: int) -> list[str]:
    """Where each entry of the array begins: its line where there is one entry a line, else its number."""
    starts = [
        i for i, line in enumerate(text.split("\n"), start=1) if line.lstrip().startswith('{"model_sha256')
    ]
    return [f"line {i}" for i in starts] if len(starts) == n else [f"annotation {i + 1}" for i in range(n)]


def _from_csv(text: str) -> list[Annotation]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, Any]] = []
    try:
        header = next(reader, [])
        if sorted(header) != sorted(COLUMNS):
            raise AnnotationError(
                f"line 1: expected the columns {', '.join(COLUMNS)}; found {_short(header)}"
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise AnnotationError(f"line {line}: expected {len(header)} cells, found {len(cells)}")
            if cells:
                named = zip(header, map(unescape_formula, cells), strict=True)
                rows.append((f"line {line}", dict(named)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(f"line {reader.line_num}: no CSV ({error})") from error
    return _checked(rows)


def _checked(rows: Iterable[tuple[str, Any]]) -> list[Annotation]:
    """Rows as annotations, or what is wrong with the first few."""
    found, problems = [], []
    for where, row in rows:
        if not isinstance(row, dict) or sorted(row) != sorted(COLUMNS):
            problems.append(f"{where}: expected an object of {', '.join(COLUMNS)}")
            continue
        try:
            found.append(checked(_nested(row)))
        except ValidationError as error:
            problems.append(f"{where}: {problems_of(error)}")
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = problems[:_MOST_PROBLEMS] + ([f"and {more:,} more"] if more > 0 else [])
        raise AnnotationError(f"nothing was imported. {'. '.join(shown)}")
    return found


def _flat(annotation: Annotation) -> dict[str, Any]:
    """By column."""
    parts = asdict(annotation)
    row = {**parts, **parts["key"], **parts["content"], "changed": annotation.changed.isoformat()}
    return {name: row[name] for name in COLUMNS}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """What `Annotation` is made of."""
    return {
        "key": {name: row[name] for name in ("model_sha256", "layer", "neuron")},
        "content": {name: row[name] for name in ("label", "note", "star", "verdict")},
        **{name: row[name] for name in ("model", "user", "changed")},
    }


def _short(names: Sequence[str]) -> str:
    text = ", ".join(names) or "nothing"
    return text if len(text) <= 200 else text[:200] + "…"
