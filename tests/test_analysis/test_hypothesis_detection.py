"""Detection against brute force, and its intervals: plain resampling, and how often they cover the truth."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.hypothesis.detection import MAX_CLASSES, detection_curve, measure_detection, ordinals

finite = st.floats(-60000, 60000, width=16)


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


@given(st.lists(finite, min_size=1, max_size=30))
def test_ordinals_sort_as_the_values(values: list[float]) -> None:
    v = np.array(values, dtype=np.float16)
    assert np.array_equal(np.sign(np.subtract.outer(ordinals(v), ordinals(v))),
                          np.sign(np.subtract.outer(v.astype(float), v.astype(float))))  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([-1.5, -0.0, 0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=1))
def test_detection_by_brute_force(rows: list[tuple[float, bool]]) -> None:
    values = np.array([v for v, _ in rows], dtype=np.float16)
    marks = np.array([m for _, m in rows])
    curve = detection_curve(values, marks)
    fits, others = values[marks].astype(float), values[~marks].astype(float)
    if len(fits) and len(others):
        higher = fits[:, None] > others[None]
        assert curve.auc == pytest.approx((higher + 0.5 * (fits[:, None] == others[None])).mean())
    else:
        assert math.isnan(curve.auc)
    if not len(fits):
        assert not np.isfinite(curve.recall).any()
        return
    precision = recall = area = best = 0.0
    for threshold in sorted(set(values.astype(float).tolist()), reverse=True):
        yes = values >= threshold
        precision, before, recall = marks[yes].mean(), recall, marks[yes].sum() / marks.sum()
        area += (recall - before) * precision
        best = max(best, 2 * precision * recall / (precision + recall) if recall else 0.0)
    assert curve.average_precision == pytest.approx(area)
    p, r = curve.precision[curve.best], curve.recall[curve.best]
    assert 2 * p * r / (p + r) == pytest.approx(best)


def test_detections_intervals_come_from_contexts_and_cover() -> None:
    random = np.random.default_rng(3)
    truth, hits, tries = 0.760250, 0, 150  # P(N(1,1) > N(0,1)), the normal distribution at 1/sqrt(2)
    for seed in range(tries):
        marks = np.tile(np.arange(10) < 3, 40)
        values = (random.normal(size=400) + marks).astype(np.float16)
        found = measure_detection(values, marks, np.repeat(np.arange(40), 10), draws=200, seed=seed)
        hits += found.auc.low <= truth <= found.auc.high
    assert 0.88 <= hits / tries <= 0.99
    assert (found.n_fit, found.n_tokens, found.base_rate) == (120, 400, 0.3)


def test_all_or_nothing_has_no_interval() -> None:
    for marks in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool)):
        found = measure_detection(np.arange(4, dtype=np.float16), marks, np.arange(4))
        assert math.isnan(found.auc.value)
        assert math.isnan(found.auc.low)
