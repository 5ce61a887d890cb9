"""Rows of a neuron in the tables of a cache, from its statistics, as in docs/cache_format.md."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cache.format import schema
from cache.format.histogram import N_BINS, Histogram, moments_of
from cache.shards.state import BuildState
from cache.statistics import exact_sum, example_lists, ranges, token_totals
from cache.statistics.example_lists import ExampleLists
from cache.statistics.hook import HookStatistics

BEST = 20
"""Tokens listed for a neuron, and neurons listed for a token."""
_N_PEAK_TOKENS = 8
"""Strongest examples whose peak token is in the row of a neuron."""

Columns = dict[str, object]


def neuron_rows(
    layer: int, name: str, rows: slice, hook: HookStatistics, state: BuildState
) -> tuple[pa.Table, pa.Table]:
    """Return the rows of some neurons at one hook: those of `neurons.parquet` and those of their profiles.

    Args:
        layer: of the neurons.
        name: of the hook.
        rows: the neurons.
        hook: its statistics.
        state: in canonical form.
    """
    counts, high = hook.counts[rows, :N_BINS], hook.extremes[1, rows]
    count, power_sums = counts.sum(axis=1), np.moveaxis(exact_sum.to_float(hook.power_sums[:, rows]), 0, 1)
    is_counted = count > 0
    mean, std, skewness, kurtosis = moments_of(count, power_sums)
    # Density counts whole bins, since the histogram alone remains: from the bin of a tenth of the maximum.
    above = [
        Histogram(c).count_from(h / 10) if s and h > 0 else (0, np.nan)
        for c, h, s in zip(counts, high, is_counted, strict=True)
    ]
    top = example_lists.select_lists(hook.top, rows)
    peaks = np.take_along_axis(top.tokens, top.peak[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    tokens, token_means, token_counts = _best_tokens(token_totals.whole(hook.token_totals[:, :, rows]), state)
    sources, shares = _source_shares(hook.source_mass[:, rows], state)
    intervals = [ranges.intervals(h if s else np.nan) for h, s in zip(high, is_counted, strict=True)]
    bins = [np.flatnonzero(row) for row in counts]
    names = {
        "layer": np.full(len(count), layer, np.int32),
        "neuron": np.arange(rows.start, rows.stop, dtype=np.int32),
        "hook": [name] * len(count),
    }
    moments: Columns = {
        "count": count,
        "n_nan": hook.counts[rows, N_BINS],
        "n_inf": hook.counts[rows, N_BINS + 1],
        "min": np.where(is_counted, hook.extremes[0, rows], np.nan),
        "max": np.where(is_counted, high, np.nan),
        "mean": mean,
        "std": std,
        "skewness": skewness,
        "kurtosis": kurtosis,
    }
    summary: Columns = (
        names
        | moments
        | {
            "density": np.array([n for n, _ in above]) / np.maximum(count, 1),
            "density_above": [edge for _, edge in above],
            "peak_tokens": [p[n > 0][:_N_PEAK_TOKENS] for p, n in zip(peaks, top.length, strict=True)],
            "best_source": [s[0] if s else None for s in sources],
            "best_source_share": [float(s[0]) if len(s) else None for s in shares],
            "best_token": [int(t[0]) if len(t) else None for t in tokens],
        }
    )
    profile: Columns = (
        names
        | moments
        | {
            "power_sums": list(power_sums),
            "bins": [b.astype(np.int16) for b in bins],
            "bin_counts": [row[b] for row, b in zip(counts, bins, strict=True)],
            "range_low": [[i.low for i in own] for own in intervals],
            "range_high": [[i.high for i in own] for own in intervals],
            "range_count": [
                [ranges.counts_of(i, row) for i in own] for own, row in zip(intervals, counts, strict=True)
            ],
            "tokens": tokens,
            "token_means": token_means,
            "token_counts": token_counts,
            "sources": sources,
            "source_shares": shares,
        }
    )
    return pa.table(summary, schema=schema.NEURONS_SCHEMA), pa.table(profile, schema=schema.PROFILES_SCHEMA)


def _best_tokens(
    totals: npt.NDArray[np.int64], state: BuildState
) -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.float64]], list[npt.NDArray[np.int64]]]:
    """Return for each neuron the tokens of highest mean activation, these means and the tokens' counts.

    Args:
        totals: `[V, M]`, see `token_totals`.
        state: for the counts of tokens.
    """
    if not state.settings.by_token:
        n = totals.shape[1]
        return [np.empty(0, np.int64)] * n, [np.empty(0)] * n, [np.empty(0, np.int64)] * n
    means = token_totals.means(totals, state.token_counts).T
    best = token_totals.highest(means, BEST, state.token_counts >= state.settings.token_min_count)
    tokens = [row[row >= 0] for row in best]
    return (
        tokens,
        [line[row] for line, row in zip(means, tokens, strict=True)],
        [state.token_counts[row] for row in tokens],
    )


def _source_shares(
    mass: npt.NDArray[np.int64], state: BuildState
) -> tuple[list[list[str]], list[npt.NDArray[np.float64]]]:
    """Return for each neuron the sources of its activation above 0 and their shares, largest first.

    Args:
        mass: `[MAX_SOURCES, M]`, see `HookStatistics.source_mass`.
        state: for the names of sources.
    """
    names = state.source_rows
    sources, shares = [], []
    for column in mass[: len(names)].T:
        order = np.lexsort((np.arange(len(names)), -column))
        order = order[column[order] > 0]
        sources.append([names[i] for i in order])
        shares.append(column[order] / max(int(column.sum()), 1))
    return sources, shares


def example_rows(layer: int, index: int, rows: slice, hook: HookStatistics, state: BuildState) -> pa.Table:
    """Return the rows of the examples of some neurons at one hook.

    Args:
        layer: of the neurons.
        index: of the hook in `state.settings.hooks`.
        rows: the neurons.
        hook: its statistics.
        state: in canonical form.
    """
    tables = []
    for kind, lists in (("top", hook.top), ("bottom", hook.bottom)):
        own_lists = example_lists.select_lists(lists, rows)
        neuron, rank = np.nonzero(own_lists.length > 0)
        place = {"kind": [kind] * len(rank), "range": [None] * len(rank), "rank": rank.astype(np.int32)}
        tables.append(_table(layer, index, own_lists, neuron + rows.start, (neuron, rank), place, state))
    samples = list(_samples(rows, hook, state.settings.range_samples))
    own_lists = example_lists.select_lists(
        hook.ranges, slice(rows.start * ranges.N_LISTS, rows.stop * ranges.N_LISTS)
    )
    neuron, interval, rank, list_index, slot = (
        np.array(column, dtype=np.int64) for column in (zip(*samples, strict=True) if samples else ([],) * 5)
    )
    place = {
        "kind": ["range"] * len(samples),
        "range": interval.astype(np.int32),
        "rank": rank.astype(np.int32),
    }
    tables.append(_table(layer, index, own_lists, neuron + rows.start, (list_index, slot), place, state))
    return pa.concat_tables(tables)


def _samples(rows: slice, hook: HookStatistics, k: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the k samples of every range: neuron, range, rank, list and slot.

    Neuron and list are counted from the first of `rows`. A range is a union of lists, whose samples are
    merged by priority, with ties broken as in `example_lists`.
    """
    for n in range(rows.stop - rows.start):
        j = n + rows.start
        is_counted = hook.counts[j, :N_BINS].any()
        lists = example_lists.select_lists(hook.ranges, slice(j * ranges.N_LISTS, (j + 1) * ranges.N_LISTS))
        intervals = ranges.intervals(float(hook.extremes[1, j])) if is_counted else []
        for index, interval in enumerate(intervals):
            own = np.array(ranges.lists_of(interval, int(hook.base[j])))
            row, slot = np.nonzero(lists.length[own] > 0)
            row = own[row]
            order = np.lexsort((lists.position[row, slot], lists.document[row, slot], lists.score[row, slot]))
            for rank, i in enumerate(order[:k]):
                yield n, index, rank, n * ranges.N_LISTS + int(row[i]), int(slot[i])


def _table(
    layer: int,
    index: int,
    lists: ExampleLists,
    neuron: npt.NDArray[np.int64],
    at: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    place: Columns,
    state: BuildState,
) -> pa.Table:
    """Return the rows of some examples: those at the lists and slots `at`, with the columns of `place`."""
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
            # Without the extra LayerNorm there is one hook; the columns stay, so all caches have one schema.
            columns |= {f"{part}_{name}": [None] * len(length) for part in ("levels", "low", "high")}
    return pa.table(columns, schema=schema.EXAMPLES_SCHEMA)
