"""Hypotheses as JSON files, which read back without loss. No Streamlit."""

import json
from collections.abc import Iterable
from typing import Any

from dashboard.shared.annotations.content import AnnotationError, checked
from dashboard.shared.annotations.hypotheses import Hypothesis, flat

FORMAT = "solu-explorer-hypotheses"
VERSION = 1
LARGEST = 16 * 2**20
"""Bytes of the largest file that is read."""

_FIELDS = ("model_sha256", "model", "layer", "neuron", "user", "name", "text", "changed")
_KEY = ("model_sha256", "layer", "neuron")


def to_json(hypotheses: Iterable[Hypothesis]) -> str:
    """Return an object with format and version, and an array with one hypothesis in each line."""
    rows = ({name: fields[name] for name in _FIELDS} for fields in map(flat, hypotheses))
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "hypotheses": [\n{lines}\n]}}\n'


def from_json(data: bytes) -> list[Hypothesis]:
    """Read the hypotheses in a file in the format of `to_json`.

    Raises:
        AnnotationError: the file has another format, or a hypothesis in it is wrong; says which.
    """
    if len(data) > LARGEST:
        raise AnnotationError(
            f"expected a file of at most {LARGEST:,} bytes, found {len(data):,}: import it in parts"
        )
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(f"expected JSON in UTF-8 as this page exports it: {error}") from error
    heading = (content.get("format"), content.get("version")) if isinstance(content, dict) else None
    rows = content.get("hypotheses") if heading == (FORMAT, VERSION) else None
    if not isinstance(rows, list):
        raise AnnotationError(
            f'expected {{"format": "{FORMAT}", "version": {VERSION}, "hypotheses": [...]}}: '
            "choose a file that this page exported"
        )
    return [_hypothesis(number, row) for number, row in enumerate(rows, start=1)]


def _hypothesis(number: int, row: Any) -> Hypothesis:
    if not isinstance(row, dict) or sorted(row) != sorted(_FIELDS):
        raise AnnotationError(
            f"nothing was imported. Hypothesis {number}: expected an object of {', '.join(_FIELDS)}"
        )
    others = {name: value for name, value in row.items() if name not in _KEY}
    try:
        return checked(Hypothesis, {"key": {name: row[name] for name in _KEY}, **others})
    except AnnotationError as error:
        raise AnnotationError(f"nothing was imported. Hypothesis {number}: {error}") from error
