"""A smaller copy of a finished cache: shorter lists and windows, all that counts every token as it was.

solu cache trim runs/neurons --out small --top-k 12 --window 31 12

The best k of a list are the first k of a longer one, and the first n of a sample are a sample of n: what is
left is what a build with the smaller numbers would have kept, but for the steps of its windows' levels.
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
from cache.statistics.kept import Window
from cache.storage.checksums import damaged_files, write_checksums
from cache.storage.disk import check_place, written
from cache.writing.contexts import contexts_of, write_contexts
from cache.writing.store import COMPRESSION, NEURONS_IN_GROUP, small_groups

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sizes:
    """What is kept; as much as there is where None."""

    top_k: int | None = None
    range_samples: int | None = None
    window: Window | None = None
    """No longer at either end than what there is."""
    sample_window: Window | None = None
    sample_tokens: int | None = None


def trim(source: Path, out: Path, sizes: Sizes, *, progress: bool = True) -> Manifest:
    """Write a smaller copy of a cache, which `solu cache verify` holds to the same model and text.

    Windows keep the levels they have: `low` and `high` may lie outside what is left of them.

    Args:
        source: a whole cache of the present version.
        out: folder to write, as a whole or not at all; it may be `source`.
        sizes: what to keep.
        progress: draw a progress bar.

    Returns:
        The manifest of the copy.

    Raises:
        CacheError: the cache is of an older version or damaged, or holds less than is asked for; `out` is
            something else than a cache, or within the source or around it.
        NotWritten: the disk is full; an older cache at `out` stays.
    """
    cache = NeuronCache.open(source)
    there, place = source.resolve(), out.resolve()
    if there != place and (there in place.parents or place in there.parents):
        raise CacheError(f"{out} is within {source} or around it: name a folder beside it, or the same one")
    check_place(out)
    if cache.manifest.version != schema.VERSION:
        raise CacheError(
            f"{source} is of version {cache.manifest.version}, expected {schema.VERSION}: build it again"
        )
    # Its copy's checksums would call a damaged file whole.
    if damage := next(damaged_files(source, progress=progress), None):
        raise CacheError(f"{damage}: copy {source} again or build it again")
    manifest = _trimmed(cache.manifest, sizes)
    documents: list[Integers] = []
    with written(out) as aside:
        aside.mkdir()
        shutil.copytree(source / schema.PROFILES, aside / schema.PROFILES)
        for name in (schema.VOCABULARY, schema.TOKENS):
            shutil.copyfile(source / name, aside / name)
        _neurons(cache, manifest, aside)
        files = sorted((source / schema.EXAMPLES).rglob("*.parquet"))
        for file in tqdm(files, desc="trimming", unit="file", disable=None if progress else True):
            documents += _examples(file, aside / file.relative_to(source), manifest)
        documents.append(_sample(cache, manifest, aside))
        _documents(cache, np.unique(np.concatenate(documents)), aside)
        text = manifest.model_dump_json(indent=1) + "\n"
        (aside / schema.MANIFEST).write_text(text, encoding="utf-8")
        if (kept := cache.contexts_kept) is not None:
            n_ranks = min(kept.n_ranks, max(manifest.top_k, manifest.range_samples or 0))
            wanted = contexts_of(NeuronCache.open(aside), kept.kinds, n_ranks)
            table = cache.files.read(schema.CONTEXTS)
            names = zip(table["document"].to_pylist(), table["context_start"].to_pylist(), strict=True)
            own = table.filter(pa.array([name in wanted for name in names], pa.bool_()))
            write_contexts(own, kept.kinds, n_ranks, aside / schema.CONTEXTS)
        write_checksums(aside)
    return manifest


def _trimmed(manifest: Manifest, sizes: Sizes) -> Manifest:
    """The manifest with the sizes asked for."""
    window, sample_window = sizes.window or (None, None), sizes.sample_window or (None, None)
    asked = {
        "top_k": sizes.top_k,
        "range_samples": sizes.range_samples,
        "window_before": window[0],
        "window_after": window[1],
        "sample_window_before": sample_window[0],
        "sample_window_after": sample_window[1],
        "sample_tokens": sizes.sample_tokens,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    for name, value in changes.items():
        least, most = int(name in ("top_k", "range_samples")), getattr(manifest, name)
        if not least <= value <= most:
            raise CacheError(
                f"{name}: expected {least:,} to {most:,}, what the cache holds, got {value:,}: a copy cannot "
                "hold more than that; build it again for more"
            )
    return manifest.model_copy(update=changes)


def _neurons(cache: NeuronCache, manifest: Manifest, folder: Path) -> None:
    with (
        pq.ParquetFile(cache.path / schema.NEURONS) as file,
        pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **COMPRESSION) as writer,
    ):
        at = schema.NEURONS_SCHEMA.get_field_index("peak_tokens")
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            peaks = pc.list_slice(table["peak_tokens"], 0, manifest.top_k)
            table = table.set_column(at, schema.NEURONS_SCHEMA.field(at), peaks)
            writer.write_table(table, row_group_size=NEURONS_IN_GROUP)


def _examples(source: Path, target: Path, manifest: Manifest) -> list[Integers]:
    """Write one file of examples; returns the documents that they come from."""
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
                table = _cut(table.filter(pc.less(table["rank"], most)), manifest)
            except ValueError as error:
                raise CacheError(f"{source} is damaged ({error}): build the cache again") from error
            writer.write_table(table, row_group_size=max(len(table), 1))
            documents.append(table["document"].to_numpy())
    return documents


def _cut(table: pa.Table, manifest: Manifest) -> pa.Table:
    """The examples with their windows cut."""
    table = table.combine_chunks()
    top = table["kind"].to_numpy() == "top"
    before = np.where(top, manifest.window_before, manifest.sample_window_before or 0)
    after = np.where(top, manifest.window_after, manifest.sample_window_after or 0)
    peak = table["peak"].to_numpy().astype(np.int64)
    first, last = np.maximum(peak - before, 0), peak + after + 1
    lengths = pc.list_value_length(table["tokens"]).to_numpy()
    if not ((peak >= 0) & (peak < lengths)).all():
        raise ValueError("peaks outside their window")

    def put(name: str, column: pa.Array) -> None:
        nonlocal table
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)

    put("peak", pa.array(peak - first, pa.int32()))
    put("tokens", _slices(_array(table["tokens"]), first, last))
    for name in (f"levels_{hook}" for hook in manifest.hooks):
        levels = _array(table[name])
        if levels.null_count or (pc.binary_length(levels).to_numpy() != lengths).any():
            raise ValueError("windows without an activation a token")
        put(name, _slices(levels, first, last))
    return table


def _slices(column: pa.Array, first: Integers, last: Integers) -> pa.Array:
    """Of each list or byte string the part from `first` to before `last`, or its end."""
    nested = pa.types.is_nested(column.type)
    if nested:
        offsets, values = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    else:
        _, where, data = column.buffers()
        offsets = np.frombuffer(where, np.int32)[column.offset :][: len(column) + 1].astype(np.int64)
        values = np.frombuffer(data or b"", np.uint8)
    n = np.minimum(last, np.diff(offsets)) - first
    ends = np.concatenate([[0], np.cumsum(n)])
    parts = values[np.repeat(offsets[:-1] + first - ends[:-1], n) + np.arange(ends[-1])]
    if nested:
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(parts))
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(parts)]
    return pa.Array.from_buffers(pa.binary(), len(column), buffers)


def _array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _sample(cache: NeuronCache, manifest: Manifest, folder: Path) -> Integers:
    """Write the sample of contexts; returns the documents that they come from."""
    table = cache.files.sample()
    n_tokens = np.cumsum(pc.list_value_length(table["tokens"]).to_numpy())
    table = table.slice(0, int(np.searchsorted(n_tokens, manifest.sample_tokens or 0, side="right")))
    pq.write_table(table.cast(schema.SAMPLE_SCHEMA), folder / schema.SAMPLE, **COMPRESSION)
    documents: Integers = table["document"].to_numpy()
    return documents


def _documents(cache: NeuronCache, wanted: Integers, folder: Path) -> None:
    table = pq.read_table(cache.path / schema.DOCUMENTS)
    own = table.filter(pc.is_in(table["document"], pa.array(wanted)))
    pq.write_table(own, folder / schema.DOCUMENTS, **COMPRESSION)
