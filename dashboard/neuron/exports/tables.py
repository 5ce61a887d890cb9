"""Write a neuron's record as JSON, CSV and Parquet; every file holds its provenance."""

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.spreadsheet import guarded
from dashboard.neuron.exports.neuron_record import Record

EXAMPLES_SCHEMA = pa.schema(
    [
        ("hook", pa.string()),
        ("kind", pa.string()),
        ("rank", pa.int32()),
        ("value", pa.float64()),
        ("range_low", pa.float64()),
        ("range_high", pa.float64()),
        ("text", pa.string()),
        ("peak_text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("peak", pa.int32()),
        ("activations", pa.list_(pa.float32())),
        ("position", pa.int64()),
        ("context_start", pa.int64()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("licence", pa.string()),
        ("origin", pa.string()),
    ]
)
"""Columns of the examples, a row for each; `activations` are those at the row's own hook."""


def to_json(record: Record) -> bytes:
    """Return the whole record as JSON."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1).encode()


def examples_to_csv(record: Record) -> bytes:
    """Return a CSV with a row for each example; see `rows_to_csv`."""
    return rows_to_csv(
        [*EXAMPLES_SCHEMA.names, *_origin(record)], [r | _origin(record) for r in _rows(record)]
    )


def histograms_to_csv(record: Record) -> bytes:
    """Return a CSV with a row for each bin of each hook's histogram; empty bins are left out."""
    rows = [
        {"hook": hook, **row, **_origin(record)}
        for hook, part in record["hooks"].items()
        for row in part["histogram"]
    ]
    return rows_to_csv(["hook", "low", "high", "count", *_origin(record)], rows)


def examples_to_parquet(record: Record) -> bytes:
    """Return a Parquet file with a row for each example, and the provenance in its metadata."""
    heading = {key: record[key] for key in ("format", "version", "model", "layer", "neuron", "provenance")}
    schema = EXAMPLES_SCHEMA.with_metadata({"solu-explorer": json.dumps(heading)})
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows(record), schema=schema), out)
    return out.getvalue()


def _rows(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "range_low": None,
            "range_high": None,
            **{name: row[name] for name in EXAMPLES_SCHEMA.names if name in row},
            "hook": hook,
            "text": "".join(piece["text"] for piece in row["pieces"]),
            "peak_text": peak_text(row),
            "activations": row["activations"][hook],
        }
        for hook, part in record["hooks"].items()
        for row in part["examples"]
    ]


def peak_text(example: Record) -> str:
    """Return the text of an example's peak: its token, with those that it shares a character with."""
    peak = example["peak"]
    return next(str(p["text"]) for p in example["pieces"] if p["first"] <= peak < p["first"] + p["n_tokens"])


def _origin(record: Record) -> dict[str, Any]:
    """Return the columns that give the provenance in every row of a CSV."""
    p = record["provenance"]
    names = ("checkpoint_sha256", "corpus", "corpus_sha256", "dtype", "exported_with")
    return {key: record[key] for key in ("model", "layer", "neuron")} | {name: p[name] for name in names}


def rows_to_csv(columns: list[str], rows: list[dict[str, Any]]) -> bytes:
    """Return rows as CSV: lists as JSON, None as an empty cell, cells like formulas guarded."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: guarded(_cell(value)) for name, value in row.items()})
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
