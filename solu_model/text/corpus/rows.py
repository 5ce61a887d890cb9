"""From a row of a table to a document: the text, its provenance, and what is refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from solu_model.files import printable
from solu_model.text.corpus.document import (
    CorpusError,
    CorpusOptions,
    Document,
)
from solu_model.text.corpus.files import CorpusFile

PROVENANCE = ("source", "lang", "licence", "license", "origin")
"""Columns that are read beside the text, where a table has them."""

_USUAL = ("text", "content", "body", "document", "raw_content", "article", "passage", "story", "sentence")
_MOST_COLUMNS = 20  # named in a message


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file."""

    number: int
    """From 1."""
    unit: str
    """The thing that is counted: `line` or `row`."""
    value: Any
    """A mapping of columns, or the text alone."""


def row_document(row: Row, place: str, options: CorpusOptions, source: str, origin: str) -> Document:
    """Return the document of a row; its text is empty where the row has none.

    Args:
        row: a mapping of columns, or a string.
        place: the file or data set, for messages.
        options: the column of the text.
        source, origin: provenance where the row gives none.

    Raises:
        CorpusError: the row has no such column, or no text in it.
    """
    value = row.value
    if isinstance(value, str) and type(value) is str:
        return Document(value, source=source, origin=origin)
    if not isinstance(value, dict):
        raise CorpusError(f"{place}, {row.unit} {row.number:,}: expected an object, found {_named(value)}")
    if options.column not in value:
        raise missing_column(f"{place}, {row.unit} {row.number:,}", options, list(value))
    text = value[options.column]
    if type(text) is not str:
        text = _as_text(text, f"{place}, {row.unit} {row.number:,}", options)
    get = value.get
    return Document(
        text,
        source=as_name(get("source")) or source,
        lang=as_name(get("lang")),
        licence=as_name(get("licence")) or as_name(get("license")),
        origin=as_name(get("origin")) or origin,
    )


def as_name(value: Any) -> str:
    """Return a value of a column of provenance as text: a list as its items, joined by commas."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(as_name, value)))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def missing_column(place: CorpusFile | str, options: CorpusOptions, names: Sequence[object]) -> CorpusError:
    """Return the error of a table without the column of text; it names the columns that there are."""
    shown = place if isinstance(place, str) else place.shown
    texts = [printable(str(name))[:40] for name in names]
    listed = ", ".join(texts[:_MOST_COLUMNS]) or "none"
    more = f" and {len(texts) - _MOST_COLUMNS:,} more" if len(texts) > _MOST_COLUMNS else ""
    usual = next((name for name in _USUAL if name in texts), texts[0] if texts else "NAME")
    return CorpusError(
        f"{shown} has no text in its column {options.column!r}: expected a string, found columns "
        f"{listed}{more}. Choose one with --column, e.g. --column {usual}"
    )


def repeated_column(file: CorpusFile, options: CorpusOptions) -> CorpusError:
    """Return the error of a table with several columns of the name that the text is in."""
    return CorpusError(
        f"{file.shown} has several columns called {options.column!r}, of which only one can be the text: "
        "rename the others"
    )


def not_text(place: str, options: CorpusOptions, kind: str, *, are_ids: bool) -> CorpusError:
    """Return the error of a column that holds something else than text."""
    advice = "choose a column of text with --column"
    if are_ids:
        advice = (
            "these are token ids of some tokenizer. Turn them into text with it, and save that, or choose a "
            "column of text with --column"
        )
    return CorpusError(f"{place}: expected text in column {options.column!r}, found {kind}; {advice}")


def _as_text(value: Any, place: str, options: CorpusOptions) -> str:
    """Return a value that is not a string as text; an empty text for None.

    Raises:
        CorpusError: it is a list or an object, or bytes that are not UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_text(place, options, "bytes that are not UTF-8", are_ids=False) from error
    if isinstance(value, dict | list | tuple):
        are_ids = isinstance(value, list) and bool(value) and _are_numbers(value[:8])
        raise not_text(place, options, _named(value), are_ids=are_ids)
    return str(value)  # a number as it is written, or a date


def _are_numbers(values: Iterable[Any]) -> bool:
    # A number of a JSON file is a `Number`, which is a string of another type.
    return all(isinstance(v, int) or (isinstance(v, str) and type(v) is not str) for v in values)


def _named(value: Any) -> str:
    if isinstance(value, list | tuple):
        inner = "numbers" if value and _are_numbers(value[:8]) else "values"
        return f"a list of {len(value):,} {inner}"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    return f"{printable(str(value))[:40]!r}"
