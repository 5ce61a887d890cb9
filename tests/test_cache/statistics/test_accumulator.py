"""The compiled loops against numpy."""

import numpy as np
import numpy.typing as npt
import pytest

from cache.format.histogram import N_BINS, bin_index
from cache.statistics import ranges, scan_kernels, token_totals
from cache.statistics.accumulator import CpuAccumulator, prepare_context
from cache.statistics.exact_sum import to_float
from cache.statistics.example_lists import Window
from cache.statistics.hook import HookStatistics, StatisticsOptions
from cache.statistics.identity import fingerprint, priority, token_hashes
from cache.statistics.layer import LayerStatistics
from cache.statistics.token_totals import GRID_BITS

M, V, T = 5, 40, 9
KEEP = StatisticsOptions(top_k=3, range_samples=2, window=Window(2, 1), sample_window=Window(1, 1))

Documents = dict[int, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]]


def documents(seed: int = 1, *, ties: bool = False) -> Documents:
    """Return ten documents of one to four contexts: tokens `[T]` with a BOS and activations `[2, T, M]`."""
    rng = np.random.default_rng(seed)
    found: Documents = {}
    for document in range(10):
        contexts = []
        for _ in range(rng.integers(1, 5)):
            length = int(rng.integers(2, T + 1))
            acts = rng.standard_normal((2, length, M)).astype(np.float32)
            tokens = rng.integers(0, V, length)
            contexts.append((tokens, np.round(acts) if ties else acts))
        found[document] = contexts
    return found


def accumulated(
    found: Documents, *, n_threads: int = 1, keep: StatisticsOptions = KEEP
) -> list[HookStatistics]:
    hooks = [HookStatistics.empty(M, 2, V, keep) for _ in range(2)]
    layer = LayerStatistics(hooks, seed=0, layer=0, options=keep, n_threads=n_threads)
    accumulator = CpuAccumulator(layer, V)
    for document, contexts in found.items():
        start = 0
        for tokens, acts in contexts:
            accumulator.add(prepare_context(document, start, tokens), acts, document % 3)
            start += len(tokens) - 1
        accumulator.end_document()
    layer.flush()
    for hook in hooks:
        hook.canonicalize()
    return hooks


def best(found: Documents, hook: int, neuron: int, sign: int) -> list[tuple[float, int, int]]:
    """Return the three strongest (weakest) tokens, one for each document and for near-identical texts."""
    offers = []
    for document, contexts in found.items():
        start, ranked = 0, []
        for tokens, acts in contexts:
            for t in range(1, len(tokens)):
                x = float(acts[hook, t, neuron])
                ranked.append((-sign * x, document, start + t - 1, fingerprint(tokens, t)))
            start += len(tokens) - 1
        offers.append(min(ranked))
    seen: set[int] = set()
    result = []
    for x, document, position, key in sorted(offers):
        if key not in seen:
            seen.add(key)
            result.append((-sign * x + 0.0, document, position))
    return result[: KEEP.top_k]


@pytest.mark.parametrize("ties", [False, True])
def test_against_numpy(ties):
    found = documents(ties=ties)
    for h, hook in enumerate(accumulated(found, n_threads=3)):
        past_bos = [
            (tokens[1:], acts[h, 1:], d % 3) for d, contexts in found.items() for tokens, acts in contexts
        ]
        x = np.concatenate([a for _, a, _ in past_bos])
        tokens = np.concatenate([t for t, _, _ in past_bos])
        sources = np.concatenate([[s] * len(t) for t, _, s in past_bos])
        grid = 2.0**GRID_BITS
        for j in range(M):
            column = x[:, j]
            counts = np.bincount(bin_index(column), minlength=N_BINS)
            np.testing.assert_array_equal(hook.counts[j, :N_BINS], counts)
            assert tuple(hook.extremes[:, j]) == (column.min(), column.max())
            np.testing.assert_allclose(
                to_float(hook.power_sums[:, j]),
                [(column.astype(float) ** p).sum() for p in (1, 2, 3, 4)],
                rtol=1e-12,
            )
            for token in range(V):
                of_token = np.rint(column[tokens == token].astype(float) * grid).sum()
                assert token_totals.whole(hook.token_totals[token])[j] == of_token
            for source in range(3):
                mass = np.maximum(column[sources == source].astype(float), 0).sum()
                assert hook.source_mass[source, j] == pytest.approx(mass * grid, abs=len(past_bos))
            for sign, lists in ((1, hook.top), (-1, hook.bottom)):
                kept = [
                    (float(v), int(d), int(p))
                    for v, d, p in zip(
                        lists.value[j, :, h], lists.document[j], lists.position[j], strict=True
                    )
                ]
                assert kept == best(found, h, j, sign)


def test_windows_hold_the_tokens_and_activations_around_the_peak():
    found = documents()
    hooks = accumulated(found)
    for hook in hooks:
        for lists, window in ((hook.top, KEEP.window), (hook.bottom, KEEP.sample_window)):
            for j, k in np.ndindex(M, KEEP.top_k):
                context = start = 0
                while start + len(found[int(lists.document[j, k])][context][0]) - 1 <= lists.position[j, k]:
                    start += len(found[int(lists.document[j, k])][context][0]) - 1
                    context += 1
                tokens, acts = found[int(lists.document[j, k])][context]
                at = int(lists.position[j, k]) - start + 1
                low, high = max(at - window.before, 1), min(at + window.after + 1, len(tokens))
                n = int(lists.length[j, k])
                assert (lists.start[j, k], lists.peak[j, k], n) == (start, at - low, high - low)
                np.testing.assert_array_equal(lists.tokens[j, k, :n], tokens[low:high])
                for h in range(2):
                    truth = acts[h, low:high, j]
                    bottom, top = lists.low[j, k, h], lists.high[j, k, h]
                    assert (bottom, top) == (truth.min(), truth.max())
                    shown = bottom + lists.levels[j, k, h, :n] / 255 * (top - bottom)
                    np.testing.assert_allclose(shown, truth, atol=(top - bottom) / 509 + 1e-7)


def test_samples_hold_every_token_where_there_is_room():
    found = documents()
    keep = StatisticsOptions(top_k=1, range_samples=200, window=Window(0, 0), sample_window=Window(0, 0))
    for h, hook in enumerate(accumulated(found, keep=keep)):
        lists = hook.ranges
        for j in range(M):
            everything = sorted(
                float(x) for contexts in found.values() for _, acts in contexts for x in acts[h, 1:, j]
            )
            sampled = []
            for interval in ranges.intervals(float(hook.extremes[1, j])):
                at = j * ranges.N_LISTS + np.array(ranges.lists_of(interval, int(hook.base[j])))
                values = lists.value[at, :, h][lists.length[at] > 0]
                n = ranges.counts_of(interval, hook.counts[j, :N_BINS])
                assert len(values) == n
                assert (values > interval.low).all() or interval.low == 0 or (values >= interval.low).all()
                assert (values <= interval.high).all()
                sampled += values.tolist()
            assert sorted(sampled) == everything


def test_nan_and_infinity_are_counted_and_left_out():
    found = documents(3)
    n_tokens = sum(len(tokens) - 1 for contexts in found.values() for tokens, _ in contexts)
    for contexts in found.values():
        for _, acts in contexts:
            acts[0, :, 2] = np.nan
    found[0][0][1][0, 1, 3] = np.inf
    found[1][0][1][0, 1, 3] = -np.inf
    hook = accumulated(found)[0]
    assert hook.counts[2, N_BINS:].tolist() == [n_tokens, 0]
    assert hook.counts[3, N_BINS:].tolist() == [0, 2]
    assert hook.counts[2, :N_BINS].sum() == 0
    assert (hook.top.length[2] == 0).all()
    assert (hook.bottom.length[2] == 0).all()
    assert np.isfinite(to_float(hook.power_sums)).all()
    assert np.isfinite(hook.top.value[3][hook.top.length[3] > 0][:, 0]).all()
    n_sampled = (hook.ranges.length[2 * ranges.N_LISTS : 3 * ranges.N_LISTS] > 0).sum()
    assert n_sampled == 0


def test_activations_of_another_shape_are_refused():
    found = {0: [(np.zeros(4, np.int64), np.zeros((1, 4, M), np.float32))]}
    with pytest.raises(ValueError, match="expected activations of shape"):
        accumulated(found)


def test_a_wide_layer_passes_in_spans_and_what_enters_at_once_in_pieces():
    """Add more neurons than one scan takes, an incomplete block, and more candidates than fit in a scan."""
    rng = np.random.default_rng(0)
    m, t = scan_kernels.SPAN + 40, 2 * scan_kernels.ROOM // scan_kernels.SPAN
    acts = -np.abs(rng.standard_normal((1, t, m))).astype(np.float32)
    keep = StatisticsOptions(
        top_k=1, range_samples=4, window=Window(0, 0), sample_window=Window(0, 0), by_token=False
    )
    hook = HookStatistics.empty(m, 1, 0, keep)
    layer = LayerStatistics([hook], seed=0, layer=0, options=keep, n_threads=2)
    accumulator = CpuAccumulator(layer, 1)
    accumulator.add(prepare_context(7, 0, np.arange(t)), acts, -1)
    accumulator.end_document()
    layer.flush()
    hashes = token_hashes(7, np.arange(t - 1))
    for j in (0, scan_kernels.SPAN - 1, scan_kernels.SPAN, m - 1):
        counts = np.bincount(bin_index(acts[0, 1:, j]), minlength=N_BINS)
        np.testing.assert_array_equal(hook.counts[j, :N_BINS], counts)
        assert hook.top.position[j, 0] == acts[0, 1:, j].argmax()
        assert hook.bottom.position[j, 0] == acts[0, 1:, j].argmin()
        first = np.argsort(priority(hashes, layer.keys[j]))[:4]
        drawn = hook.ranges.position[j * ranges.N_LISTS + ranges.NOT_POSITIVE]
        assert sorted(drawn.tolist()) == sorted(first.tolist())
    np.testing.assert_allclose(
        to_float(hook.power_sums)[1], (acts[0, 1:].astype(float) ** 2).sum(0), rtol=1e-12
    )
