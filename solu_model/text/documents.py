"""Read a corpus: documents with their provenance.

A corpus is one or more paths: a file, a folder, or the name of a data set on the Hugging Face hub (`NAME`
or `NAME:CONFIG`). Files are Parquet, Arrow, JSON, JSON lines, CSV, or text, also compressed. The text of a
table is in its column `text`; the columns `source`, `lang`, `licence` (or `license`) and `origin` are
optional. A text file is one document. `CorpusOptions` selects another column, a split of a data set, and
documents within a file.
"""

import errno
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from solu_model.files import printable
from solu_model.text.corpus.document import (
    DEFAULT_OPTIONS,
    MAX_CHARACTERS,
    CorpusError,
    CorpusOptions,
    Document,
    corpus_names,
)
from solu_model.text.corpus.files import CorpusFile, FileSelection, find_files, left_out_lines
from solu_model.text.corpus.hub import hub_documents, hub_name
from solu_model.text.corpus.lines import cut, read_csv, read_json, read_text
from solu_model.text.corpus.rows import row_document
from solu_model.text.corpus.streams import explained

__all__ = [
    "DEFAULT_OPTIONS",
    "UNPACKED",
    "CorpusError",
    "CorpusOptions",
    "Document",
    "check_corpus",
    "corpus_bytes",
    "corpus_files",
    "corpus_names",
    "corpus_notes",
    "in_batches",
    "is_local",
    "read_documents",
    "read_file",
    "text_bytes",
]

_Item = TypeVar("_Item")

_log = logging.getLogger(__name__)

_ROWS_LOOKED_AT = 3
_SECONDS_OF_LOOKING = 10.0
_LONG_FILE = 2**24  # bytes of a text file that is probably not one document
_CHARACTERS_AT_ONCE = 2 * MAX_CHARACTERS
UNPACKED = 3
"""Bytes of text in a byte of a compressed file, about."""


def read_documents(
    paths: Sequence[str | Path], options: CorpusOptions = DEFAULT_OPTIONS
) -> Iterator[Document]:
    """Read all documents that are not empty, path by path, and files within a path in name order.

    A document of more than `MAX_CHARACTERS` is read as several, so that memory stays bounded.

    Args:
        paths: files, folders, or names of data sets on a hub.
        options: the part of them that is read.

    Yields:
        Documents. Reading is lazy: errors in a file are raised when it is reached.

    Raises:
        CorpusError: a path is not a file, a folder with text, or a data set; a file is damaged, is not UTF-8
            or has no column of text; or there is no text at all.
    """
    is_empty = True
    for path in paths:
        for document in _read_path(path, options):
            if document.text:
                is_empty = False
                yield document
    if is_empty:
        raise _no_text(paths)


def check_corpus(paths: Sequence[str | Path], options: CorpusOptions = DEFAULT_OPTIONS) -> None:
    """Open every file of a corpus and look at its first rows, and log what is left out.

    A wrong file is so refused before any work is done. Looking ends after some seconds; the files that are
    left are checked when they are read.

    Raises:
        CorpusError: a path, or what was seen of a file, cannot be read; or there is no text at all.
    """
    found = [find_files(Path(path), options) for path in paths if is_local(path)]
    for path in paths:
        if not is_local(path):
            hub_name(str(path))
    for line in (*corpus_notes(found, options), *left_out_lines(found)):
        _log.warning("%s", line)
    files = [file for one in found for file in one.files]
    end, has_text = time.monotonic() + _SECONDS_OF_LOOKING, len(found) < len(paths)
    for n_done, file in enumerate(files):
        if time.monotonic() > end:
            _log.warning("only the first %d of %d files were looked at before reading", n_done, len(files))
            return
        has_text |= any(document.text for document in islice(read_file(file, options), _ROWS_LOOKED_AT))
    if not has_text and all(file.n_bytes == 0 for file in files):
        raise _no_text(paths)


def corpus_notes(found: Sequence[FileSelection], options: CorpusOptions) -> list[str]:
    """Return a sentence for each choice that was made in finding files, and for each likely mistake."""
    notes = [note for one in found for note in one.notes]
    files = [file for one in found for file in one.files]
    if len(found) > 1:
        times = Counter(os.path.realpath(file.path) for file in files)
        if twice := [name for name, n in times.items() if n > 1]:
            notes.append(
                f"{len(twice):,} files are given more than once and read each time, such as "
                f"{printable(twice[0])}"
            )
    texts = [file for file in files if file.kind == "text" and file.n_bytes > 0]
    long = [file for file in texts if file.n_bytes > _LONG_FILE]
    if long and options.separator is None:
        notes.append(
            f"{long[0].shown} is one document of {long[0].n_bytes >> 20} MB, read in parts of a million "
            "characters. If it holds many documents, give what stands between them: --separator "
            "'<|endoftext|>'"
        )
    if texts and options.separator is not None and texts[0].compression is None:
        with explained(texts[0]), open(texts[0].path, "rb") as stream:
            head = stream.read(MAX_CHARACTERS)
        if options.separator.encode("utf-8", "replace") not in head:
            notes.append(f"{texts[0].shown}: the separator does not occur in its first {len(head):,} bytes")
    return notes


def read_file(file: CorpusFile, options: CorpusOptions) -> Iterator[Document]:
    """Read the documents of one file, empty ones included.

    Raises:
        CorpusError: the file is damaged, is not UTF-8 or has no column of text.
    """
    if file.n_bytes == 0:
        return
    # Without the folders above, which are private to a machine.
    (origin,) = corpus_names([file.path], DEFAULT_OPTIONS)
    if file.kind == "text":
        stem = Path(printable(file.path.name)).stem
        source = Path(stem).stem if file.compression else stem
        for text in read_text(file, options.separator):
            yield Document(text, source=source, origin=origin)
        return
    if file.kind in ("parquet", "arrow"):
        from solu_model.text.corpus.tables import table_documents

        documents = table_documents(file, options, "", origin)
    else:
        rows = read_json(file) if file.kind == "json" else read_csv(file, options)
        documents = (row_document(row, file.shown, options, "", origin) for row in rows)
    for document in documents:
        yield from _parts(document)


def in_batches(items: Iterable[_Item], most: int, text: Callable[[_Item], str]) -> Iterator[list[_Item]]:
    """Yield items in groups to tokenize together: at most `most`, and fewer where their texts are long.

    Tokenizing takes about 100 bytes of memory for each character of a group.
    """
    group: list[_Item] = []
    n_characters = 0
    for item in items:
        n_characters += len(text(item))
        if group and n_characters > _CHARACTERS_AT_ONCE:
            yield group
            group, n_characters = [], len(text(item))
        group.append(item)
        if len(group) == most:
            yield group
            group, n_characters = [], 0
    if group:
        yield group


def corpus_files(
    paths: Sequence[str | Path], options: CorpusOptions = DEFAULT_OPTIONS
) -> list[FileSelection]:
    """Return the files of each path that is on disk."""
    return [find_files(Path(path), options) for path in paths if is_local(path)]


def corpus_bytes(paths: Sequence[str | Path], options: CorpusOptions = DEFAULT_OPTIONS) -> int | None:
    """Return the approximate number of bytes of text in a corpus; None if part of it is not on disk.

    It is meant for progress bars: the size of a Parquet file is that of its uncompressed column of text, the
    size of any other file its size on disk, or thrice that if it is compressed.
    """
    if not all(map(is_local, paths)):
        return None
    return sum(text_bytes(file, options) for found in corpus_files(paths, options) for file in found.files)


def text_bytes(file: CorpusFile, options: CorpusOptions) -> int:
    """Return the approximate number of bytes of text in a file."""
    if file.kind == "parquet" and file.compression is None:
        from solu_model.text.corpus.tables import parquet_text_bytes

        return parquet_text_bytes(file, options.column)
    return file.n_bytes * (1 if file.compression is None else UNPACKED)


def is_local(path: str | Path) -> bool:
    """Return True for a path on disk, also one that may not be opened; False for what may be a hub's.

    Raises:
        CorpusError: the path is empty, as a shell variable that is not set; `Path` takes it for this folder.
    """
    if path == "":
        raise CorpusError("expected a file, a folder or a data set of a hub, found an empty path")
    try:
        return Path(path).exists()
    except ValueError:  # a NUL
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def _read_path(path: str | Path, options: CorpusOptions) -> Iterator[Document]:
    if not is_local(path):
        for document in hub_documents(str(path), options):
            yield from _parts(document)
        return
    for file in find_files(Path(path), options).files:
        yield from read_file(file, options)


def _parts(document: Document) -> Iterator[Document]:
    """Yield a document, or its parts if it is too long to be one."""
    for text in cut(document.text):
        if text is document.text:
            yield document
        else:
            yield Document(text, document.source, document.lang, document.licence, document.origin)


def _no_text(paths: Sequence[str | Path]) -> CorpusError:
    return CorpusError(
        f"no text in {', '.join(printable(path) for path in paths)[:500] or 'an empty list of paths'}: "
        "expected at least one document that is not empty"
    )
