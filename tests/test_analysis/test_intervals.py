"""How often the lab's intervals hold the truth: against exact sums, and in 1,000 simulated draws each."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.hypothesis import Context, Level, measure_consistency
from analysis.hypothesis.consistency import Consistency, consistency_from_contexts
from analysis.hypothesis.language import Marks
from analysis.intervals import (
    UNKNOWN,
    Z_95,
    Estimate,
    difference,
    format_estimate,
    weighted_mean,
    wilson,
)
from cache.format.schema import Provenance
from cache.format.vocabulary import Vocabulary
from cache.reader import Example, RangeSample

TRIES = 1000
VOCABULARY = Vocabulary([b"no", b"yes"])


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_ends_are_the_shares_that_a_score_test_just_allows(counts: tuple[int, int]) -> None:
    n_fit, n = counts
    found = wilson(n_fit, n)
    for end, ordinary in ((found.low, n_fit > 0), (found.high, n_fit < n)):
        if ordinary:
            assert abs(n_fit / n - end) == pytest.approx(Z_95 * math.sqrt(end * (1 - end) / n), rel=1e-6)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - wilson(n - n_fit, n).high)


@pytest.mark.parametrize("n", [20, 60, 200])
def test_wilson_covers_95_of_100_over_all_shares(n: int) -> None:
    """Exactly, by the binomial distribution, the mean over shares from 5% to 95%."""
    estimates = [wilson(k, n) for k in range(n + 1)]
    covered = [
        sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if holds(estimates[k], p))
        for p in np.linspace(0.05, 0.95, 91).tolist()
    ]
    assert 0.945 <= np.mean(covered) <= 0.955


def test_all_tokens_seen_leave_no_doubt_and_few_unseen_ones_little() -> None:
    assert wilson(3, 7, 7) == Estimate(3 / 7, 3 / 7, 3 / 7)
    widths = [w.high - w.low for w in (wilson(30, 60, n) for n in (61, 90, 1000, math.inf))]
    assert widths == sorted(widths)
    assert widths[0] < 0.04 < 0.2 < widths[-1]
    assert widths[2] / widths[3] == pytest.approx(math.sqrt(940 / 999), rel=0.01)


def example(token: int) -> Example:
    tokens = np.array([token], dtype=np.int32)
    return Example(1.0, tokens, 0, {}, 0, 0, 0, Provenance("", "", "", ""))


def says_yes(context: Context) -> Marks:
    return np.array([data == b"yes" for data in context.token_bytes])


def test_the_share_of_the_whole_corpus_is_held_from_few_samples_of_each_range() -> None:
    """Ranges as a cache keeps them: exact counts, uniform samples without replacement, all where few are."""
    random = np.random.default_rng(11)
    tokens = [random.random(n) < p for n, p in ((6000, 0.3), (3000, 0.5), (400, 0.7), (60, 0.8), (12, 0.5))]
    truths = [float(part.mean()) for part in tokens]
    truth = float(np.concatenate(tokens).mean())
    one = [example(0), example(1)]
    edges = [-math.inf, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    hits, high, levels = 0, 0, np.zeros(5)
    for _ in range(TRIES):
        drawn = [random.choice(part, min(40, len(part)), replace=False) for part in tokens]
        ranges = [RangeSample(edges[0], edges[1], 99, [one[1]])]
        ranges += [
            RangeSample(low, top, len(part), [one[int(fits)] for fits in seen])
            for low, top, part, seen in zip(edges[1:], edges[2:], tokens, drawn, strict=False)
        ]
        found = measure_consistency(says_yes, ranges, VOCABULARY)
        hits += holds(found.overall, truth)
        high += holds(found.mean_share(0.4, 1.0), float(np.mean(truths[2:])))
        levels += [holds(level.share, t) for level, t in zip(found.levels, truths, strict=True)]
    assert 0.93 <= hits / TRIES <= 0.97
    assert 0.93 <= high / TRIES <= 0.97
    assert ((levels[:4] >= 0.92 * TRIES) & (levels[:4] <= 0.98 * TRIES)).all()
    assert levels[4] == TRIES  # all of its tokens were seen


RANGES = [RangeSample(float(k), k + 1.0, count, []) for k, count in enumerate((800, 150, 50))]


@pytest.mark.parametrize(("n_contexts", "each", "spread"), [(100, 20, 1.0), (300, 50, 2.0)])
def test_shares_of_whole_contexts_are_held_though_tokens_of_one_text_are_alike(
    n_contexts: int, each: int, spread: float
) -> None:
    """Each text has a liking of its own, normal in the logits, for the hypothesis at every level."""
    random = np.random.default_rng(2)
    odds = np.log(np.array([0.1, 0.4, 0.8]) / np.array([0.9, 0.6, 0.2]))
    nodes, masses = np.polynomial.hermite_e.hermegauss(60)
    truths = masses @ (1 / (1 + np.exp(-(odds + spread * nodes[:, None])))) / masses.sum()
    truth = float(truths @ [0.8, 0.15, 0.05])
    contexts, hits, levels = np.repeat(np.arange(n_contexts), each), 0, np.zeros(3)
    for _ in range(TRIES):
        values = random.choice([-0.5, 0.5, 1.5, 2.5], p=[0.5, 0.3, 0.12, 0.08], size=len(contexts))
        liking = (
            odds[np.maximum(values, 0).astype(int)] + random.normal(scale=spread, size=n_contexts)[contexts]
        )
        marks = random.random(len(contexts)) < 1 / (1 + np.exp(-liking))
        found = consistency_from_contexts(values, marks, contexts, RANGES)
        hits += holds(found.overall, truth)
        levels += [holds(level.share, t) for level, t in zip(found.levels, truths.tolist(), strict=True)]
    assert 0.93 <= hits / TRIES <= 0.97
    assert ((levels >= 0.92 * TRIES) & (levels <= 0.98 * TRIES)).all()


def test_levels_of_the_same_texts_are_not_taken_for_independent() -> None:
    contexts = np.repeat(np.arange(40), 3)
    marks, values = contexts % 2 == 0, np.tile([0.5, 1.5, 2.5], 40)
    found = consistency_from_contexts(values, marks, contexts, RANGES)
    first = found.levels[0].share
    assert all(level.share == first for level in found.levels)
    assert (found.overall.low, found.overall.high) == pytest.approx((first.low, first.high))
    apart = weighted_mean([first] * 3, [800, 150, 50])
    assert apart.high - apart.low < found.overall.high - found.overall.low


def test_one_text_says_little_however_long_it_is() -> None:
    marks = np.tile([True, False], 500)
    (level, *others) = consistency_from_contexts(
        np.full(1000, 0.5), marks, np.zeros(1000, dtype=int), RANGES
    ).levels
    assert level.share.value == 0.5
    assert level.share.high - level.share.low > 0.8
    assert all(math.isnan(other.share.value) and other.n_sampled == 0 for other in others)


def test_nothing_above_0_gives_no_estimate() -> None:
    nothing: Sequence[Level] = consistency_from_contexts(
        np.zeros(4), np.ones(4, bool), np.arange(4), RANGES
    ).levels
    assert [level.n_sampled for level in nothing] == [0, 0, 0]
    assert (Consistency(nothing).overall.low, Consistency(nothing).overall.high) == (0, 1)
    assert math.isnan(Consistency(nothing).mean_share(0.1, 1).value)
    assert consistency_from_contexts(np.ones(1), np.ones(1, bool), np.zeros(1, int), []).levels == []
    empty = np.zeros(0)
    assert consistency_from_contexts(empty, empty > 0, empty.astype(int), RANGES).levels[0].n_sampled == 0


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    found = wilson(81, 263)  # Newcombe 1998, table I, method 3
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0
    assert round(wilson(0, 20).high, 4) == 0.1611
    assert wilson(5, 5).high == 1
    assert math.isnan(wilson(0, 0).value)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    shares, counts, n = [0.2, 0.5, 0.7], [600, 300, 100], [60, 80, 50]
    truth = float(np.average(shares, weights=counts))
    one = whole = apart = 0
    for _ in range(1000):
        found = [wilson(int(random.binomial(k, p)), k) for k, p in zip(n, shares, strict=True)]
        one += found[0].low <= shares[0] <= found[0].high
        joined = weighted_mean(found, counts)
        whole += joined.low <= truth <= joined.high
        change = difference(found[2], found[1])
        apart += change.low <= shares[2] - shares[1] <= change.high
    assert [0.93 <= hits / 1000 <= 0.97 for hits in (one, whole, apart)] == [True] * 3


def test_a_level_that_nobody_looked_at_may_hold_anything() -> None:
    sure = Estimate(1.0, 1.0, 1.0)
    found = weighted_mean([sure, wilson(0, 0)], [3, 1])
    assert (found.value, found.low, found.high) == (0.875, 0.75, 1.0)
    assert math.isnan(weighted_mean([], []).value)


def test_an_estimate_is_written_with_its_interval() -> None:
    assert format_estimate(Estimate(0.6, 0.47, 0.71), "{:.0%}".format) == "60% (47% to 71%)"
    assert format_estimate(Estimate(6, 4.7, 7.1), "{:.0f}".format, " points") == "6 points (5 to 7 points)"
    assert format_estimate(UNKNOWN, "{:.3f}".format) == "–"
