"""Write a finished cache: Parquet tables, a manifest and checksums, aside and then renamed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cache import by_token, exact_sum, kept, ranges, schema
from cache.checksums import write_checksums
from cache.disk import written
from cache.histogram import N_BINS, Histogram, moments_of
from cache.kept import Kept
from cache.schema import Manifest
from cache.state import BuildState
from cache.statistics import HookStatistics

_COMPRESSION = {
    "compression": "zstd",
    "compression_level": 12,
    # Elsewhere a dictionary hides from zstd that whole windows repeat: examples took a third more.
    "use_dictionary": ["layer", "neuron", "hook", "kind", "range", "rank", "sources.list.element", "source"],
}
_PREVIEW = 8  # peak tokens kept with a neuron's row
_BEST = 20  # tokens kept for a neuron, neurons kept for a token
_TOKENS_AT_ONCE = 512
_ROWS = 32768  # a row group of the table of all neurons

Columns = dict[str, object]


def write_cache(out: Path, state: BuildState, token_bytes: Sequence[bytes]) -> Manifest:
    """Write `out` as a whole or not at all; an older cache there is replaced at the end.

    Args:
        out: the folder.
        state: a whole one; brought into its canonical form.
        token_bytes: what each token stands for, by its id.

    Returns:
        The manifest that was written.

    Raises:
        NotWritten: there is no room for it.
    """
    state.canonical()
    manifest = state.manifest()
    with written(out) as aside:
        aside.mkdir()
        _write(
            aside / schema.VOCABULARY,
            schema.VOCABULARY_SCHEMA,
            {
                "token": np.arange(len(token_bytes), dtype=np.int32),
                "bytes": pa.array(token_bytes, pa.binary()),
                "count": state.token_counts[: len(token_bytes)],
            },
        )
        _write_neurons(aside, state)
        _write_tokens(aside, state)
        _write_sample(aside, state)
        _write_documents(aside, state)
        text = manifest.model_dump_json(indent=1) + "\n"
        (aside / schema.MANIFEST).write_text(text, encoding="utf-8")
        write_checksums(aside)
    return manifest


def _write(file: Path, table_schema: pa.Schema, columns: Columns) -> None:
    pq.write_table(pa.table(columns, schema=table_schema), file, **_COMPRESSION)


def _write_neurons(folder: Path, state: BuildState) -> None:
    """The table of all neurons, and for every few of them a file of profiles and one of examples."""
    step, few = state.settings.neurons_per_part, schema.NEURONS_PER_ROW_GROUP
    summaries: dict[str, list[pa.Table]] = {hook: [] for hook in state.settings.hooks}
    with pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **_COMPRESSION) as table:
        for layer, hooks in state.layers.items():
            for first in range(0, state.settings.model.d_mlp, step):
                last = min(first + step, state.settings.model.d_mlp)
                part = schema.part_name(layer, first, step)
                profiles, examples = folder / schema.PROFILES / part, folder / schema.EXAMPLES / part
                profiles.parent.mkdir(parents=True, exist_ok=True)
                examples.parent.mkdir(parents=True, exist_ok=True)
                with (
                    pq.ParquetWriter(profiles, schema.PROFILES_SCHEMA, **_COMPRESSION) as profile_file,
                    pq.ParquetWriter(examples, schema.EXAMPLES_SCHEMA, **_COMPRESSION) as example_file,
                ):
                    for a in range(first, last, few):
                        rows = slice(a, min(a + few, last))
                        parts = [
                            _neuron_rows(layer, name, rows, hook, state)
                            for name, hook in zip(state.settings.hooks, hooks, strict=True)
                        ]
                        for name, (summary, _) in zip(state.settings.hooks, parts, strict=True):
                            summaries[name].append(summary)
                        _write_group(profile_file, [profile for _, profile in parts], ["neuron", "hook"])
                        _write_group(
                            example_file,
                            [
                                _example_rows(layer, index, rows, hook, state)
                                for index, hook in enumerate(hooks)
                            ],
                            ["neuron", "hook", "kind", "range", "rank"],
                        )
            for name in state.settings.hooks:
                table.write_table(pa.concat_tables(summaries[name]), row_group_size=_ROWS)
                summaries[name].clear()


def _write_group(writer: pq.ParquetWriter, tables: list[pa.Table], order: list[str]) -> None:
    table = pa.concat_tables(tables).sort_by([(name, "ascending") for name in order])
    writer.write_table(table, row_group_size=max(len(table), 1))


def _neuron_rows(
    layer: int, name: str, rows: slice, hook: HookStatistics, state: BuildState
) -> tuple[pa.Table, pa.Table]:
    """Of some neurons, the rows of the table of all neurons and those of their profiles."""
    counts, high = hook.counts[rows, :N_BINS], hook.extremes[1, rows]
    count, power_sums = counts.sum(axis=1), np.moveaxis(exact_sum.to_float(hook.power_sums[:, rows]), 0, 1)
    seen = count > 0
    mean, std, skewness, kurtosis = moments_of(count, power_sums)
    above = [
        Histogram(c).count_from(h / 10) if s and h > 0 else (0, np.nan)
        for c, h, s in zip(counts, high, seen, strict=True)
    ]
    top = kept.take_lists(hook.top, rows)
    peaks = np.take_along_axis(top.tokens, top.peak[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    tokens, token_means, token_counts = _best_tokens(hook.token_totals[:, rows], state)
    sources, shares = _source_shares(hook.source_mass[:, rows], state)
    intervals = [ranges.intervals(h if s else np.nan) for h, s in zip(high, seen, strict=True)]
    bins = [np.flatnonzero(row) for row in counts]
    names = {
        "layer": np.full(len(count), layer, np.int32),
        "neuron": np.arange(rows.start, rows.stop, dtype=np.int32),
        "hook": [name] * len(count),
    }
    summary: Columns = names | {
        "count": count,
        "n_nan": hook.counts[rows, N_BINS],
        "n_inf": hook.counts[rows, N_BINS + 1],
        "min": np.where(seen, hook.extremes[0, rows], np.nan),
        "max": np.where(seen, high, np.nan),
        "mean": mean,
        "std": std,
        "skewness": skewness,
        "kurtosis": kurtosis,
        "density": np.array([n for n, _ in above]) / np.maximum(count, 1),
        "density_above": [edge for _, edge in above],
        "peak_tokens": [p[n > 0][:_PREVIEW] for p, n in zip(peaks, top.length, strict=True)],
        "best_source": [s[0] if s else None for s in sources],
        "best_source_share": [float(s[0]) if len(s) else None for s in shares],
        "best_token": [int(t[0]) if len(t) else None for t in tokens],
    }
    profile: Columns = names | {
        "power_sums": list(power_sums),
        "bins": [b.astype(np.int16) for b in bins],
        "bin_counts": [row[b] for row, b in zip(counts, bins, strict=True)],
        "range_low": [[i.low for i in found] for found in intervals],
        "range_high": [[i.high for i in found] for found in intervals],
        "range_count": [
            [ranges.counts_of(i, row) for i in found] for found, row in zip(intervals, counts, strict=True)
        ],
        "tokens": tokens,
        "token_means": token_means,
        "token_counts": token_counts,
        "sources": sources,
        "source_shares": shares,
    }
    return pa.table(summary, schema=schema.NEURONS_SCHEMA), pa.table(profile, schema=schema.PROFILES_SCHEMA)


def _best_tokens(
    totals: npt.NDArray[np.int64], state: BuildState
) -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.float64]], list[npt.NDArray[np.int64]]]:
    """For each neuron the tokens of highest mean activation, those means, and how often they came."""
    if not state.settings.by_token:
        n = totals.shape[1]
        return [np.empty(0, np.int64)] * n, [np.empty(0)] * n, [np.empty(0, np.int64)] * n
    means = by_token.means(totals, state.token_counts).T
    best = by_token.highest(means, _BEST, state.token_counts >= state.settings.token_min_count)
    tokens = [row[row >= 0] for row in best]
    return (
        tokens,
        [line[row] for line, row in zip(means, tokens, strict=True)],
        [state.token_counts[row] for row in tokens],
    )


def _source_shares(
    mass: npt.NDArray[np.int64], state: BuildState
) -> tuple[list[list[str]], list[npt.NDArray[np.float64]]]:
    """For each neuron the sources of its activation above 0, the largest share first."""
    names = state.source_rows
    sources, shares = [], []
    for column in mass[: len(names)].T:
        order = np.lexsort((np.arange(len(names)), -column))
        order = order[column[order] > 0]
        sources.append([names[i] for i in order])
        shares.append(column[order] / max(int(column.sum()), 1))
    return sources, shares


def _example_rows(layer: int, index: int, rows: slice, hook: HookStatistics, state: BuildState) -> pa.Table:
    """The examples of some neurons at one hook."""
    tables = []
    for kind, lists in (("top", hook.top), ("bottom", hook.bottom)):
        few = kept.take_lists(lists, rows)
        neuron, rank = np.nonzero(few.length > 0)
        place = {"kind": [kind] * len(rank), "range": [None] * len(rank), "rank": rank.astype(np.int32)}
        tables.append(_table(layer, index, few, neuron + rows.start, (neuron, rank), place, state))
    found = list(_sampled(rows, hook, state.settings.range_samples))
    few = kept.take_lists(hook.ranges, slice(rows.start * ranges.N_LISTS, rows.stop * ranges.N_LISTS))
    neuron, which, rank, lists_at, slot = (
        np.array(column, dtype=np.int64) for column in (zip(*found, strict=True) if found else ([],) * 5)
    )
    place = {"kind": ["range"] * len(found), "range": which.astype(np.int32), "rank": rank.astype(np.int32)}
    tables.append(_table(layer, index, few, neuron + rows.start, (lists_at, slot), place, state))
    return pa.concat_tables(tables)


def _sampled(rows: slice, hook: HookStatistics, k: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The samples of every interval: neuron, interval, rank, and list and slot among those of `rows`."""
    for n in range(rows.stop - rows.start):
        at = n + rows.start
        seen = hook.counts[at, :N_BINS].any()
        lists = kept.take_lists(hook.ranges, slice(at * ranges.N_LISTS, (at + 1) * ranges.N_LISTS))
        for which, interval in enumerate(ranges.intervals(float(hook.extremes[1, at])) if seen else []):
            which_lists = np.array(ranges.lists_of(interval, int(hook.base[at])))
            there, slot = np.nonzero(lists.length[which_lists] > 0)
            there = which_lists[there]
            order = np.lexsort(
                (lists.position[there, slot], lists.document[there, slot], lists.score[there, slot])
            )
            for rank, i in enumerate(order[:k]):
                yield n, which, rank, n * ranges.N_LISTS + int(there[i]), int(slot[i])


def _table(
    layer: int,
    index: int,
    lists: Kept,
    neuron: npt.NDArray[np.int64],
    at: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    place: Columns,
    state: BuildState,
) -> pa.Table:
    hooks, length = state.settings.hooks, lists.length[at]
    columns: Columns = {
        "layer": np.full(len(length), layer, np.int32),
        "neuron": neuron.astype(np.int32),
        "hook": [hooks[index]] * len(length),
        **place,
        "value": lists.value[at][:, index],
        "document": lists.document[at],
        "position": lists.position[at],
        "context_start": lists.start[at],
        "peak": lists.peak[at].astype(np.int32),
        "tokens": [w[:n].astype(np.int32) for w, n in zip(lists.tokens[at], length, strict=True)],
    }
    for name in ("hook_mid", "hook_post"):
        if name in hooks:
            h = hooks.index(name)
            levels = lists.levels[at][:, h]
            columns[f"levels_{name}"] = [s[:n].tobytes() for s, n in zip(levels, length, strict=True)]
            columns[f"low_{name}"], columns[f"high_{name}"] = lists.low[at][:, h], lists.high[at][:, h]
        else:
            columns |= {f"{part}_{name}": [None] * len(length) for part in ("levels", "low", "high")}
    return pa.table(columns, schema=schema.EXAMPLES_SCHEMA)


def _write_tokens(folder: Path, state: BuildState) -> None:
    """For every token the neurons that fire most on it, relative to their own maximum."""
    with pq.ParquetWriter(folder / schema.TOKENS, schema.TOKENS_SCHEMA, **_COMPRESSION) as writer:
        for layer, hooks in state.layers.items() if state.settings.by_token else ():
            for name, hook in zip(state.settings.hooks, hooks, strict=True):
                high = hook.extremes[1].astype(np.float64)
                allowed = np.isfinite(high) & (high > 0)
                scale = np.where(allowed, high, 1.0)
                for first in range(0, len(state.token_counts), _TOKENS_AT_ONCE):
                    some = slice(first, first + _TOKENS_AT_ONCE)
                    counts = state.token_counts[some]
                    means = by_token.means(hook.token_totals[some], counts)
                    best = by_token.highest(means / scale, _BEST, allowed)
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
    found = sorted(state.documents.items())
    columns: Columns = {"document": [document for document, _ in found]} | {
        name: [getattr(where, name) for _, where in found] for name in ("source", "lang", "licence", "origin")
    }
    _write(folder / schema.DOCUMENTS, schema.DOCUMENTS_SCHEMA, columns)
