"""Whether the numbers of a cache fit together: every token counted once, everywhere alike."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from cache.format import schema
from cache.format.histogram import bin_index
from cache.format.schema import CacheError
from cache.reader import NeuronCache

Rows = npt.NDArray[np.bool_]


def inconsistencies(cache: NeuronCache, *, progress: bool = False) -> Iterator[str]:
    """What does not fit together, a sentence each.

    Raises:
        CacheError: a file is so damaged that it cannot be read.
    """
    if cache.manifest.version >= 2:
        yield from _of_corpus(cache)
    documents = np.array(sorted(cache.documents()), dtype=np.int64)
    steps = tqdm(
        cache.layers, desc="statistics", unit="layer", disable=None if progress else True, leave=False
    )
    for layer in steps:
        summaries = {}
        for hook in cache.hooks:
            table = cache.table(layer, hook, histograms=True)
            yield from _of_neurons(cache, table, f"layer {layer}, {hook}")
            summaries[hook] = table
        highest = {hook: table["max"].to_numpy() for hook, table in summaries.items()}
        for name, table in _examples(cache, layer):
            yield from _of_examples(cache, table, name, documents, highest)
        if cache.manifest.version >= 2:
            for name, table in _profiles(cache, layer):
                yield from _of_profiles(cache, table, name, summaries)


def _of_corpus(cache: NeuronCache) -> Iterator[str]:
    """The tables that are not about neurons; from version 2 on."""
    corpus, model = cache.manifest.corpus, cache.manifest.model
    counted = int(np.sum(cache.files.read(schema.VOCABULARY)["count"].to_numpy()))
    if counted != corpus.n_tokens:
        yield f"{schema.VOCABULARY} counts {counted:,} tokens, the manifest {corpus.n_tokens:,}"
    for name in ("n_tokens", "n_documents"):
        total = sum(getattr(source, name) for source in corpus.sources)
        if corpus.sources and total != getattr(corpus, name):
            yield f"the sources have {total:,} {name[2:]}, the corpus {getattr(corpus, name):,}"
    expected = len(cache.layers) * len(cache.hooks) * model.d_vocab if cache.manifest.by_token else 0
    n_rows = len(cache.files.read(schema.TOKENS, columns=["token"]))
    if n_rows != expected:
        yield f"{schema.TOKENS} has {n_rows:,} rows, expected {expected:,}: a token a layer and hook"
    sampled = int(_lengths(cache.sample()["tokens"]).sum())
    most = min(corpus.n_tokens, cache.manifest.sample_tokens or 0)
    if sampled > most:
        yield f"{schema.SAMPLE} holds {sampled:,} tokens, expected at most {most:,}"


def _of_neurons(cache: NeuronCache, table: pa.Table, where: str) -> Iterator[str]:
    """A layer's rows at one hook."""
    count = table["count"].to_numpy()
    everything = count + table["n_nan"].to_numpy() + table["n_inf"].to_numpy()
    n_tokens = cache.manifest.corpus.n_tokens
    yield from _each(everything != n_tokens, f"{where}: counts that are not the corpus's {n_tokens:,} tokens")
    yield from _each(_sums(table["bin_counts"]) != count, f"{where}: histograms that do not sum to the count")
    seen = count > 0
    bins, ends = table["bins"].combine_chunks(), np.cumsum(_lengths(table["bins"]))
    firsts = ends - _lengths(table["bins"])
    used = bins.flatten().to_numpy()
    for name, at in (("min", firsts), ("max", ends - 1)):
        values = table[name].to_numpy().astype(np.float32)
        there = np.where(seen & (ends > firsts), used[np.minimum(at, len(used) - 1)] if len(used) else -1, -1)
        wrong = seen & (bin_index(np.where(seen, values, 0).astype(np.float32)) != there)
        yield from _each(
            wrong, f"{where}: a {name} outside the histogram's {'first' * (name == 'min') or 'last'} bin"
        )


def _of_profiles(
    cache: NeuronCache, table: pa.Table, name: str, summaries: dict[str, pa.Table]
) -> Iterator[str]:
    """A file of `profiles`."""
    first, last = _neurons_of(cache, name)
    expected = [(n, hook) for n in range(first, last) for hook in sorted(cache.hooks)]
    found = list(zip(table["neuron"].to_pylist(), table["hook"].to_pylist(), strict=True))
    if found != expected:
        yield f"{name} has {len(found)} rows, expected those of neurons {first} to {last - 1} at every hook"
        return
    neurons = table["neuron"].to_numpy()
    wrong = _sums(table["range_count"]) != _sums(table["bin_counts"])
    yield from _each(wrong, f"{name}: intervals that do not sum to the count", neurons)
    for hook, summary in summaries.items() if cache.manifest.version >= 3 else ():
        rows = table.filter(pc.equal(table["hook"], hook))
        for column in schema.MOMENTS:
            here, there = rows[column].to_numpy(), summary[column].slice(first, last - first).to_numpy()
            differs = (here != there) & ~(np.isnan(here) & np.isnan(there))
            what = f"{name}: another {column} at {hook} than {schema.NEURONS} has"
            yield from _each(differs, what, rows["neuron"].to_numpy())


def _of_examples(
    cache: NeuronCache,
    table: pa.Table,
    name: str,
    documents: npt.NDArray[np.int64],
    highest: dict[str, npt.NDArray[Any]],
) -> Iterator[str]:
    """A file of `examples`."""
    neuron, hook = table["neuron"].to_numpy(), table["hook"].to_numpy()
    old = cache.manifest.version == 1
    kind = np.full(len(table), "top") if old else table["kind"].to_numpy()
    interval = np.full(len(table), -1) if old else table["range"].fill_null(-1).to_numpy()
    begins = np.ones(len(table), dtype=bool)
    for column in (neuron, hook, kind, interval):
        begins[1:] &= column[1:] == column[:-1]
    begins[1:] = ~begins[1:]
    row = np.arange(len(table))
    rank = row - np.maximum.accumulate(np.where(begins, row, 0))
    yield from _each(table["rank"].to_numpy() != rank, f"{name}: ranks with gaps or repeats", neuron)
    most = np.where(kind == "range", cache.manifest.range_samples or 0, cache.manifest.top_k)
    yield from _each(rank >= most, f"{name}: more examples than the manifest says", neuron)
    value = table["value"].to_numpy()
    for which, sign in (("top", -1), ("bottom", 1)):
        falls = np.zeros(len(table), dtype=bool)
        falls[1:] = (kind[1:] == which) & ~begins[1:] & (sign * value[1:] < sign * value[:-1])
        yield from _each(falls, f"{name}: {which} examples out of order", neuron)
    best = begins & (kind == "top")
    for one, maxima in highest.items():
        mine = best & (hook == one)
        wrong = np.zeros(len(table), dtype=bool)
        wrong[mine] = value[mine] != maxima[neuron[mine]]
        yield from _each(wrong, f"{name}: a strongest example at {one} that is not the maximum", neuron)
    unknown = ~np.isin(table["document"].to_numpy(), documents)
    yield from _each(unknown, f"{name}: documents that {schema.DOCUMENTS} does not have", neuron)
    length, peak = _lengths(table["tokens"]), table["peak"].to_numpy()
    yield from _each((peak < 0) | (peak >= length), f"{name}: peaks outside their window", neuron)
    for one in cache.hooks:
        n_levels = np.array([len(levels or b"") for levels in table[f"levels_{one}"].to_pylist()], dtype=int)
        yield from _each(n_levels != length, f"{name}: windows without an activation a token", neuron)


def _examples(cache: NeuronCache, layer: int) -> Iterator[tuple[str, pa.Table]]:
    if cache.manifest.version == 1:
        name = "examples.parquet"
        yield name, cache.files.read(name, filters=[("layer", "=", layer)])
        return
    for name in _parts(cache, schema.EXAMPLES, layer):
        yield name, cache.files.read(name)


def _profiles(cache: NeuronCache, layer: int) -> Iterator[tuple[str, pa.Table]]:
    for name in _parts(cache, schema.PROFILES, layer):
        moments = schema.MOMENTS if cache.manifest.version >= 3 else []
        yield name, cache.files.read(name, columns=["neuron", "hook", "bin_counts", "range_count", *moments])


def _parts(cache: NeuronCache, kind: str, layer: int) -> list[str]:
    step = cache.manifest.neurons_per_part or 1
    return [f"{kind}/{schema.part_name(layer, first, step)}" for first in range(0, cache.d_mlp, step)]


def _neurons_of(cache: NeuronCache, name: str) -> tuple[int, int]:
    """The first neuron of a part's file and the one after its last."""
    step = cache.manifest.neurons_per_part or 1
    first = int(name.rpartition("/")[2].partition(".")[0]) * step
    return first, min(first + step, cache.d_mlp)


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]
    return np.concatenate([np.diff(o).astype(np.int64) for o in offsets] or [np.empty(0, np.int64)])


def _sums(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The sum of each list of a column."""
    values = [chunk.flatten().to_numpy() for chunk in column.chunks]
    before = np.concatenate([[0], np.cumsum(np.concatenate(values or [np.empty(0, np.int64)]))])
    ends = np.cumsum(_lengths(column))
    return np.asarray(before[ends] - before[ends - _lengths(column)])


def _each(wrong: Rows, what: str, neurons: npt.NDArray[Any] | None = None) -> Iterator[str]:
    """One sentence for all rows of which something is true."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        named = np.unique(rows if neurons is None else neurons[rows])
        yield f"{what} (neuron {', '.join(map(str, named[:5]))}{', ...' * (len(named) > 5)})"


def readable(cache: NeuronCache, *, progress: bool = False) -> Iterator[str]:
    """`inconsistencies`, with a file that cannot be read as one of them."""
    try:
        yield from inconsistencies(cache, progress=progress)
    except CacheError as error:
        yield str(error)
