"""Shares of tokens that fit, by range: of a cache's samples, and of whole contexts."""

import math

import numpy as np
import pytest

from analysis.hypothesis import measure_consistency, parse
from analysis.hypothesis.consistency import consistency_from_contexts
from analysis.intervals import wilson
from cache.reader import NeuronCache, RangeSample


def test_levels_count_what_fits_at_the_peak(tiny_model) -> None:  # type: ignore[no-untyped-def]
    cache = NeuronCache.open(tiny_model / "neurons")
    for hook in cache.hooks:
        ranges = cache.neuron(0, 5).ranges(hook)
        found = measure_consistency(parse("/e/"), ranges, cache.vocabulary)
        above = [r for r in ranges if r.high > 0]
        expected = [
            sum(b"e" in cache.vocabulary.token_bytes[e.tokens[e.peak]] for e in r.examples) for r in above
        ]
        assert [level.n_fit for level in found.levels] == expected
        assert [level.count for level in found.levels] == [r.count for r in above]
        assert sum(expected) > 0


def test_levels_of_whole_contexts() -> None:
    random = np.random.default_rng(0)
    values = random.uniform(-1, 4, 6000)
    marks = random.random(6000) < np.clip(values / 4, 0, 1)
    marks[values > 3] = True
    contexts = np.repeat(np.arange(60), 100)
    ranges = [RangeSample(-np.inf, 0, 9, [])] + [RangeSample(k, k + 1, 9, []) for k in range(4)]
    levels = consistency_from_contexts(values, marks, contexts, ranges).levels
    for k, level in enumerate(levels):
        inside = (values > k) & (values < k + 1)
        assert (level.n_fit, level.n_sampled) == (marks[inside].sum(), inside.sum())
        assert level.share.low < level.share.value <= level.share.high
    assert levels[3].share == wilson(60, 60)
    width = levels[1].share.high - levels[1].share.low  # contexts are no clusters here: as the binomial's
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.375 * 0.625 / levels[1].n_sampled), rel=0.25)


def test_contexts_that_are_all_alike_count_as_one() -> None:
    contexts = np.repeat(np.arange(20), 50)
    marks = contexts % 2 == 0
    (level,) = consistency_from_contexts(np.ones(1000), marks, contexts, [RangeSample(0, 2, 1000, [])]).levels
    assert level.share.high - level.share.low > 0.3  # the binomial of 1,000 says 0.06
