"""Intervals, samples and rankings against brute force, and the uniformity of samples."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from cache.format.histogram import N_BINS
from cache.statistics import example_kernels, sample_kernels, token_totals
from cache.statistics.example_lists import ExampleLists
from cache.statistics.hook import HookStatistics
from cache.statistics.identity import fingerprint, neuron_keys, priority, token_hashes
from cache.statistics.ranges import N_LISTS, counts_of, intervals, lists_of
from tests.test_cache import synthetic
from tests.test_cache.synthetic import FLAVOURS, Made, activations, corpus_of, made, state_of

REFUSED = 1e-6
"""Probability of refusing a uniform sample; seeds are fixed, so a test fails always or never."""

Priorities = npt.NDArray[np.uint64]


def p_value(counts: npt.NDArray[np.integer], drawn: int) -> float:
    """Return the probability of counts at least as uneven, if each sample draws `drawn` of the n tokens.

    Pearson's statistic, corrected for drawing without replacement; Wilson and Hilferty's approximation of
    its tail.
    """
    n = len(counts)
    expected = counts.sum() / n
    statistic = ((counts - expected) ** 2 / expected).sum() * (n - 1) / (n - drawn)
    degrees = n - 1
    z = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return 0.5 * math.erfc(z / math.sqrt(2))


def chosen(priorities: Priorities, k: int) -> npt.NDArray[np.int64]:
    """Count how often each token is among the k of lowest priority: priorities `[T, M]`."""
    lowest = np.argpartition(priorities, k, axis=0)[:k]
    return np.bincount(lowest.ravel(), minlength=len(priorities))


def test_the_compiled_priority_is_the_definition():
    rng = np.random.default_rng(0)
    token, neuron = rng.integers(0, 2**64, (2, 500), dtype=np.uint64)
    for t, n, expected in zip(token, neuron, priority(token, neuron), strict=True):
        half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
        first = sample_kernels.priority_half(np.uint32(t >> half), np.uint32(n >> half))
        second = sample_kernels.priority_half(np.uint32(t & low), np.uint32(n & low))
        assert int(first) << 32 | int(second) == int(expected)


def test_the_compiled_fingerprint_is_the_definition():
    rng = np.random.default_rng(0)
    for length in (2, 3, 11, 12, 17, 40):
        tokens = rng.integers(0, 2**17, length)
        for at in range(1, length):
            assert int(example_kernels.fingerprint(tokens, at)) == fingerprint(tokens, at)


def tokens_of(documents: list[Made]) -> tuple[Priorities, npt.NDArray[np.float32], list[tuple[int, int]]]:
    """Return names `[T]`, activations `[H, T, M]` and (document, position) of all tokens; copies once."""
    names, acts, places = [], [], []
    for text, contexts in {d.text.id: (d.text, d.contexts) for d in documents}.values():
        n = len(text.tokens)
        names.append(token_hashes(text.id, np.arange(n)))
        acts += [a[:, 1:] for _, a in contexts]
        places += [(text.id, position) for position in range(n)]
    return np.concatenate(names), np.concatenate(acts, axis=1), places


@pytest.mark.parametrize("seed", range(4))
def test_intervals_and_samples_are_the_brute_force_ones(seed):
    of = synthetic.settings(FLAVOURS, range_samples=3, seed=seed)
    documents = corpus_of(seed, 40)
    state = state_of(documents, of)
    names, acts, places = tokens_of(documents)
    everything = np.concatenate([a[:, 1:] for d in documents for _, a in d.contexts], axis=1)
    keys = neuron_keys(seed, 0, FLAVOURS)
    for h, hook in enumerate(state.layers[0]):
        for j in range(FLAVOURS):
            x, counted = acts[h, :, j], everything[h, :, j]
            finite = counted[np.isfinite(counted)]
            assert hook.counts[j, N_BINS] == np.isnan(counted).sum()
            assert hook.counts[j, N_BINS + 1] == np.isinf(counted).sum()
            if not len(finite):
                assert (hook.ranges.length.reshape(FLAVOURS, -1)[j] == 0).all()
                continue
            found = intervals(float(hook.extremes[1, j]))
            assert found[0].high == 0
            assert found[-1].high == max(finite.max(), 0)
            assert [i.low for i in found[1:]] == [i.high for i in found[:-1]]
            n_counted = 0
            for interval in found:
                n = counts_of(interval, hook.counts[j, :N_BINS])
                inside = [within(v, interval, last=interval is found[-1]) for v in (counted, x)]
                assert n == inside[0].sum()
                n_counted += n
                scores = np.where(inside[1], priority(names, keys[j]), np.uint64(2**64 - 1))
                order = np.argsort(scores, kind="stable")[: min(3, inside[1].sum())]
                expected = [(*places[i], float(x[i])) for i in order]
                assert sampled(hook, j, h, interval)[:3] == expected
            assert n_counted == len(finite)


def within(x, interval, *, last):
    if interval.high == 0:
        return (x <= 0) & np.isfinite(x)
    return (
        (x > 0)
        & (x >= interval.low)
        & ((x <= interval.high) if last else (x < interval.high))
        & np.isfinite(x)
    )


def sampled(hook: HookStatistics, neuron: int, h: int, interval) -> list[tuple[int, int, float]]:
    """Return document, position and value of the sample of an interval, lowest priority first."""
    at = neuron * N_LISTS + np.array(lists_of(interval, int(hook.base[neuron])))
    lists = ExampleLists(*(a[at] for a in hook.ranges))
    there = np.nonzero(lists.length > 0)
    order = np.argsort(lists.score[there])
    columns = (lists.document[there], lists.position[there], lists.value[there][:, h])
    return [tuple(c[i].item() for c in columns) for i in order]


def test_samples_of_many_neurons_are_uniform_in_each_interval():
    """Give all neurons the same activations on 1,500 tokens, so all draw from one known population."""
    n_neurons, k, rng = 1024, 5, np.random.default_rng(1)
    documents = []
    for n in range(30):
        values = rng.standard_normal((2, 51, 1)).astype(np.float32)
        documents.append(made(str(n), [np.repeat(values, n_neurons, axis=2)], seed=n))
    state = state_of(documents, synthetic.settings(n_neurons, n_ctx=51, range_samples=k))
    _, acts, places = tokens_of(documents)
    index = {place: i for i, place in enumerate(places)}
    hook = state.layers[0][0]
    x = acts[0, :, 0]
    tested = 0
    for interval in (found := intervals(float(x.max()))):
        inside = within(x, interval, last=interval is found[-1])
        if inside.sum() <= 2 * k:
            continue
        counts = np.zeros(len(x), dtype=np.int64)
        for j in range(n_neurons):
            sample = sampled(hook, j, 0, interval)[:k]
            assert len(sample) == k
            counts[[index[document, position] for document, position, _ in sample]] += 1
        assert counts[~inside].sum() == 0
        assert p_value(counts[inside], k) > REFUSED
        tested += 1
    assert tested >= 7


def test_samples_of_many_seeds_are_uniform():
    rng, k, counts = np.random.default_rng(2), 4, np.zeros(60, dtype=np.int64)
    values = -np.abs(rng.standard_normal((2, 61, 1))).astype(np.float32)
    document = made("one", [values])
    for seed in range(600):
        hook = state_of([document], synthetic.settings(1, n_ctx=61, range_samples=k, seed=seed)).layers[0][0]
        np.add.at(counts, [position for _, position, _ in sampled(hook, 0, 0, intervals(-1.0)[0])], 1)
    assert counts.sum() == 600 * k
    assert p_value(counts, k) > REFUSED


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_priorities_of_millions_are_uniform(seed):
    """Try neighbouring tokens, layers, neurons and seeds: regular input of the hash."""
    names = np.concatenate([token_hashes(document, np.arange(20)) for document in range(20)])
    for layer in (0, 1):
        counts = chosen(priority(names[:, None], neuron_keys(seed, layer, 8192)[None]), 5)
        assert p_value(counts, 5) > REFUSED
    seeds = np.array([neuron_keys(s, 0, 1)[0] for s in range(8192)])
    assert p_value(chosen(priority(names[:, None], seeds[None]), 5), 5) > REFUSED


def test_two_tokens_are_chosen_together_as_often_as_any_two():
    names = token_hashes(77, np.arange(24))
    priorities = priority(names[:, None], neuron_keys(0, 0, 65536)[None])
    taken = np.zeros(priorities.shape, dtype=np.int64)
    np.put_along_axis(taken, np.argpartition(priorities, 4, axis=0)[:4], 1, axis=0)
    together = (taken @ taken.T)[np.triu_indices(24, 1)]
    assert p_value(together, 4) > REFUSED


def test_a_biased_sampler_is_refused():
    """Show that the tests above can fail: each of these samplers looks random at first."""
    names = np.concatenate([token_hashes(document, np.arange(20)) for document in range(20)])
    keys = neuron_keys(0, 0, 8192)
    fair = priority(names[:, None], keys[None])
    late = fair.copy()
    late[10::20] = late[10::20] // np.uint64(4) * np.uint64(3)  # one token of 20 a third likelier
    same = np.repeat(fair[:, :64], 128, axis=1)  # neurons that share their priorities
    assert p_value(chosen(fair, 5), 5) > REFUSED
    for biased in (late, same):
        assert p_value(chosen(biased, 5), 5) < REFUSED
    # Without mixing, a neuron chooses neighbouring tokens together.
    keys = np.arange(65536, dtype=np.uint64) << np.uint64(40)
    names = token_hashes(77, np.arange(24))
    taken = np.zeros((24, 65536), dtype=np.int64)
    np.put_along_axis(taken, np.argpartition(names[:, None] ^ keys[None], 4, axis=0)[:4], 1, axis=0)
    assert p_value((taken @ taken.T)[np.triu_indices(24, 1)], 4) < REFUSED


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_rankings_are_the_brute_force_ones(seed, sign):
    """Rank one example a document and near-identical text, without BOS and NaN; ties to the lower name."""
    documents = corpus_of(seed, 60)
    state = state_of(documents, synthetic.settings(FLAVOURS, top_k=6))
    for h, hook in enumerate(state.layers[0]):
        lists = hook.top if sign > 0 else hook.bottom
        for j in range(FLAVOURS):
            offers = []
            for document in documents:
                start, ranked = 0, []
                for tokens, acts in document.contexts:
                    for t in range(1, len(tokens)):
                        if np.isfinite(x := acts[h, t, j]):
                            rank = (-sign * float(x) + 0.0, document.text.id, start + t - 1)
                            ranked.append((*rank, fingerprint(tokens, t)))
                    start += len(tokens) - 1
                offers += [min(ranked)] if ranked else []
            seen: dict[int, tuple[int, int]] = {}
            for _, where, position, key in sorted(offers):
                seen.setdefault(key, (where, position))
            there = lists.length[j] > 0
            order = np.lexsort((lists.position[j], lists.document[j], lists.score[j], ~there))[: there.sum()]
            found = [(int(lists.document[j, i]), int(lists.position[j, i])) for i in order]
            assert found == list(seen.values())[:6]


def test_the_bos_is_in_nothing():
    rng = np.random.default_rng(0)
    documents = []
    for n in range(5):
        acts = rng.standard_normal((2, 6, 3)).astype(np.float32)
        acts[:, 0] = [1e6, -1e6, np.nan]
        documents.append(made(str(n), [acts, acts + 1], seed=n))
    state = state_of(documents, synthetic.settings(3, range_samples=100))
    for hook in state.layers[0]:
        assert np.abs(hook.extremes).max() < 100
        assert hook.counts[:, :N_BINS].sum(axis=1).tolist() == [50, 50, 50]
        assert hook.counts[:, N_BINS:].sum() == 0
        for lists in (hook.top, hook.bottom, hook.ranges):
            there = lists.length > 0
            assert np.abs(lists.value[there]).max() < 100
            assert np.abs(lists.low[there]).max() < 100
            assert (lists.tokens[there][:, 0] != 0).all()
    assert state.token_counts[0] == 0


@pytest.mark.parametrize("seed", range(2))
def test_tokens_and_sources_are_the_brute_force_ones(seed):
    documents = corpus_of(seed, 30)
    state = state_of(documents, synthetic.settings(FLAVOURS))
    tokens = np.concatenate([d.text.tokens for d in documents])
    acts = np.concatenate([a[:, 1:] for d in documents for _, a in d.contexts], axis=1).astype(np.float64)
    np.testing.assert_array_equal(state.token_counts, np.bincount(tokens, minlength=synthetic.V))
    on_grid = np.rint(
        np.clip(np.nan_to_num(acts, nan=0, posinf=np.inf, neginf=-np.inf), -(2.0**16), 2.0**16) * 2.0**24
    )
    for h, hook in enumerate(state.layers[0]):
        for token in range(synthetic.V):
            expected = on_grid[h, tokens == token].sum(axis=0)
            np.testing.assert_array_equal(token_totals.whole(hook.token_totals[token]), expected)
        mass = np.zeros((len(state.source_rows), FLAVOURS))
        for document in documents:
            row = state.source_rows.index(document.text.provenance.source)
            for _, a in document.contexts:
                x = a[h, 1:].astype(np.float64)
                positive = np.where(np.isfinite(x), np.maximum(x, 0), 0).sum(axis=0)
                mass[row] += np.minimum(positive, 2.0**26) * 2.0**24
        np.testing.assert_allclose(hook.source_mass[: len(mass)], mass, rtol=1e-12, atol=len(documents) * 4)


def test_an_activation_of_each_kind_is_tried():
    acts = activations(np.random.default_rng(0), 200, FLAVOURS)[0]
    finite = np.abs(acts[np.isfinite(acts)])
    assert finite.max() > 2**16
    assert 0 < finite[finite > 0].min() < 2**-24
    assert np.isnan(acts).any()
    assert np.isinf(acts).any()
    assert np.signbit(acts[acts == 0]).any()
