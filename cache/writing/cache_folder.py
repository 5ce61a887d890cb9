"""Write the folder of a cache: Parquet tables, a manifest and checksums, all or nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cache.format import schema
from cache.format.schema import Manifest
from cache.shards.state import BuildState
from cache.statistics import token_totals
from cache.storage.checksums import write_checksums
from cache.storage.disk import atomic_write
from cache.storage.targets import check_cache_target
from cache.writing.rows import BEST, Columns, example_rows, neuron_rows

COMPRESSION: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 12,
    # In other columns a dictionary hides from zstd that whole windows repeat: examples took a third more.
    "use_dictionary": ["layer", "neuron", "hook", "kind", "range", "rank", "sources.list.element", "source"],
}
_TOKENS_AT_ONCE = 512
"""Tokens of the vocabulary whose neurons are ranked together."""
_LONG_COLUMNS = {
    "bins", "bin_counts", "tokens", "levels_hook_mid", "levels_hook_post", "document", "position",
    "context_start", "peak",
}  # fmt: skip
NEURONS_IN_GROUP = 32768
"""Rows in a row group of `neurons.parquet`."""


def write_cache(out: Path, state: BuildState, token_bytes: Sequence[bytes]) -> Manifest:
    """Write a cache, all or nothing; an older cache is replaced at the end.

    Args:
        out: the folder.
        state: of the whole corpus; it is brought into canonical form.
        token_bytes: the bytes of each token, by its id.

    Returns:
        The manifest that was written.

    Raises:
        CacheError: `out` exists and is not a cache.
        NotWritten: the disk is full.
    """
    check_cache_target(out)
    state.canonicalize()
    manifest = state.manifest()
    # Nothing here depends on time or machine: equal states give equal bytes.
    with atomic_write(out) as aside:
        aside.mkdir()
        _write(
            aside / schema.VOCABULARY,
            schema.VOCABULARY_SCHEMA,
            {
                "token": np.arange(len(token_bytes), dtype=np.int32),
                "bytes": pa.array(token_bytes, pa.binary()),
                "count": state.token_counts[
                    : len(token_bytes)
                ],  # the model may have more ids than the tokenizer
            },
        )
        _write_neurons(aside, state)
        _write_tokens(aside, state)
        _write_sample(aside, state)
        _write_documents(aside, state)
        (aside / schema.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        write_checksums(aside)
    return manifest


def small_groups(table_schema: pa.Schema) -> dict[str, Any]:
    """Return Parquet options for a file with few neurons in a row group.

    Only long columns are compressed, since each compressed column takes 0.05 ms to read. Statistics are
    written only for the columns by which rows are looked up.
    """
    paths = [f"{c.name}.list.element" if pa.types.is_nested(c.type) else c.name for c in table_schema]
    return COMPRESSION | {
        "compression": {
            path: "zstd" if path.partition(".")[0] in _LONG_COLUMNS else "none" for path in paths
        },
        "compression_level": {path: 12 for path in paths if path.partition(".")[0] in _LONG_COLUMNS},
        "write_statistics": ["layer", "neuron", "hook"],
    }


def _write(file: Path, table_schema: pa.Schema, columns: Columns) -> None:
    pq.write_table(pa.table(columns, schema=table_schema), file, **COMPRESSION)


def _write_neurons(folder: Path, state: BuildState) -> None:
    """Write `neurons.parquet`, and all files of `profiles/` and `examples/`."""
    step, group_size = state.settings.neurons_per_part, schema.NEURONS_PER_ROW_GROUP
    summaries: dict[str, list[pa.Table]] = {hook: [] for hook in state.settings.hooks}
    profile_options, example_options = (
        small_groups(schema.PROFILES_SCHEMA),
        small_groups(schema.EXAMPLES_SCHEMA),
    )
    with pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **COMPRESSION) as table:
        for layer, hooks in state.layers.items():
            # A file for a few neurons, so that a page reads little and no file grows with the model.
            for first in range(0, state.settings.model.d_mlp, step):
                last = min(first + step, state.settings.model.d_mlp)
                part = schema.part_name(layer, first, step)
                profiles, examples = folder / schema.PROFILES / part, folder / schema.EXAMPLES / part
                profiles.parent.mkdir(parents=True, exist_ok=True)
                examples.parent.mkdir(parents=True, exist_ok=True)
                with (
                    pq.ParquetWriter(profiles, schema.PROFILES_SCHEMA, **profile_options) as profile_file,
                    pq.ParquetWriter(examples, schema.EXAMPLES_SCHEMA, **example_options) as example_file,
                ):
                    for a in range(first, last, group_size):
                        rows = slice(a, min(a + group_size, last))
                        parts = [
                            neuron_rows(layer, name, rows, hook, state)
                            for name, hook in zip(state.settings.hooks, hooks, strict=True)
                        ]
                        for name, (summary, _) in zip(state.settings.hooks, parts, strict=True):
                            summaries[name].append(summary)
                        _write_group(profile_file, [profile for _, profile in parts], ["neuron", "hook"])
                        _write_group(
                            example_file,
                            [
                                example_rows(layer, index, rows, hook, state)
                                for index, hook in enumerate(hooks)
                            ],
                            ["neuron", "hook", "kind", "range", "rank"],
                        )
            for name in state.settings.hooks:
                table.write_table(pa.concat_tables(summaries[name]), row_group_size=NEURONS_IN_GROUP)
                summaries[name].clear()


def _write_group(writer: pq.ParquetWriter, tables: list[pa.Table], order: list[str]) -> None:
    """Write tables as one row group, sorted by the columns of `order`."""
    table = pa.concat_tables(tables).sort_by([(name, "ascending") for name in order])
    writer.write_table(table, row_group_size=max(len(table), 1))


def _write_tokens(folder: Path, state: BuildState) -> None:
    """Write `tokens.parquet`: the neurons of highest mean on each token, relative to their maximum."""
    with pq.ParquetWriter(folder / schema.TOKENS, schema.TOKENS_SCHEMA, **COMPRESSION) as writer:
        for layer, hooks in state.layers.items() if state.settings.by_token else ():
            for name, hook in zip(state.settings.hooks, hooks, strict=True):
                # A neuron that is never above 0 has no maximum to compare with, and is left out.
                high = hook.extremes[1].astype(np.float64)
                allowed = np.isfinite(high) & (high > 0)
                scale = np.where(allowed, high, 1.0)
                for first in range(0, len(state.token_counts), _TOKENS_AT_ONCE):
                    rows = slice(first, first + _TOKENS_AT_ONCE)
                    counts = state.token_counts[rows]
                    means = token_totals.means(token_totals.whole(hook.token_totals[rows]), counts)
                    best = token_totals.highest(means / scale, BEST, allowed)
                    neurons = [row[row >= 0] if n else row[:0] for row, n in zip(best, counts, strict=True)]
                    columns: Columns = {
                        "layer": np.full(len(counts), layer, np.int32),
                        "hook": [name] * len(counts),
                        "token": np.arange(first, first + len(counts), dtype=np.int32),
                        "neurons": [n.astype(np.int32) for n in neurons],
                        "means": [line[n].astype(np.float32) for line, n in zip(means, neurons, strict=True)],
                    }
                    writer.write_table(pa.table(columns, schema=schema.TOKENS_SCHEMA))


def _write_sample(folder: Path, state: BuildState) -> None:
    contexts = state.sample.contexts
    columns: Columns = {
        "document": [document for _, document, _, _ in contexts],
        "context_start": [start for _, _, start, _ in contexts],
        "tokens": [np.frombuffer(tokens, dtype="<u4").astype(np.int32) for _, _, _, tokens in contexts],
    }
    _write(folder / schema.SAMPLE, schema.SAMPLE_SCHEMA, columns)


def _write_documents(folder: Path, state: BuildState) -> None:
    documents = sorted(state.documents.items())
    columns: Columns = {"document": [document for document, _ in documents]} | {
        name: [getattr(provenance, name) for _, provenance in documents]
        for name in ("source", "lang", "licence", "origin")
    }
    _write(folder / schema.DOCUMENTS, schema.DOCUMENTS_SCHEMA, columns)
