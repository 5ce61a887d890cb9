"""The statistics of a rating study against brute force, published examples and simulation."""

import csv
import io
import json
import math
import random
from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from analysis.intervals import difference, wilson
from analysis.rating import (
    UnblindedRating,
    compute_results,
    exact_power,
    exact_test,
    neurons_needed,
    ratings_from_rows,
    results_to_json,
    summary_sentences,
)
from analysis.rating.agreement import (
    checks_passed,
    cohen_kappa,
    krippendorff_alpha,
    pairwise_kappas,
    self_consistency,
)
from analysis.rating.exact import fisher_test, holm_adjusted, sum_distribution
from analysis.rating.shares import majority_share, mean_share, score_neurons


def of(rater: str, neuron: int, positive: bool, side: str = "a", **more: object) -> UnblindedRating:
    return UnblindedRating(
        rater, f"{side}{neuron}", "neuron", positive, 60.0, side=side, layer=0, neuron=neuron, **more
    )  # type: ignore[arg-type]


def brute_force(first: list[Fraction], second: list[Fraction]) -> float:
    """The permutation test by writing down every choice."""
    everything = first + second
    mean = sum(everything) * Fraction(len(first), len(everything))
    observed = abs(sum(first) - mean)
    far = [abs(sum(choice) - mean) >= observed for choice in combinations(everything, len(first))]
    return sum(far) / len(far)


part = st.sampled_from([Fraction(k, m) for m in (1, 2, 3, 5) for k in range(m + 1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(part, min_size=1, max_size=6), st.lists(part, min_size=1, max_size=6))
def test_the_exact_test_is_every_permutation(first: list[Fraction], second: list[Fraction]) -> None:
    assert exact_test(first, second) == pytest.approx(brute_force(first, second), abs=1e-9)


def test_with_one_rater_and_equal_numbers_it_is_fishers() -> None:
    for a, b in [(36, 21), (60, 0), (30, 30), (0, 1)]:
        first, second = ([Fraction(i < k) for i in range(60)] for k in (a, b))
        expected = fisher_exact([[a, 60 - a], [b, 60 - b]]).pvalue
        assert exact_test(first, second) == pytest.approx(expected, rel=1e-7)
        assert fisher_test([bool(x) for x in first], [bool(x) for x in second]) == pytest.approx(expected)


def test_sums_of_large_choices_stay_probabilities() -> None:
    found = sum_distribution(Counter({0: 900, 1: 700, 3: 400}), 1000)
    assert found.sum() == pytest.approx(1)
    assert (np.arange(len(found)) * found).sum() == pytest.approx(1000 * (700 + 1200) / 2000)
    assert exact_test([Fraction(1)] * 1000, [Fraction(0)] * 1000) < 1e-300**0.9
    assert exact_test([Fraction(k, 17) for k in range(18)], [Fraction(k, 19) for k in range(20)]) > 0.5


def test_the_test_errs_as_often_as_it_says_when_raters_agree_in_part() -> None:
    chance = np.random.default_rng(1)
    hits = {0.0: 0, 0.3: 0}
    for shift in hits:
        for _ in range(400):
            plain = chance.random(80) < np.repeat([0.35, 0.35 + shift], 40)  # what a neuron is
            votes = np.where(chance.random((3, 80)) < 0.85, plain, ~plain).sum(axis=0)
            score = [Fraction(int(v), 3) for v in votes]
            hits[shift] += exact_test(score[40:], score[:40]) <= 0.05
    assert 400 * 0.02 < hits[0.0] < 400 * 0.08  # three errors of such a count at 5%
    assert hits[0.3] > 400 * 0.5


def test_nothing_to_test_has_no_p() -> None:
    assert math.isnan(exact_test([], [Fraction(1)]))
    assert math.isnan(fisher_test([True], []))
    assert exact_test([Fraction(1)] * 3, [Fraction(1)] * 4) == 1
    assert holm_adjusted([0.01, math.nan, 0.04, 0.03])[::2] == pytest.approx([0.03, 0.06])
    assert holm_adjusted([0.6, 0.7]) == [1.0, 1.0]


def test_one_raters_share_is_wilsons_and_differences_are_newcombes() -> None:
    found = score_neurons(of("ada", i, i < 56) for i in range(70))
    assert mean_share(found, 70) == majority_share(found) == wilson(56, 70)
    less = difference(wilson(56, 70), wilson(48, 80))  # Newcombe (1998), example (a), method 10
    assert (less.low, less.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_raters_who_agree_are_worth_one_and_others_more() -> None:
    alike = [of(rater, i, i < 24) for rater in "xyz" for i in range(60)]
    assert mean_share(score_neurons(alike), 180) == wilson(24, 60)
    spread = [of(rater, i, (i + k) % 3 == 0) for k, rater in enumerate("xyz") for i in range(60)]
    found = mean_share(score_neurons(spread), 180)  # every neuron has one vote of three
    assert (found.low, found.high) == pytest.approx((wilson(60, 180).low, wilson(60, 180).high))
    assert majority_share(score_neurons(spread)).value == 0
    tied = score_neurons([of("x", 1, True), of("y", 1, False)])
    assert majority_share(tied).value == 0


@pytest.mark.parametrize("agree", [0.6, 0.9])
def test_intervals_of_several_raters_hold_the_truth(agree: float) -> None:
    chance = np.random.default_rng(2)
    truth = 0.3 * agree + 0.7 * (1 - agree)
    held = 0
    for _ in range(1000):
        plain = chance.random(60) < 0.3
        votes = np.where(chance.random((4, 60)) < agree, plain, ~plain).sum(axis=0)
        found = mean_share({str(i): Fraction(int(v), 4) for i, v in enumerate(votes)}, 240)
        held += found.low <= truth <= found.high
    assert 925 <= held <= 980


def test_kappa_of_published_examples() -> None:
    table = {(True, True): 20, (True, False): 5, (False, True): 10, (False, False): 15}
    pairs = [pair for pair, n in table.items() for _ in range(n)]
    assert cohen_kappa([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(0.4)
    assert math.isnan(cohen_kappa([True, True], [True, True]))  # all the same: undefined
    assert cohen_kappa([True, True], [False, False]) == 0
    assert math.isnan(cohen_kappa([], []))
    ratings = [of("b", 1, True), of("a", 1, True), of("a", 2, False), of("c", 9, True)]
    found = {(k.first, k.second): (k.n_both, k.agree) for k in pairwise_kappas(ratings)}
    assert found[("a", "b")] == (1, 1.0)
    assert found[("a", "c")][0] == 0
    assert math.isnan(found[("b", "c")][1])


def disagreement(units: list[list[bool]]) -> float:
    """Alpha by its definition: observed over expected disagreement of pairs."""
    units = [u for u in units if len(u) > 1]
    values = [v for u in units for v in u]
    observed = sum(sum(a != b for a, b in product(u, u)) / (len(u) - 1) for u in units) / len(values)
    expected = sum(a != b for a, b in product(values, values)) / (len(values) * (len(values) - 1))
    return 1 - observed / expected


def test_alpha_of_a_published_example_and_by_its_definition() -> None:
    meg, owen = "0100000010", "1110010000"  # Krippendorff, Computing Krippendorff's Alpha (2011), A
    ratings = [of(r, i, v == "1") for r, vs in (("meg", meg), ("owen", owen)) for i, v in enumerate(vs)]
    found = krippendorff_alpha(ratings)
    assert found.value == pytest.approx(0.095, abs=5e-4)
    assert found.low < 0 < found.high
    chance = random.Random(3)
    missing = [
        of(rater, i, chance.random() < 0.2 + 0.6 * (i % 2))
        for i in range(40) for rater in "abcd" if chance.random() < 0.6
    ]  # fmt: skip
    units = [[r.is_interpretable for r in missing if r.neuron == i] for i in range(40)]
    assert krippendorff_alpha(missing).value == pytest.approx(disagreement(units))
    assert krippendorff_alpha(missing) == krippendorff_alpha(missing)  # its interval is drawn with a seed
    for undefined in ([], [of("a", 1, True)], [of("a", 1, True), of("b", 1, True)]):
        assert math.isnan(krippendorff_alpha(undefined).value)


def test_repeats_and_checks_are_counted_by_rater() -> None:
    again = {"kind": "repeat", "item": "r", "repeat_of": "a1", "is_interpretable": True, "seconds": 5.0}
    check = {"kind": "check", "seconds": 5.0}
    ratings = [
        of("x", 1, True), UnblindedRating(rater="x", **again),  # type: ignore[arg-type]
        of("y", 1, False), UnblindedRating(rater="y", **again),  # type: ignore[arg-type]
        UnblindedRating(rater="z", **again),  # type: ignore[arg-type]  # stopped before the other showing
        UnblindedRating(rater="x", item="c", is_interpretable=True, expected=True, **check),  # type: ignore[arg-type]
        UnblindedRating(rater="x", item="d", is_interpretable=True, expected=False, **check),  # type: ignore[arg-type]
    ]  # fmt: skip
    same = self_consistency(ratings)
    assert {rater: (c.hits, c.n) for rater, c in same.items()} == {"x": (1, 1), "y": (0, 1), "z": (0, 0)}
    passed = checks_passed(ratings)
    assert {rater: (c.hits, c.n) for rater, c in passed.items()} == {"x": (1, 2), "y": (0, 0), "z": (0, 0)}


def slow_power(n: int, p1: float, p2: float) -> float:
    """By scipy's test of every outcome."""
    found = 0.0
    for a, b in product(range(n + 1), repeat=2):
        if fisher_exact([[a, n - a], [b, n - b]]).pvalue <= 0.05:
            found += binom.pmf(a, n, p1) * binom.pmf(b, n, p2)
    return float(found)


def test_power_is_the_tests_own() -> None:
    for n, p1, p2 in [(1, 0, 1), (4, 0.0, 1.0), (13, 0.35, 0.8), (18, 0.2, 0.2)]:
        assert exact_power(n, p1, p2) == pytest.approx(slow_power(n, p1, p2), abs=1e-9)
    chance = np.random.default_rng(4)
    drawn = chance.binomial(60, [0.35, 0.6], (2000, 2))
    hits = sum(fisher_exact([[a, 60 - a], [b, 60 - b]]).pvalue <= 0.05 for a, b in drawn)
    assert exact_power(60, 0.35, 0.6) == pytest.approx(hits / 2000, abs=0.03)


def test_the_sample_size_is_the_least_that_stays_enough() -> None:
    n = neurons_needed(0.35, 0.6)
    assert n is not None
    assert all(exact_power(k, 0.35, 0.6) >= 0.8 for k in range(n, n + 11))
    assert exact_power(n - 1, 0.35, 0.6) < 0.8
    assert n == neurons_needed(0.6, 0.35)
    assert neurons_needed(0.0, 1.0) == 4  # 3 of 3 against 0 of 3 has p = 0.1
    assert neurons_needed(0.5, 0.5) is neurons_needed(0.5, 0.5001) is None
    for wrong in ({"p1": 35, "p2": 0.6}, {"p1": 0.1, "p2": 0.2, "power": 1.0}):
        with pytest.raises(ValueError, match="expected shares from 0 to 1"):
            neurons_needed(**wrong)


def test_ugly_studies_have_results() -> None:
    nothing = compute_results([], ["a", "b"])
    assert math.isnan(nothing.sides[0].share.value)
    assert summary_sentences(nothing) == ["No neuron was rated before the study was unblinded."]
    assert json.loads(results_to_json(nothing))["comparisons"][0]["p"] is None
    alone = compute_results([of("x", 1, True)], ["a", "b"])
    assert summary_sentences(alone) == ["No neuron of b was rated, so it cannot be compared."]
    same = compute_results(
        [of(r, i, True, s) for r in "xy" for s in "ab" for i in range(9 if s == "a" else 5)]
    )
    assert same.comparisons[0].p == 1
    assert math.isnan(same.alpha.value)
    assert math.isnan(same.kappas[0].kappa)
    assert "Chance" in summary_sentences(same)[0]
    three = compute_results([of("x", i, s == "c", s) for s in "abc" for i in range(8)])
    assert len(three.comparisons) == 3
    assert three.comparisons[1].p_holm == pytest.approx(3 * three.comparisons[1].p)
    with pytest.raises(ValueError, match="export the ratings again"):
        ratings_from_rows(csv.DictReader(io.StringIO("rater,item,verdict\nx,y,not\n")))
