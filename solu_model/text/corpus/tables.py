"""Read documents from Parquet and Arrow files, a batch of rows at a time and only the columns needed."""

import codecs
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from solu_model.text.corpus.document import CorpusError, CorpusOptions, Document
from solu_model.text.corpus.files import CorpusFile
from solu_model.text.corpus.rows import (
    PROVENANCE,
    Row,
    missing_column,
    not_text,
    repeated_column,
    row_document,
)
from solu_model.text.corpus.streams import seekable

_BATCH = 256  # most rows read at a time
_BATCH_BYTES = 2**25  # of their text, about
_CONVERTED = 16  # rows that are strings of Python at a time


def table_documents(file: CorpusFile, options: CorpusOptions, source: str, origin: str) -> Iterator[Document]:
    """Yield the documents of a Parquet or Arrow file.

    Raises:
        CorpusError: it is damaged, or has no column of text.
    """
    with seekable(file) as stream:
        batches = _parquet_batches if file.kind == "parquet" else _arrow_batches
        n_rows = 0
        for batch in batches(file, stream, options):
            # A value of a dictionary is held once in the batch, but once a row when it is converted.
            for start in range(0, batch.num_rows, _CONVERTED):
                rows = batch.slice(start, _CONVERTED)
                yield from _batch_documents(rows, n_rows, file.shown, options, source, origin)
                n_rows += rows.num_rows


def parquet_text_bytes(file: CorpusFile, column: str) -> int:
    """Return the uncompressed size of a column of a Parquet file; 0 if the file is damaged."""
    try:
        with seekable(file) as stream:
            metadata = pq.read_metadata(stream)
    except CorpusError:
        return 0  # reading the file will raise the error with the cause
    total = 0
    for group in range(metadata.num_row_groups):
        columns = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
        total += sum(c.total_uncompressed_size for c in columns if c.path_in_schema == column)
    return total


def parquet_rows(file: CorpusFile) -> int:
    """Return the number of rows of a Parquet file."""
    with seekable(file) as stream:
        return int(pq.read_metadata(stream).num_rows)


def table_columns(file: CorpusFile) -> dict[str, str]:
    """Return the type of each column of a Parquet or Arrow file."""
    with seekable(file) as stream:
        schema = pq.read_schema(stream) if file.kind == "parquet" else _arrow_reader(stream).schema
        return {field.name: str(field.type)[:60] for field in schema}


def _parquet_batches(file: CorpusFile, stream: Any, options: CorpusOptions) -> Iterator[pa.RecordBatch]:
    table = pq.ParquetFile(stream)
    columns = _columns(file, table.schema_arrow, options)
    for group in range(table.num_row_groups):
        metadata = table.metadata.row_group(group)
        chunks = (metadata.column(i) for i in range(metadata.num_columns))
        n_bytes = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)
        # Rows may be whole books.
        n_rows = max(1, min(_BATCH, _BATCH_BYTES * metadata.num_rows // max(1, n_bytes)))
        yield from table.iter_batches(batch_size=n_rows, row_groups=[group], columns=columns)


def _arrow_batches(file: CorpusFile, stream: Any, options: CorpusOptions) -> Iterator[pa.RecordBatch]:
    reader = _arrow_reader(stream)
    columns = _columns(file, reader.schema, options)
    for batch in _each_batch(reader):
        chosen = batch.select(columns)
        _check_offsets(chosen)
        for start in range(0, chosen.num_rows, _BATCH):
            yield chosen.slice(start, _BATCH)


def _arrow_reader(stream: Any) -> Any:
    """Open an Arrow file, of the format for files or for streams (as `datasets` writes it)."""
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _each_batch(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        yield from reader


def _check_offsets(batch: pa.RecordBatch) -> None:
    """Raise pyarrow's ArrowInvalid for a damaged batch; reading on would look at memory outside of it.

    Text that is not UTF-8 passes: `_values` names its row.
    """
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for column in batch.columns:
        column.view(as_bytes.get(column.type, column.type)).validate(full=True)


def _columns(file: CorpusFile, schema: pa.Schema, options: CorpusOptions) -> list[str]:
    """Return the columns to read.

    Raises:
        CorpusError: the column of text is missing, or is of no type that is text.
    """
    if options.column not in schema.names:
        raise missing_column(file, options, schema.names)
    if schema.names.count(options.column) > 1:
        raise repeated_column(file, options)
    kind = schema.field(options.column).type
    if pa.types.is_nested(kind):
        are_ids = (
            pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        ) and pa.types.is_integer(kind.value_type)
        raise not_text(file.shown, options, f"the type {str(kind)[:80]}", are_ids=are_ids)
    others = [name for name in PROVENANCE if name != options.column and schema.names.count(name) == 1]
    return [options.column, *others]


def _batch_documents(
    batch: pa.RecordBatch, n_before: int, place: str, options: CorpusOptions, source: str, origin: str
) -> Iterator[Document]:
    columns = {name: _values(batch, name, n_before, place) for name in batch.schema.names}
    names = list(columns)
    for number, values in enumerate(zip(*columns.values(), strict=True), n_before + 1):
        row = Row(number, "row", dict(zip(names, values, strict=True)))
        yield row_document(row, place, options, source, origin)


def _values(batch: pa.RecordBatch, name: str, n_before: int, place: str) -> list[Any]:
    column = batch.column(name)
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
        for number, value in enumerate(values, n_before + 1):
            try:
                codecs.decode(value or b"", "utf-8")
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{place}, row {number:,}: {error.reason} at byte {error.start:,} of column {name!r}, "
                    "expected UTF-8: write the file again"
                ) from error
        raise
    except Exception as error:  # dates that Python cannot hold, unknown time zones, damaged offsets
        raise CorpusError(
            f"{place}, rows {n_before + 1:,} to {n_before + batch.num_rows:,}: the column {name!r} of type "
            f"{str(column.type)[:60]} cannot be read ({str(error)[:100]}): write it again as text"
        ) from error
