"""Annotations as CSV and JSON files, which read back without loss. No Streamlit."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from analysis.formatting import shorten
from analysis.spreadsheet import escape_formula, unescape_formula
from dashboard.shared.annotations.content import Annotation, AnnotationError, checked

FORMAT = "solu-explorer-annotations"
VERSION = 1
COLUMNS = ("model_sha256", "model", "layer", "neuron", "user", "label", "note", "star", "verdict", "changed")
LARGEST = 64 * 2**20
"""Bytes of the largest file that is read."""

_MOST_ERRORS = 5  # named in a message


def to_json(annotations: Iterable[Annotation]) -> str:
    """Return an object with format and version, and an array with one annotation in each line."""
    rows = ",\n".join("  " + json.dumps(_flat(a), ensure_ascii=False) for a in annotations)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "annotations": [\n{rows}\n]}}\n'


def to_csv(annotations: Iterable[Annotation]) -> str:
    """Return a heading and a row for each annotation. Cells that look like formulas are guarded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for annotation in annotations:
        writer.writerow([escape_formula(str(value)) for value in _flat(annotation).values()])
    return out.getvalue()


def from_file(data: bytes) -> list[Annotation]:
    """Read the annotations in a file in the format of `to_json` or `to_csv`.

    Raises:
        AnnotationError: the file has another format, or a row of it is wrong; says which line.
    """
    if len(data) > LARGEST:
        raise AnnotationError(
            f"expected a file of at most {LARGEST:,} bytes, found {len(data):,}: import it in parts"
        )
    try:
        text = data.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise AnnotationError(f"line {line}: expected text in UTF-8: save the file as UTF-8") from error
    return _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text)


def _from_json(text: str) -> list[Annotation]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"line {error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise AnnotationError("line 1: JSON nested too deeply for annotations") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise AnnotationError(
            f'line 1: expected {{"format": "{FORMAT}", "version": {VERSION}, "annotations": [...]}}'
        )
    rows = content.get("annotations")
    if not isinstance(rows, list):
        raise AnnotationError("line 1: expected an array under annotations")
    return _checked(zip(_positions(text, len(rows)), rows, strict=True))


def _positions(text: str, n: int) -> list[str]:
    """Return, for messages, the line of each entry of the array, or its number where lines hold several."""
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
            names = shorten(", ".join(header) or "nothing", 200)
            raise AnnotationError(f"line 1: expected the columns {', '.join(COLUMNS)}; found {names}")
        line = reader.line_num + 1  # of the next row's beginning: a note may hold line breaks
        for cells in reader:
            if cells and len(cells) != len(header):
                raise AnnotationError(f"line {line}: expected {len(header)} cells, found {len(cells)}")
            if cells:
                named = zip(header, map(unescape_formula, cells), strict=True)
                rows.append((f"line {line}", dict(named)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(f"line {reader.line_num}: not valid CSV ({error})") from error
    return _checked(rows)


def _checked(rows: Iterable[tuple[str, Any]]) -> list[Annotation]:
    """Return rows as annotations.

    Args:
        rows: each with its position in the file, for messages.

    Raises:
        AnnotationError: rows are wrong; names the first few.
    """
    annotations, errors = [], []
    for position, row in rows:
        if not isinstance(row, dict) or sorted(row) != sorted(COLUMNS):
            errors.append(f"{position}: expected an object of {', '.join(COLUMNS)}")
            continue
        try:
            annotations.append(checked(Annotation, _nested(row)))
        except AnnotationError as error:
            errors.append(f"{position}: {error}")
    if errors:
        more = len(errors) - _MOST_ERRORS
        named = errors[:_MOST_ERRORS] + ([f"and {more:,} more"] if more > 0 else [])
        raise AnnotationError(f"nothing was imported. {'. '.join(named)}")
    return annotations


def _flat(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation's values by column."""
    parts = asdict(annotation)
    row = {**parts, **parts["key"], **parts["content"], "changed": annotation.changed.isoformat()}
    return {name: row[name] for name in COLUMNS}


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a row by field of `Annotation`."""
    return {
        "key": {name: row[name] for name in ("model_sha256", "layer", "neuron")},
        "content": {name: row[name] for name in ("label", "note", "star", "verdict")},
        **{name: row[name] for name in ("model", "user", "changed")},
    }
