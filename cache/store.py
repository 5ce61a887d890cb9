"""Write a finished cache: Parquet tables and a manifest, aside and then renamed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cache import schema
from cache.accumulate import HookStatistics, LayerAccumulator
from cache.histogram import Histogram, moments_of
from cache.schema import Manifest
from solu_model.documents import Document
from solu_model.files import written_aside

_COMPRESSION = {"compression": "zstd", "compression_level": 12}
_PREVIEW = 8  # peak tokens kept with a neuron's row


@dataclass(frozen=True)
class Finished:
    """All that a cache holds, in memory."""

    manifest: Manifest
    layers: Mapping[int, LayerAccumulator]
    token_bytes: Sequence[bytes]
    documents: Mapping[int, Document]
    """Provenance of at least the documents that examples came from."""


def write_cache(out: Path, cache: Finished) -> None:
    """Write `out` as a whole or not at all; an older cache there is replaced at the end."""
    with written_aside(out) as aside:
        aside.mkdir()
        _write_vocabulary(aside, cache.token_bytes)
        _write_neurons(aside, cache)
        used = _write_examples(aside, cache)
        _write_documents(aside, cache.documents, used)
        text = cache.manifest.model_dump_json(indent=1) + "\n"
        (aside / schema.MANIFEST).write_text(text, encoding="utf-8")


def quantise(
    levels: npt.NDArray[np.float32], lengths: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Window activations as 256 even steps between the lowest and the highest of each window.

    Args:
        levels: `[N, W]`. lengths: `[N]` entries of each window that count.

    Returns:
        Steps `[N, W]`, low `[N]` and high `[N]`: the activation is low + step / 255 * (high - low), within
        (high - low) / 510. NaN and infinity become the nearest end.
    """
    inside = np.arange(levels.shape[1]) < lengths[:, None]
    finite = inside & np.isfinite(levels)
    low = np.min(levels, axis=1, where=finite, initial=np.inf)
    high = np.max(levels, axis=1, where=finite, initial=-np.inf)
    low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    span = np.where(high > low, high.astype(np.float64) - low, 1.0)
    clean = np.nan_to_num(levels.astype(np.float64), nan=0.0)
    steps = np.rint(np.clip((clean - low[:, None]) / span[:, None], 0.0, 1.0) * 255)
    return np.where(inside, steps, 0).astype(np.uint8), low.astype(np.float32), high.astype(np.float32)


def _write_vocabulary(folder: Path, token_bytes: Sequence[bytes]) -> None:
    table = pa.table(
        {"token": pa.array(range(len(token_bytes)), pa.int32()), "bytes": pa.array(token_bytes, pa.binary())},
        schema=schema.VOCABULARY_SCHEMA,
    )
    pq.write_table(table, folder / schema.VOCABULARY, **_COMPRESSION)


def _write_neurons(folder: Path, cache: Finished) -> None:
    with pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **_COMPRESSION) as writer:
        for layer, accumulator in cache.layers.items():
            for name, hook in zip(cache.manifest.hooks, accumulator.hooks, strict=True):
                writer.write_table(_neuron_rows(layer, name, hook), row_group_size=512)


def _neuron_rows(layer: int, name: str, hook: HookStatistics) -> pa.Table:
    count = hook.counts.sum(axis=1)
    mean, std, skewness, kurtosis = moments_of(count, hook.power_sums)
    seen = count > 0
    above = [
        Histogram(c).count_from(h / 10) if s and h > 0 else (0, np.nan)
        for c, h, s in zip(hook.counts, hook.extremes[:, 1], seen, strict=True)
    ]
    bins = [np.flatnonzero(row) for row in hook.counts]
    peaks = np.take_along_axis(hook.top.window, hook.top.peak[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    n_kept = (hook.top.document >= 0).sum(axis=1).clip(max=_PREVIEW)
    columns = {
        "layer": np.full(len(count), layer, np.int32),
        "neuron": np.arange(len(count), dtype=np.int32),
        "hook": [name] * len(count),
        "count": count,
        "n_nan": hook.odd[:, 0],
        "n_inf": hook.odd[:, 1],
        "min": np.where(seen, hook.extremes[:, 0], np.nan),
        "max": np.where(seen, hook.extremes[:, 1], np.nan),
        "mean": mean,
        "std": std,
        "skewness": skewness,
        "kurtosis": kurtosis,
        "density": np.array([n for n, _ in above]) / np.maximum(count, 1),
        "density_above": [edge for _, edge in above],
        "peak_tokens": [p[:n] for p, n in zip(peaks, n_kept, strict=True)],
        "power_sums": list(hook.power_sums),
        "bins": [b.astype(np.int16) for b in bins],
        "bin_counts": [row[b] for row, b in zip(hook.counts, bins, strict=True)],
    }
    return pa.table(columns, schema=schema.NEURONS_SCHEMA)


def _write_examples(folder: Path, cache: Finished) -> set[int]:
    """Write the examples, a row group for every few neurons; return the documents they came from."""
    used: set[int] = set()
    step = schema.NEURONS_PER_ROW_GROUP
    with pq.ParquetWriter(folder / schema.EXAMPLES, schema.EXAMPLES_SCHEMA, **_COMPRESSION) as writer:
        for layer, accumulator in cache.layers.items():
            for first in range(0, accumulator.d_mlp, step):
                last = min(first + step, accumulator.d_mlp)
                tables = [
                    _example_rows(layer, index, first, last, accumulator, cache.manifest.hooks)
                    for index in range(len(accumulator.hooks))
                ]
                table = pa.concat_tables(tables).sort_by(
                    [("neuron", "ascending"), ("hook", "ascending"), ("rank", "ascending")]
                )
                used.update(table["document"].to_pylist())
                writer.write_table(table, row_group_size=max(len(table), 1))
    return used


def _example_rows(
    layer: int, index: int, first: int, last: int, accumulator: LayerAccumulator, hooks: Sequence[str]
) -> pa.Table:
    top = accumulator.hooks[index].top
    neuron, rank = np.nonzero(top.document[first:last] >= 0)
    at = (neuron + first, rank)
    length = top.length[at]
    columns: dict[str, object] = {
        "layer": np.full(len(rank), layer, np.int32),
        "neuron": at[0].astype(np.int32),
        "hook": [hooks[index]] * len(rank),
        "rank": rank.astype(np.int32),
        "value": top.value[at],
        "document": top.document[at],
        "position": top.position[at],
        "context_start": top.context_start[at],
        "peak": top.peak[at],
        "tokens": [w[:n] for w, n in zip(top.window[at], length, strict=True)],
    }
    for name in ("hook_mid", "hook_post"):
        if name in hooks:
            steps, low, high = quantise(top.levels[hooks.index(name)][at], length)
            columns[f"levels_{name}"] = [s[:n].tobytes() for s, n in zip(steps, length, strict=True)]
            columns[f"low_{name}"], columns[f"high_{name}"] = low, high
        else:
            columns |= {f"{part}_{name}": [None] * len(rank) for part in ("levels", "low", "high")}
    return pa.table(columns, schema=schema.EXAMPLES_SCHEMA)


def _write_documents(folder: Path, documents: Mapping[int, Document], used: Iterable[int]) -> None:
    rows = [
        {
            "document": index,
            "source": documents[index].source,
            "lang": documents[index].lang,
            "licence": documents[index].licence,
            "origin": documents[index].origin,
        }
        for index in sorted(used)
    ]
    table = pa.Table.from_pylist(rows, schema=schema.DOCUMENTS_SCHEMA)
    pq.write_table(table, folder / schema.DOCUMENTS, **_COMPRESSION)
