"""Write all neurons of a layer as CSV and Parquet, with their labels."""

import io
import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from cache.reader import NeuronCache
from dashboard.neuron.exports.neuron_record import provenance
from dashboard.neuron.exports.tables import rows_to_csv
from dashboard.shared.annotations.content import Annotation


def layer_table(
    cache: NeuronCache, model: str, layer: int, hook: str, labels: Mapping[int, Annotation]
) -> pa.Table:
    """Return a table with a row for each neuron.

    Its columns are those of `NeuronCache.table`, the texts of the peaks, label, star, verdict, and the name
    of the person who gave them. The provenance is in the schema's metadata.

    Args:
        labels: annotations by neuron.

    Raises:
        CacheError: there is no such layer or hook, or the cache is damaged.
    """
    table = cache.table(layer, hook)
    annotations = [labels.get(neuron) for neuron in table["neuron"].to_pylist()]
    peaks = [[cache.vocabulary.text(t) for t in tokens] for tokens in table["peak_tokens"].to_pylist()]
    columns = {
        "peak_texts": pa.array(peaks, pa.list_(pa.string())),
        "label": pa.array([a.content.label if a else "" for a in annotations], pa.string()),
        "star": pa.array([bool(a and a.content.star) for a in annotations], pa.bool_()),
        "verdict": pa.array([a.content.verdict if a else "" for a in annotations], pa.string()),
        "labelled_by": pa.array([a.user if a else "" for a in annotations], pa.string()),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    heading = {"format": "solu-explorer-layer", "version": 1, "model": model, "provenance": provenance(cache)}
    return table.replace_schema_metadata({"solu-explorer": json.dumps(heading)})


def layer_to_parquet(table: pa.Table) -> bytes:
    """Return the table as Parquet, with its provenance in the file's metadata."""
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def layer_to_csv(table: pa.Table) -> bytes:
    """Return a CSV with a row for each neuron and the provenance in the last columns; see `rows_to_csv`."""
    heading = json.loads(table.schema.metadata[b"solu-explorer"])
    origin = {"model": heading["model"], **heading["provenance"]}
    return rows_to_csv([*table.column_names, *origin], [row | origin for row in table.to_pylist()])
