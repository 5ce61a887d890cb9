"""Intervals of detection: against plain resampling, and how often they cover the true value."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from analysis.hypothesis.detection import MAX_CLASSES, detection_curve, measure_detection


def test_intervals_are_those_of_contexts_drawn_one_by_one() -> None:
    random = np.random.default_rng(1)
    contexts = np.repeat(np.arange(30), 400)
    marks = random.random(12_000) < np.where(contexts % 3 == 0, 0.3, 0.02)
    values = (random.normal(size=12_000) + marks).astype(np.float16)
    assert len(np.unique(values)) > MAX_CLASSES  # so that neighbours are joined
    found = measure_detection(values, marks, contexts, draws=100, seed=7)
    drawn = []
    for times in np.random.default_rng(7).multinomial(30, np.full(30, 1 / 30), size=100):
        tokens = np.repeat(np.arange(12_000), times[contexts])
        again = detection_curve(values[tokens], marks[tokens])
        drawn.append((again.average_precision, again.auc))
    for k, estimate in enumerate((found.average_precision, found.auc)):
        low, high = np.quantile([row[k] for row in drawn], [0.025, 0.975])
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.001)
        assert high - low > 0.02


def test_the_interval_of_the_auc_covers_as_often_as_it_says() -> None:
    """1,000 samples of 100 contexts, in each of which all tokens share a part of their activation."""
    random = np.random.default_rng(3)
    hits, tries, n, each = 0, 1000, 100, 6
    between, inside = (NormalDist().cdf(1 / math.sqrt(variance)) for variance in (3, 2))
    truth = between * (1 - 1 / n) + inside / n  # two tokens of one context share that part
    contexts, marks = np.repeat(np.arange(n), each), np.tile(np.arange(each) < 2, n)
    for seed in range(tries):
        shared = np.repeat(random.normal(scale=math.sqrt(0.5), size=n), each)
        values = (random.normal(size=n * each) + shared + marks).astype(np.float16)
        auc = measure_detection(values, marks, contexts, draws=200, seed=seed).auc
        hits += auc.low <= truth <= auc.high
    assert 0.93 <= hits / tries <= 0.97
