"""Read documents from text, JSON and CSV files, a piece at a time."""

import codecs
import csv
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, NoReturn

from solu_model.text.corpus.document import MAX_CHARACTERS, CorpusError, CorpusOptions
from solu_model.text.corpus.files import CorpusFile
from solu_model.text.corpus.rows import Row, missing_column, repeated_column
from solu_model.text.corpus.streams import opened

_PIECE = 2**20  # bytes read at a time
_MOST_ROW = 2**28  # bytes of one row, all of which is held in memory
_BOM = b"\xef\xbb\xbf"


class Number(str):
    """A number of a JSON file, as it is written there."""


def read_text(file: CorpusFile, separator: str | None) -> Iterator[str]:
    """Yield the documents of a text file: all of it, or what stands between two separators.

    With a separator, line breaks at the ends of a document are dropped. A document of more than
    MAX_CHARACTERS is yielded in parts, see `cut`.
    """
    with opened(file) as stream:
        pieces = _decoded(file, stream)
        if separator is None:
            yield from _cut_stream(pieces)
            return
        document, is_start = "", True
        for piece in pieces:
            *ended, document = (document + piece).split(separator)
            for text in ended:
                yield from _trimmed(text, is_start=is_start, is_end=True)
                is_start = True
            while len(document) > 2 * MAX_CHARACTERS + len(separator):
                end = cut_position(document)
                yield from _trimmed(document[:end], is_start=is_start, is_end=False)
                document, is_start = document[end:], False
        yield from _trimmed(document, is_start=is_start, is_end=True)


def _trimmed(text: str, *, is_start: bool, is_end: bool) -> Iterator[str]:
    """Yield a document, or a part of one, without the line breaks at the document's own ends."""
    if is_start:
        text = text.lstrip("\r\n")
    if is_end:
        text = text.rstrip("\r\n")
    if text:
        yield from cut(text)


def _decoded(file: CorpusFile, stream: IO[bytes]) -> Iterator[str]:
    """Yield the text of a UTF-8 file in pieces, without a byte order mark.

    Raises:
        CorpusError: it is not UTF-8; the message names the first wrong byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_read, is_first = 0, True
    while True:
        content = stream.read(_PIECE)
        if is_first and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            _refuse_encoding(file, "it begins as UTF-16 does", "UTF-16")
        if is_first and content[:4096].count(0) > 8 + len(content[:4096]) // 8:
            _refuse_encoding(file, "it is full of NUL bytes, as UTF-16 or a binary file is", "UTF-16LE")
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            at = n_read - held + error.start
            _refuse_encoding(file, f"{error.reason} at byte {at:,}", "LATIN1", error)
        n_read += len(content)
        if is_first:
            text, is_first = text.removeprefix("\ufeff"), False
        if text:
            yield text
        if not content:
            return


def _refuse_encoding(file: CorpusFile, reason: str, name: str, cause: Exception | None = None) -> NoReturn:
    raise CorpusError(
        f"{file.shown} is not UTF-8 ({reason}): convert it, e.g. iconv -f {name} -t UTF-8 {file.name}"
    ) from cause


def cut(text: str) -> Iterator[str]:
    """Yield a text, in parts if it has more than MAX_CHARACTERS: each ends after a line or before a space.

    The parts joined are the text. A tokenizer may cut other tokens at the two sides of an end.
    """
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        end = cut_position(text, start)
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def cut_position(text: str, start: int = 0) -> int:
    """Return the end of the part that begins at `start`; more than MAX_CHARACTERS follow it."""
    end, least = start + MAX_CHARACTERS, start + MAX_CHARACTERS // 2
    if (line := text.rfind("\n", least, end)) >= 0:
        return line + 1
    space = text.rfind(" ", least, end)
    return space if space >= 0 else end


def _cut_stream(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the parts that `cut` yields of all pieces joined, holding two parts at most."""
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > MAX_CHARACTERS:
            end = cut_position(held)
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def read_json(file: CorpusFile) -> Iterator[Row]:
    """Yield the rows of a JSON file: one a line, or the elements of an array, or values one after another.

    Raises:
        CorpusError: a row is not valid JSON; the message names its line.
    """
    with opened(file) as stream:
        head = stream.read(len(_BOM))
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            _refuse_encoding(file, "it begins as UTF-16 does", "UTF-16")
        lines = _Lines(file, stream, b"" if head == _BOM else head)
        first = lines.next_filled()
        if first is None:
            return
        if first.lstrip().startswith(b"["):
            yield from _array_rows(file, lines, first)
            return
        try:
            value = _decode_json(first)
        except (ValueError, RecursionError):
            # An object over several lines, as indenting writers make it; else the error is raised there.
            yield from _array_rows(file, lines, first)
            return
        yield Row(lines.number, "line", value)
        while (line := lines.next_filled()) is not None:
            try:
                value = _decode_json(line)
            except (ValueError, RecursionError) as error:
                _refuse_json(file, lines.number, error)
            yield Row(lines.number, "line", value)


class _Lines:
    """Lines of a file with their numbers, from 1; a line that is too long is refused, not held."""

    def __init__(self, file: CorpusFile, stream: IO[bytes], head: bytes) -> None:
        self._file, self._stream, self._head = file, stream, head
        self.number = 0

    def next_filled(self) -> bytes | None:
        """Return the next line that is not blank; None at the end."""
        while line := self._head + self._stream.readline(_MOST_ROW):
            self._head = b""
            self.number += 1
            if len(line) >= _MOST_ROW:
                raise CorpusError(
                    f"{self._file.shown}, line {self.number:,} has more than {_MOST_ROW >> 20} MB: expected "
                    "a row of JSON a line, or an array of rows"
                )
            if not line.isspace():
                return line
        return None

    def more(self, n_bytes: int) -> bytes:
        """Return the next bytes, of any number of lines; empty at the end."""
        return self._stream.read(n_bytes)


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number)
_SPACE = re.compile(r"[ \t\r\n]*")
_ESCAPE = 16  # characters of the longest token that may be half read, an escaped character or a literal


def _decode_json(line: bytes) -> Any:
    return _without_surrogates(_DECODER.decode(line.decode("utf-8")), b"\\u" in line)


def _array_rows(file: CorpusFile, lines: _Lines, first: bytes) -> Iterator[Row]:
    """Yield the values of a JSON file that are not one a line: elements of arrays, or indented objects."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, n_rows = lines.number, 0  # line of the first character held
    text, content, at = "", first, 0
    in_array = needs_comma = is_end = False
    while True:
        number += text.count("\n", 0, at)
        try:
            text, at = text[at:] + decoder.decode(content, final=is_end), 0
        except UnicodeDecodeError as error:
            _refuse_json(file, number, error)
        while (at := _after_space(text, at)) < len(text):
            mark = text[at]
            if in_array and mark == "]":
                in_array = needs_comma = False
            elif in_array and needs_comma and mark == ",":
                needs_comma = False
            elif in_array and needs_comma:
                _refuse_json(file, number + text.count("\n", 0, at), ValueError("expected a comma"))
            elif not in_array and mark == "[":
                in_array = True
            else:
                try:
                    value, end = _DECODER.raw_decode(text, at)
                except RecursionError as error:
                    _refuse_json(file, number + text.count("\n", 0, at), error)
                except json.JSONDecodeError as error:
                    is_unfinished = error.msg.startswith("Unterminated") or error.pos > len(text) - _ESCAPE
                    if is_end or not is_unfinished:
                        _refuse_json(file, number + text.count("\n", 0, error.pos), error)
                    break
                if end == len(text) and not is_end:
                    break  # a number may go on
                n_rows += 1
                yield Row(n_rows, "row", _without_surrogates(value, "\\u" in text[at:end]))
                at, needs_comma = end, in_array
                continue
            at += 1
        if is_end:
            if in_array:
                _refuse_json(file, number + text.count("\n"), ValueError("the array has no end"))
            return
        if len(text) - at > _MOST_ROW:
            raise CorpusError(f"{file.shown}, row {n_rows + 1:,} has more than {_MOST_ROW >> 20} MB")
        # As much again as is held, so that a long row is not parsed from its start too often.
        content = lines.more(max(_PIECE, len(text) - at))
        is_end = not content


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches the empty string
    return match.end()


def _without_surrogates(value: Any, has_escapes: bool) -> Any:
    """Replace lone surrogates, which JSON can escape but UTF-8 cannot hold, by the replacement character."""
    if not has_escapes or value is None:
        return value
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {key: _without_surrogates(item, has_escapes) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item, has_escapes) for item in value]
    return value


def _refuse_json(file: CorpusFile, line: int, error: Exception) -> NoReturn:
    if isinstance(error, UnicodeDecodeError):
        _refuse_encoding(file, f"{error.reason} in line {line:,}", "LATIN1", error)
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
    raise CorpusError(
        f"{file.shown}, line {line:,} is not JSON ({reason}): expected an object with the text on each line, "
        "or an array of such objects"
    ) from error


def read_csv(file: CorpusFile, options: CorpusOptions | None) -> Iterator[Row]:
    """Yield the rows of a file of comma- or tab-separated values, whose first line names the columns.

    Args:
        file: the file.
        options: the column of text, which must be there; None: there may be any columns.

    Raises:
        CorpusError: there is no column of text, or a row cannot be read; the message names its line.
    """
    csv.field_size_limit(_MOST_ROW)
    with opened(file) as stream:
        lines = _text_lines(file, stream)
        header = next(lines, "")
        if not header:
            return
        if "\r" in header.rstrip("\r\n"):
            raise CorpusError(
                f"{file.shown}: its lines end in a carriage return alone, as old spreadsheets write them: "
                f"convert it, e.g. tr '\\r' '\\n' < {file.name}"
            )
        # Semicolons are what spreadsheets write where the comma is the decimal sign.
        marks = "\t,;" if ".tsv" in file.name.lower() else ",;\t"
        headers = {mark: next(csv.reader([header], delimiter=mark), []) for mark in marks}
        mark = max(marks, key=lambda mark: len(headers[mark]))
        if options is not None:
            mark = next((mark for mark in marks if options.column in headers[mark]), mark)
        names = headers[mark]
        if options is not None and options.column not in names:
            raise missing_column(file, options, names)
        if options is not None and names.count(options.column) > 1:
            raise repeated_column(file, options)
        n_least = 1 if options is None else names.index(options.column) + 1
        # Without `strict`, a quotation mark that is missing hides the rest of the file in one value.
        reader = csv.reader(chain([header], lines), delimiter=mark, strict=True)
        n_before = 0
        try:
            next(reader)
            n_before = reader.line_num
            for values in reader:
                number, n_before = n_before + 1, reader.line_num
                if not values:
                    continue  # a blank line
                # What stands after the last column may be a part of the text, cut at a mark in it.
                if len(values) < n_least or any(values[len(names) :]):
                    missing = "before it" if len(values) < n_least else "around a value"
                    raise CorpusError(
                        f"{file.shown}, line {number:,} has {len(values)} columns, expected "
                        f"{len(names)}: is a quotation mark missing {missing}?"
                    )
                yield Row(number, "line", dict(zip(names, values, strict=False)))
        except csv.Error as error:
            raise CorpusError(
                f"{file.shown}, line {n_before + 1:,} cannot be read as CSV ({error}): expected every value "
                "with a quotation mark in it to be quoted, and the mark in it doubled"
            ) from error


def _text_lines(file: CorpusFile, stream: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, with their ends."""
    held = ""
    for piece in _decoded(file, stream):
        # Not `splitlines`, which ends lines at characters that are part of a text.
        *lines, held = (held + piece).split("\n")
        for line in lines:
            yield line + "\n"
        if len(held) > _MOST_ROW:
            raise CorpusError(f"{file.shown} has a line of more than {_MOST_ROW >> 20} MB: is it CSV?")
    if held:
        yield held
