"""Check the numbers of a cache against each other: each token must be counted once in every table."""

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
    """Yield one sentence for each inconsistency, and for the first file that cannot be read."""
    try:
        yield from _check_all(cache, progress)
    except CacheError as error:
        yield str(error)


def _check_all(cache: NeuronCache, progress: bool) -> Iterator[str]:
    if cache.manifest.version >= 2:
        yield from _check_corpus(cache)
    documents = np.array(sorted(cache.documents()), dtype=np.int64)
    layers = tqdm(
        cache.layers, desc="statistics", unit="layer", disable=None if progress else True, leave=False
    )
    for layer in layers:
        summaries = {}
        for hook in cache.hooks:
            table = cache.table(layer, hook, histograms=True)
            yield from _check_neurons(cache, table, f"layer {layer}, {hook}")
            summaries[hook] = table
        highest = {hook: table["max"].to_numpy() for hook, table in summaries.items()}
        for name, table in _examples(cache, layer):
            yield from _check_examples(cache, table, name, documents, highest)
        if cache.manifest.version >= 2:
            for name, table in _profiles(cache, layer):
                yield from _check_profiles(cache, table, name, summaries)


def _check_corpus(cache: NeuronCache) -> Iterator[str]:
    """Check the tables that are not about neurons, which exist from version 2 on."""
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
        yield f"{schema.TOKENS} has {n_rows:,} rows, expected {expected:,}: one for each layer, hook, token"
    yield from _check_tokenization(cache)
    n_sampled = int(_lengths(cache.sample()["tokens"]).sum())
    most = min(corpus.n_tokens, cache.manifest.sample_tokens or 0)
    if n_sampled > most:
        yield f"{schema.SAMPLE} holds {n_sampled:,} tokens, expected at most {most:,}"


def _check_tokenization(cache: NeuronCache) -> Iterator[str]:
    """Check the manifest's BOS and length of contexts against the model and the sampled contexts."""
    record, model = cache.manifest.tokenization, cache.manifest.model
    if record is None:
        return
    if record.bos_id is not None and record.bos_id >= model.d_vocab:
        yield f"{schema.MANIFEST}: the BOS is token {record.bos_id:,} of {model.d_vocab:,}"
    if record.n_ctx > model.n_ctx:
        yield (
            f"{schema.MANIFEST}: contexts of {record.n_ctx:,} tokens, of a model that reads at most "
            f"{model.n_ctx:,}"
        )
    sample = cache.sample()
    wrong = _misplaced(cache, sample["context_start"].to_numpy()) | (
        _lengths(sample["tokens"]) > _room(cache)
    )
    if wrong.any():
        yield f"{schema.SAMPLE}: {wrong.sum():,} contexts that are not cut as {schema.MANIFEST} says"


def _room(cache: NeuronCache) -> int:
    """Return the most tokens of text in a context."""
    record = cache.manifest.tokenization
    return max(1, cache.manifest.n_ctx - int(record is None or record.bos_id is not None))


def _misplaced(
    cache: NeuronCache, start: npt.NDArray[np.int64], position: npt.NDArray[np.int64] | None = None
) -> Rows:
    """Return True for contexts that begin where none can, or do not reach a position (from version 4)."""
    if cache.manifest.tokenization is None:
        return np.zeros(len(start), dtype=np.bool_)
    wrong = (start < 0) | (start % _room(cache) != 0)
    if position is not None:
        wrong |= (position < start) | (position >= start + _room(cache))
    return np.asarray(wrong)


def _check_neurons(cache: NeuronCache, table: pa.Table, place: str) -> Iterator[str]:
    """Check the rows of a layer at one hook, with histograms; `place` names them in messages."""
    count = table["count"].to_numpy()
    counted = count + table["n_nan"].to_numpy() + table["n_inf"].to_numpy()
    n_tokens = cache.manifest.corpus.n_tokens
    yield from _sentence(
        counted != n_tokens, f"{place}: counts that do not sum to the corpus's {n_tokens:,} tokens"
    )
    yield from _sentence(
        _sums(table["bin_counts"]) != count, f"{place}: histograms that do not sum to the count"
    )
    is_counted = count > 0
    bins, ends = table["bins"].combine_chunks(), np.cumsum(_lengths(table["bins"]))
    firsts = ends - _lengths(table["bins"])
    # The first and last non-empty bins must be those of the minimum and the maximum.
    used = bins.flatten().to_numpy()
    for name, index, end in (("min", firsts, "first"), ("max", ends - 1, "last")):
        values = table[name].to_numpy().astype(np.float32)
        expected = used[np.minimum(index, len(used) - 1)] if len(used) else -1
        expected = np.where(is_counted & (ends > firsts), expected, -1)
        wrong = is_counted & (bin_index(np.where(is_counted, values, 0).astype(np.float32)) != expected)
        yield from _sentence(wrong, f"{place}: a {name} outside the histogram's {end} bin")


def _check_profiles(
    cache: NeuronCache, table: pa.Table, name: str, summaries: dict[str, pa.Table]
) -> Iterator[str]:
    """Check a file of `profiles` against itself and `neurons.parquet`, whose rows come by hook."""
    first, last = _neurons_of(cache, name)
    expected = [(n, hook) for n in range(first, last) for hook in sorted(cache.hooks)]
    rows_of = list(zip(table["neuron"].to_pylist(), table["hook"].to_pylist(), strict=True))
    if rows_of != expected:
        yield f"{name} has {len(rows_of)} rows, expected those of neurons {first} to {last - 1} at every hook"
        return
    neurons = table["neuron"].to_numpy()
    wrong = _sums(table["range_count"]) != _sums(table["bin_counts"])
    yield from _sentence(wrong, f"{name}: ranges that do not sum to the count", neurons)
    for hook, summary in summaries.items() if cache.manifest.version >= 3 else ():
        rows = table.filter(pc.equal(table["hook"], hook))
        for column in schema.MOMENTS:
            own, other = rows[column].to_numpy(), summary[column].slice(first, last - first).to_numpy()
            # NaN, as of a neuron without finite activations, equals NaN here.
            differs = (own != other) & ~(np.isnan(own) & np.isnan(other))
            problem = f"{name}: another {column} at {hook} than {schema.NEURONS} has"
            yield from _sentence(differs, problem, rows["neuron"].to_numpy())


def _check_examples(
    cache: NeuronCache,
    table: pa.Table,
    name: str,
    documents: npt.NDArray[np.int64],
    highest: dict[str, npt.NDArray[Any]],
) -> Iterator[str]:
    """Check a file of `examples`, given all documents and the maxima of the layer's neurons by hook."""
    neuron, hook = table["neuron"].to_numpy(), table["hook"].to_numpy()
    old = cache.manifest.version == 1  # with strongest examples alone
    kind = np.full(len(table), "top") if old else table["kind"].to_numpy()
    interval = np.full(len(table), -1) if old else table["range"].fill_null(-1).to_numpy()
    begins = np.ones(len(table), dtype=bool)  # the first row of each list
    for column in (neuron, hook, kind, interval):
        begins[1:] &= column[1:] == column[:-1]
    begins[1:] = ~begins[1:]
    row = np.arange(len(table))
    # Expected ranks count from the first row of each list.
    rank = row - np.maximum.accumulate(np.where(begins, row, 0))
    yield from _sentence(table["rank"].to_numpy() != rank, f"{name}: ranks with gaps or repeats", neuron)
    most = np.where(kind == "range", cache.manifest.range_samples or 0, cache.manifest.top_k)
    yield from _sentence(rank >= most, f"{name}: more examples than the manifest says", neuron)
    value = table["value"].to_numpy()
    for ranked_kind, sign in (("top", -1), ("bottom", 1)):
        unordered = np.zeros(len(table), dtype=bool)
        unordered[1:] = (kind[1:] == ranked_kind) & ~begins[1:] & (sign * value[1:] < sign * value[:-1])
        yield from _sentence(unordered, f"{name}: {ranked_kind} examples out of order", neuron)
    is_strongest = begins & (kind == "top")
    for hook_name, maxima in highest.items():
        own = is_strongest & (hook == hook_name)
        wrong = np.zeros(len(table), dtype=bool)
        wrong[own] = value[own] != maxima[neuron[own]]
        yield from _sentence(
            wrong, f"{name}: a strongest example at {hook_name} that is not the maximum", neuron
        )
    unknown = ~np.isin(table["document"].to_numpy(), documents)
    yield from _sentence(unknown, f"{name}: documents that {schema.DOCUMENTS} does not have", neuron)
    misplaced = _misplaced(cache, table["context_start"].to_numpy(), table["position"].to_numpy())
    yield from _sentence(misplaced, f"{name}: contexts that are not cut as {schema.MANIFEST} says", neuron)
    length, peak = _lengths(table["tokens"]), table["peak"].to_numpy()
    yield from _sentence((peak < 0) | (peak >= length), f"{name}: peaks outside their window", neuron)
    for hook_name in cache.hooks:
        n_levels = np.array(
            [len(levels or b"") for levels in table[f"levels_{hook_name}"].to_pylist()], dtype=int
        )
        yield from _sentence(
            n_levels != length, f"{name}: windows without an activation for each token", neuron
        )


def _examples(cache: NeuronCache, layer: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name and table of each file of examples of a layer."""
    if cache.manifest.version == 1:
        name = "examples.parquet"
        yield name, cache.files.read(name, filters=[("layer", "=", layer)])
        return
    for name in _parts(cache, schema.EXAMPLES, layer):
        yield name, cache.files.read(name)


def _profiles(cache: NeuronCache, layer: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name and table of each file of profiles of a layer, with the columns that are checked."""
    for name in _parts(cache, schema.PROFILES, layer):
        moments = schema.MOMENTS if cache.manifest.version >= 3 else []
        yield name, cache.files.read(name, columns=["neuron", "hook", "bin_counts", "range_count", *moments])


def _parts(cache: NeuronCache, kind: str, layer: int) -> list[str]:
    """Return the names of a layer's files in `profiles` or `examples`."""
    step = cache.manifest.neurons_per_part or 1
    return [f"{kind}/{schema.part_name(layer, first, step)}" for first in range(0, cache.d_mlp, step)]


def _neurons_of(cache: NeuronCache, name: str) -> tuple[int, int]:
    """Return the first neuron of a file of `profiles` or `examples`, and the one after its last."""
    step = cache.manifest.neurons_per_part or 1
    first = int(name.rpartition("/")[2].partition(".")[0]) * step
    return first, min(first + step, cache.d_mlp)


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the length of each list of a column."""
    offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]
    return np.concatenate([np.diff(o).astype(np.int64) for o in offsets] or [np.empty(0, np.int64)])


def _sums(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the sum of each list of a column."""
    values = [chunk.flatten().to_numpy() for chunk in column.chunks]
    before = np.concatenate([[0], np.cumsum(np.concatenate(values or [np.empty(0, np.int64)]))])
    ends = np.cumsum(_lengths(column))
    return np.asarray(before[ends] - before[ends - _lengths(column)])


def _sentence(wrong: Rows, problem: str, neurons: npt.NDArray[Any] | None = None) -> Iterator[str]:
    """Yield one sentence if any row is wrong, with the first neurons that are.

    Args:
        wrong: `[n]` rows.
        problem: the sentence.
        neurons: `[n]` neuron of each row; its index where None.
    """
    rows = np.flatnonzero(wrong)
    if len(rows):
        named = np.unique(rows if neurons is None else neurons[rows])
        yield f"{problem} (neuron {', '.join(map(str, named[:5]))}{', ...' * (len(named) > 5)})"
