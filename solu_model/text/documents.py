"""Read a corpus: documents with their provenance.

A corpus is one or more paths: a Parquet, JSON-lines or text file, a folder of such files, or the name of a
data set on the Hugging Face hub. Parquet and JSON-lines files need a column `text`; the columns `source`,
`lang`, `licence` and `origin` are optional. A text file is one document. `datasets` does the reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Name of the builder of `datasets` for each suffix.
_BUILDERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".md": "text",
}

SUFFIXES = tuple(_BUILDERS)
"""Suffixes of the files that hold text."""


class CorpusError(ValueError):
    """A corpus cannot be read. The message states what was expected, the value received and the fix."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its provenance; unknown provenance is an empty string."""

    text: str
    source: str = ""
    """Kind of text, e.g. `code_rust`."""
    lang: str = ""
    """Language code, e.g. `en`."""
    licence: str = ""
    """Name of the licence of the text."""
    origin: str = ""
    """The exact place, e.g. `package==version:file`."""


def read_documents(paths: Sequence[str | Path]) -> Iterator[Document]:
    """Read all documents that are not empty, path by path, and files within a path in name order.

    Args:
        paths: files, folders, or names of data sets on a hub.

    Yields:
        Documents. Reading is lazy: errors in a file are raised when it is reached.

    Raises:
        CorpusError: a path is not a file, a folder with text, or a data set; a file is damaged, is not UTF-8
            or has no `text` column; or there is no text at all.
    """
    is_empty = True
    for path in paths:
        for document in _read_path(path):
            if document.text:
                is_empty = False
                yield document
    if is_empty:
        raise CorpusError(
            f"no text in {', '.join(map(str, paths)) or 'an empty list of paths'}: "
            "expected at least one document that is not empty"
        )


def corpus_files(path: Path) -> list[Path]:
    """Return the files with text of a corpus path, in name order."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix in _BUILDERS and p.is_file())


def corpus_bytes(paths: Sequence[str | Path]) -> int | None:
    """Return the approximate number of bytes of text in a corpus; None if part of it is not on disk.

    It is meant for progress bars: the size of a Parquet file is that of its uncompressed text column, the
    size of any other file its size on disk.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = 0
    for path in paths:
        if not Path(path).exists():
            return None
        for file in corpus_files(Path(path)):
            if file.suffix != ".parquet":
                total += file.stat().st_size
                continue
            try:
                groups = pq.read_metadata(file)
            except (pa.ArrowException, OSError):
                continue  # reading the file will raise an error with the cause
            for group in range(groups.num_row_groups):
                columns = (groups.row_group(group).column(i) for i in range(groups.num_columns))
                total += sum(c.total_uncompressed_size for c in columns if c.path_in_schema == "text")
    return total


def _read_path(path: str | Path) -> Iterator[Document]:
    local = Path(path)
    if not local.exists():
        yield from _read_hub(str(path))
        return
    files = corpus_files(local)
    if not files:
        raise CorpusError(f"{path} holds no text: expected files that end in {', '.join(_BUILDERS)}")
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Document]:
    from datasets import load_dataset

    builder = _BUILDERS.get(file.suffix)
    if builder is None:
        raise CorpusError(f"cannot read {file}: expected a file that ends in {', '.join(_BUILDERS)}")
    if file.stat().st_size == 0:
        return
    try:
        if builder == "text":  # read directly: `datasets` takes 0.2 s per file, too much for many small ones
            yield Document(file.read_bytes().decode(), source=file.stem, origin=_origin(file))
            return
        rows = load_dataset(builder, data_files=str(file), split="train", streaming=True)
        yield from _documents(rows, str(file), source="", origin=_origin(file))
    except CorpusError:
        raise
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file} is not UTF-8 ({error.reason} at byte {error.start}): convert it, "
            f"e.g. iconv -f LATIN1 -t UTF-8 {file.name}"
        ) from error
    except Exception as error:  # the readers behind `datasets` raise errors of many types
        raise CorpusError(
            f"cannot read {file} as {builder}: {error}. Is it damaged, or not a {builder} file?"
        ) from error


def _read_hub(name: str) -> Iterator[Document]:
    from datasets import load_dataset

    try:
        rows = load_dataset(name, split="train", streaming=True)
    except Exception as error:
        raise CorpusError(
            f"{name} is neither a local path nor a data set that can be downloaded ({error}): "
            "give a file, a folder or the name of a data set on the hub"
        ) from error
    yield from _documents(rows, name, source=name, origin=name)


def _origin(file: Path) -> str:
    """Return the file's name and its folder's name, without the path above, which is private to a machine."""
    return "/".join(file.parts[-2:])


def _documents(rows: Any, name: str, source: str, origin: str) -> Iterator[Document]:
    for row in rows:
        text = row.get("text")
        if not isinstance(text, str):
            raise CorpusError(
                f"{name} has no text in its column 'text': expected a string, found columns {', '.join(row)}"
            )
        yield Document(
            # A lone surrogate has no UTF-8 form; it becomes the replacement character.
            text=text.encode("utf-8", "replace").decode("utf-8"),
            source=row.get("source") or source,
            lang=row.get("lang") or "",
            licence=row.get("licence") or row.get("license") or "",
            origin=row.get("origin") or origin,
        )
