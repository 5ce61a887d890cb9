"""Smaller copies of a cache: shorter lists and windows, with all counts over tokens unchanged.

solu cache trim runs/neurons --out small --top-k 12 --window 31 12

The best k of a list are the first k of a longer list, and the first n of a sample are a sample of n. So the
copy holds what a build with the smaller numbers would have kept, except that the activations in a window
keep the steps of the longer window.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cache.format import schema
from cache.format.schema import CacheError, Manifest
from cache.reader import NeuronCache
from cache.statistics.example_lists import Window
from cache.storage.checksums import damaged_files, write_checksums
from cache.storage.disk import atomic_write
from cache.storage.targets import check_cache_target
from cache.writing.cache_folder import COMPRESSION, NEURONS_IN_GROUP, small_groups
from cache.writing.contexts import contexts_of, write_contexts

Integers = npt.NDArray[np.int64]

_OLDEST = 3
"""Oldest version with the files of the present one. A copy has the version of its cache."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the copy; unchanged where None."""

    top_k: int | None = None
    range_samples: int | None = None
    window: Window | None = None
    """No longer at either end than that of the cache."""
    sample_window: Window | None = None
    sample_tokens: int | None = None


def trim(source: Path, out: Path, sizes: Sizes, *, progress: bool = True) -> Manifest:
    """Write a smaller copy of a cache, which `solu cache verify` accepts for the same model and text.

    The activations in a window keep their steps, so `low` and `high` may lie outside the shorter window.

    Args:
        source: an undamaged cache of version 3 or later.
        out: folder to write, all or nothing; it may be `source`.
        sizes: of the copy.
        progress: draw a progress bar.

    Returns:
        The manifest of the copy.

    Raises:
        CacheError: the cache is damaged, has an older version or is smaller than `sizes`; or `out` exists and
            is not a cache, is inside the source or contains it.
        NotWritten: the disk is full; an older cache at `out` stays.
    """
    cache = NeuronCache.open(source)
    own, target = source.resolve(), out.resolve()
    if own != target and (own in target.parents or target in own.parents):
        raise CacheError(f"{out} is inside {source} or contains it: name a folder beside it, or the same one")
    check_cache_target(out)
    if cache.manifest.version < _OLDEST:
        raise CacheError(
            f"{source} is of version {cache.manifest.version}, expected {_OLDEST} to {schema.VERSION}: build "
            "it again"
        )
    # Check first: the checksums of the copy would hide the damage.
    if damage := next(damaged_files(source, progress=progress), None):
        raise CacheError(f"{damage}: copy {source} again or build it again")
    manifest = _trimmed(cache.manifest, sizes)
    documents: list[Integers] = []
    with atomic_write(out) as aside:
        aside.mkdir()
        # Profiles and tokens count every token, which a smaller copy does not change.
        shutil.copytree(source / schema.PROFILES, aside / schema.PROFILES)
        for name in (schema.VOCABULARY, schema.TOKENS):
            shutil.copyfile(source / name, aside / name)
        _copy_neurons(cache, manifest, aside)
        files = sorted((source / schema.EXAMPLES).rglob("*.parquet"))
        for file in tqdm(files, desc="trimming", unit="file", disable=None if progress else True):
            documents += _copy_examples(file, aside / file.relative_to(source), manifest)
        documents.append(_copy_sample(cache, manifest, aside))
        _copy_documents(cache, np.unique(np.concatenate(documents)), aside)
        (aside / schema.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if (stored := cache.contexts_kept) is not None:
            n_ranks = min(stored.n_ranks, max(manifest.top_k, manifest.range_samples or 0))
            wanted = contexts_of(NeuronCache.open(aside), stored.kinds, n_ranks)
            table = cache.files.read(schema.CONTEXTS)
            names = zip(table["document"].to_pylist(), table["context_start"].to_pylist(), strict=True)
            own_contexts = table.filter(pa.array([name in wanted for name in names], pa.bool_()))
            write_contexts(own_contexts, stored.kinds, n_ranks, aside / schema.CONTEXTS)
        write_checksums(aside)
    return manifest


def _trimmed(manifest: Manifest, sizes: Sizes) -> Manifest:
    """Return the manifest of the copy."""
    window, sample_window = sizes.window or (None, None), sizes.sample_window or (None, None)
    requested = {
        "top_k": sizes.top_k,
        "range_samples": sizes.range_samples,
        "window_before": window[0],
        "window_after": window[1],
        "sample_window_before": sample_window[0],
        "sample_window_after": sample_window[1],
        "sample_tokens": sizes.sample_tokens,
    }
    changes = {name: value for name, value in requested.items() if value is not None}
    for name, value in changes.items():
        least, most = int(name in ("top_k", "range_samples")), getattr(manifest, name)
        if not least <= value <= most:
            raise CacheError(
                f"{name}: expected {least:,} to {most:,}, the size in this cache, got {value:,}: a copy "
                "cannot hold more; build the cache again for more"
            )
    return manifest.model_copy(update=changes)


def _copy_neurons(cache: NeuronCache, manifest: Manifest, folder: Path) -> None:
    """Write `neurons.parquet` with the peak tokens of the remaining examples."""
    with (
        pq.ParquetFile(cache.path / schema.NEURONS) as file,
        pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **COMPRESSION) as writer,
    ):
        column = schema.NEURONS_SCHEMA.get_field_index("peak_tokens")
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            peaks = pc.list_slice(table["peak_tokens"], 0, manifest.top_k)
            table = table.set_column(column, schema.NEURONS_SCHEMA.field(column), peaks)
            writer.write_table(table, row_group_size=NEURONS_IN_GROUP)


def _copy_examples(source: Path, target: Path, manifest: Manifest) -> list[Integers]:
    """Write one file of examples; return the documents that they come from, one array for each row group."""
    target.parent.mkdir(parents=True, exist_ok=True)
    documents = []
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(target, schema.EXAMPLES_SCHEMA, **small_groups(schema.EXAMPLES_SCHEMA)) as writer,
    ):
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False).combine_chunks()
            sampled = pc.equal(table["kind"], "range")
            most = pc.if_else(sampled, manifest.range_samples, manifest.top_k)
            try:
                table = _cut_windows(table.filter(pc.less(table["rank"], most)), manifest)
            except ValueError as error:
                raise CacheError(f"{source} is damaged ({error}): build the cache again") from error
            writer.write_table(table, row_group_size=max(len(table), 1))
            documents.append(table["document"].to_numpy())
    return documents


def _cut_windows(table: pa.Table, manifest: Manifest) -> pa.Table:
    """Return examples with their windows cut to the manifest's.

    Raises:
        ValueError: a window does not hold its peak, or lacks activations.
    """
    table = table.combine_chunks()
    top = table["kind"].to_numpy() == "top"
    before = np.where(top, manifest.window_before, manifest.sample_window_before or 0)
    after = np.where(top, manifest.window_after, manifest.sample_window_after or 0)
    peak = table["peak"].to_numpy().astype(np.int64)
    first, last = np.maximum(peak - before, 0), peak + after + 1
    lengths = pc.list_value_length(table["tokens"]).to_numpy()
    if not ((peak >= 0) & (peak < lengths)).all():
        raise ValueError("peaks outside their window")

    table = _replace(table, "peak", pa.array(peak - first, pa.int32()))
    table = _replace(table, "tokens", _slices(_array(table["tokens"]), first, last))
    for name in (f"levels_{hook}" for hook in manifest.hooks):
        levels = _array(table[name])
        if levels.null_count or (pc.binary_length(levels).to_numpy() != lengths).any():
            raise ValueError("windows without an activation for each token")
        table = _replace(table, name, _slices(levels, first, last))
    return table


def _replace(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """Return the table with another column of this name."""
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


def _slices(column: pa.Array, first: Integers, last: Integers) -> pa.Array:
    """Cut each list or byte string of a column to the part from `first` to before `last`, or its end.

    pyarrow slices all lists of a column alike; here each has its own `first` and `last`.
    """
    nested = pa.types.is_nested(column.type)
    if nested:
        offsets, values = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    else:
        _, ends_buffer, data = column.buffers()
        offsets = np.frombuffer(ends_buffer, np.int32)[column.offset :][: len(column) + 1].astype(np.int64)
        values = np.frombuffer(data or b"", np.uint8)
    n = np.minimum(last, np.diff(offsets)) - first
    ends = np.concatenate([[0], np.cumsum(n)])
    parts = values[np.repeat(offsets[:-1] + first - ends[:-1], n) + np.arange(ends[-1])]
    if nested:
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(parts))
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(parts)]
    return pa.Array.from_buffers(pa.binary(), len(column), buffers)


def _array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of one chunk as an array."""
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _copy_sample(cache: NeuronCache, manifest: Manifest, folder: Path) -> Integers:
    """Write the sample of contexts; return the documents that they come from."""
    table = cache.files.sample()
    n_tokens = np.cumsum(pc.list_value_length(table["tokens"]).to_numpy())
    # Contexts are in order of priority: the first that fit are the sample of the smaller size.
    table = table.slice(0, int(np.searchsorted(n_tokens, manifest.sample_tokens or 0, side="right")))
    pq.write_table(table.cast(schema.SAMPLE_SCHEMA), folder / schema.SAMPLE, **COMPRESSION)
    documents: Integers = table["document"].to_numpy()
    return documents


def _copy_documents(cache: NeuronCache, wanted: Integers, folder: Path) -> None:
    """Write the rows of `documents.parquet` that are still used."""
    table = pq.read_table(cache.path / schema.DOCUMENTS)
    own = table.filter(pc.is_in(table["document"], pa.array(wanted)))
    pq.write_table(own, folder / schema.DOCUMENTS, **COMPRESSION)
