"""Describe a corpus without reading all of it: files, documents, columns, sources, first lines."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from solu_model.files import printable
from solu_model.text.corpus.document import (
    MAX_CHARACTERS,
    CorpusError,
    CorpusOptions,
    Document,
)
from solu_model.text.corpus.files import CorpusFile, FileSelection, find_files, left_out_lines
from solu_model.text.corpus.hub import hub_columns, hub_documents, hub_name
from solu_model.text.corpus.lines import read_csv, read_json
from solu_model.text.documents import UNPACKED, corpus_notes, is_local, read_file, text_bytes

_FIRST_LINES = 5
_LINE = 100  # characters
_MOST_PROBLEMS = 20
_MOST_SOURCES = 10_000
_HUB_ROWS = 20


@dataclass
class Survey:
    """The text that a command with the same options would read."""

    files: dict[str, int] = field(default_factory=dict)
    """Number of files by kind, compression included, such as `json in gzip`."""
    n_bytes: int = 0
    """Size of these files on disk."""
    n_documents: int | None = 0
    """Documents, empty ones not counted; None if it is not known."""
    n_text_bytes: int | None = 0
    """Bytes of their texts in UTF-8."""
    is_exact: bool = True
    """False if the numbers of documents and bytes, and the sources, are estimates from a part of the text."""
    n_empty: int = 0
    """Rows without text, which are not read as documents."""
    columns: dict[str, str] = field(default_factory=dict)
    """Type of each column of the tables and keys of JSON objects; empty where it is not known."""
    sources: dict[str, int] = field(default_factory=dict)
    """Documents by source, of those that were read."""
    first_lines: list[tuple[str, str]] = field(default_factory=list)
    """Origin and beginning of some documents."""
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Reasons why the text cannot be read."""


def survey_corpus(
    paths: Sequence[str | Path], options: CorpusOptions, *, seconds: float | None = 5.0
) -> Survey:
    """Describe the text of a corpus.

    Args:
        paths: files, folders, or names of data sets of a hub.
        options: the part of them that is read.
        seconds: the time to read documents for; None: read all, so that all numbers are exact.
    """
    survey = Survey()
    found: list[FileSelection] = []
    hubs: list[str] = []
    for path in paths:
        try:
            if is_local(path):
                found.append(find_files(Path(path), options))
            else:
                hub_name(str(path))
                hubs.append(str(path))
        except CorpusError as error:
            survey.problems.append(str(error))
    files = [file for one in found for file in one.files]
    survey.files = dict(Counter(_kind(file) for file in files).most_common())
    survey.n_bytes = sum(file.n_bytes for file in files)
    survey.left_out = left_out_lines(found)
    survey.notes = corpus_notes(found, options)
    _read_files(survey, files, options, seconds)
    for hub in hubs:
        _read_hub(survey, hub, options)
    survey.sources = dict(Counter(survey.sources).most_common(_MOST_SOURCES))
    return survey


@dataclass
class _Tally:
    """The documents of one file that were read."""

    n_documents: int = 0
    n_text_bytes: int = 0
    is_whole: bool = False


def _read_files(
    survey: Survey, files: Sequence[CorpusFile], options: CorpusOptions, seconds: float | None
) -> None:
    """Read each file for its share of the time, and fill in numbers, columns, sources and first lines."""
    if any(file.kind in ("parquet", "arrow") for file in files):
        import solu_model.text.corpus.tables  # noqa: F401 loading pyarrow is no part of the time to read
    end = None if seconds is None else time.monotonic() + seconds
    tallies: dict[CorpusFile, _Tally] = {}
    for n_done, file in enumerate(files):
        now = time.monotonic()
        if end is not None and now > end:
            break
        share = None if end is None else now + (end - now) / (len(files) - n_done)
        try:
            _add_columns(survey, file)
            tallies[file] = _read_one(survey, file, options, share)
        except CorpusError as error:
            if len(survey.problems) < _MOST_PROBLEMS:
                survey.problems.append(str(error))
            tallies[file] = _Tally(is_whole=True)
    survey.is_exact = len(tallies) == len(files) and all(tally.is_whole for tally in tallies.values())
    _estimate(survey, files, tallies, options)


def _read_one(survey: Survey, file: CorpusFile, options: CorpusOptions, until: float | None) -> _Tally:
    tally = _Tally()
    for document in read_file(file, options):
        if document.text:
            tally.n_documents += 1
            tally.n_text_bytes += len(document.text.encode())
            survey.sources[document.source] = survey.sources.get(document.source, 0) + 1
            if tally.n_documents == 1 and len(survey.first_lines) < _FIRST_LINES:
                survey.first_lines.append(_first_line(document))
        else:
            survey.n_empty += 1
        if until is not None and time.monotonic() > until:
            return tally
    tally.is_whole = True
    return tally


def _estimate(
    survey: Survey, files: Sequence[CorpusFile], tallies: dict[CorpusFile, _Tally], options: CorpusOptions
) -> None:
    """Add up the files that were read, and estimate the others from those of their kind."""
    stored: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for file, tally in tallies.items():
        if tally.is_whole or tally.n_text_bytes:
            # Of a file that was read in part, the text may stand for as many bytes on disk.
            stored[_kind(file)] += (
                file.n_bytes if tally.is_whole else min(file.n_bytes, _on_disk(file, tally))
            )
            documents[_kind(file)] += tally.n_documents
    n_documents, n_bytes = 0.0, 0.0
    for file in files:
        whole = tallies.get(file)
        if whole is not None and whole.is_whole:
            n_documents, n_bytes = n_documents + whole.n_documents, n_bytes + whole.n_text_bytes
            continue
        n_bytes += text_bytes(file, options)
        if file.kind == "text" and options.separator is None:
            n_documents += -(-file.n_bytes // MAX_CHARACTERS)
        elif (n_rows := _rows(file)) is not None:
            n_documents += n_rows
        elif stored[_kind(file)]:
            n_documents += documents[_kind(file)] * file.n_bytes / stored[_kind(file)]
    survey.n_documents, survey.n_text_bytes = round(n_documents), round(n_bytes)


def _on_disk(file: CorpusFile, tally: _Tally) -> int:
    return max(1, tally.n_text_bytes // (1 if file.compression is None else UNPACKED))


def _rows(file: CorpusFile) -> int | None:
    """Return the number of rows of a Parquet file, None for another one or a damaged one."""
    from solu_model.text.corpus.tables import parquet_rows

    if file.kind != "parquet" or file.compression is not None:
        return None
    try:
        return parquet_rows(file)
    except CorpusError:
        return None


def _add_columns(survey: Survey, file: CorpusFile) -> None:
    """Add the columns of a file's first row."""
    if file.kind == "text" or file.n_bytes == 0:
        return
    if file.kind in ("parquet", "arrow"):
        from solu_model.text.corpus.tables import table_columns

        columns: dict[str, str] = table_columns(file)
    else:
        # Any column is taken for the text, so that the columns are known also where it is missing.
        try:
            rows = read_json(file) if file.kind == "json" else read_csv(file, None)
            row = next(rows, None)
        except CorpusError:
            return  # reading the file will raise it again
        columns = _types(row.value) if row is not None and isinstance(row.value, dict) else {}
    for name, kind in columns.items():
        survey.columns.setdefault(printable(name)[:80], kind)


def _types(row: dict[str, Any]) -> dict[str, str]:
    names = {str: "string", bool: "bool", list: "list", dict: "object", type(None): "null"}
    return {str(name): names.get(type(value), "number") for name, value in row.items()}


def _read_hub(survey: Survey, path: str, options: CorpusOptions) -> None:
    survey.n_documents = survey.n_text_bytes = None
    survey.is_exact = False
    try:
        survey.columns |= hub_columns(path, options)
        for document in islice(hub_documents(path, options), _HUB_ROWS):
            survey.sources[document.source] = survey.sources.get(document.source, 0) + 1
            if len(survey.first_lines) < _FIRST_LINES:
                survey.first_lines.append(_first_line(document))
    except CorpusError as error:
        survey.problems.append(str(error))
        return
    survey.notes.append(f"{path} is on a hub: its size is not known before it is read")


def _first_line(document: Document) -> tuple[str, str]:
    line = next((line for line in document.text[:2000].splitlines() if line.strip()), "")
    text = printable(line.strip())
    return document.origin, text if len(text) <= _LINE else text[: _LINE - 1] + "…"


def _kind(file: CorpusFile) -> str:
    return file.kind if file.compression is None else f"{file.kind} in {file.compression}"
