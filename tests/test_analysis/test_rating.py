"""The statistics of a rating study against brute force, published examples and simulation."""

import csv
import io
import json
import math
import random
from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact
from typer.testing import CliRunner

from analysis.intervals import difference, wilson
from analysis.rating import Rated, exact_test, in_words, n_for, power_of, rated, read_csv, results, to_json
from analysis.rating.agreement import alpha, checks_passed, cohen, kappas, self_consistency
from analysis.rating.exact import fisher, holm, sums
from analysis.rating.shares import majority_share, mean_share, scores
from dashboard.studies import cli as cli_study
from dashboard.studies.charts import share_figure
from dashboard.studies.plan.design import Item, Side, Verdict, new_design
from dashboard.studies.result_files import share_figure_file
from dashboard.studies.storage.export import rating_rows, to_csv
from dashboard.studies.storage.ratings import Rating


def of(rater: str, neuron: int, positive: bool, side: str = "a", **more: object) -> Rated:
    return Rated(
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
        assert fisher([bool(x) for x in first], [bool(x) for x in second]) == pytest.approx(expected)


def test_sums_of_large_choices_stay_probabilities() -> None:
    found = sums(Counter({0: 900, 1: 700, 3: 400}), 1000)
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
    assert math.isnan(fisher([True], []))
    assert exact_test([Fraction(1)] * 3, [Fraction(1)] * 4) == 1
    assert holm([0.01, math.nan, 0.04, 0.03])[::2] == pytest.approx([0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_one_raters_share_is_wilsons_and_differences_are_newcombes() -> None:
    found = scores(of("ada", i, i < 56) for i in range(70))
    assert mean_share(found, 70) == majority_share(found) == wilson(56, 70)
    less = difference(wilson(56, 70), wilson(48, 80))  # Newcombe (1998), example (a), method 10
    assert (less.low, less.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_raters_who_agree_are_worth_one_and_others_more() -> None:
    alike = [of(rater, i, i < 24) for rater in "xyz" for i in range(60)]
    assert mean_share(scores(alike), 180) == wilson(24, 60)
    spread = [of(rater, i, (i + k) % 3 == 0) for k, rater in enumerate("xyz") for i in range(60)]
    found = mean_share(scores(spread), 180)  # every neuron has one vote of three
    assert (found.low, found.high) == pytest.approx((wilson(60, 180).low, wilson(60, 180).high))
    assert majority_share(scores(spread)).value == 0
    tied = scores([of("x", 1, True), of("y", 1, False)])
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
    assert cohen([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(0.4)
    assert math.isnan(cohen([True, True], [True, True]))  # all the same: undefined
    assert cohen([True, True], [False, False]) == 0
    assert math.isnan(cohen([], []))
    ratings = [of("b", 1, True), of("a", 1, True), of("a", 2, False), of("c", 9, True)]
    found = {(k.first, k.second): (k.n_both, k.agree) for k in kappas(ratings)}
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
    found = alpha(ratings)
    assert found.value == pytest.approx(0.095, abs=5e-4)
    assert found.low < 0 < found.high
    chance = random.Random(3)
    missing = [
        of(rater, i, chance.random() < 0.2 + 0.6 * (i % 2))
        for i in range(40) for rater in "abcd" if chance.random() < 0.6
    ]  # fmt: skip
    units = [[r.positive for r in missing if r.neuron == i] for i in range(40)]
    assert alpha(missing).value == pytest.approx(disagreement(units))
    assert alpha(missing) == alpha(missing)  # its interval is drawn with a seed
    for undefined in ([], [of("a", 1, True)], [of("a", 1, True), of("b", 1, True)]):
        assert math.isnan(alpha(undefined).value)


def test_repeats_and_checks_are_counted_by_rater() -> None:
    again = {"kind": "repeat", "item": "r", "repeat_of": "a1", "positive": True, "seconds": 5.0}
    check = {"kind": "check", "seconds": 5.0}
    ratings = [
        of("x", 1, True), Rated(rater="x", **again),  # type: ignore[arg-type]
        of("y", 1, False), Rated(rater="y", **again),  # type: ignore[arg-type]
        Rated(rater="z", **again),  # type: ignore[arg-type]  # stopped before the other showing
        Rated(rater="x", item="c", positive=True, expected=True, **check),  # type: ignore[arg-type]
        Rated(rater="x", item="d", positive=True, expected=False, **check),  # type: ignore[arg-type]
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
        assert power_of(n, p1, p2) == pytest.approx(slow_power(n, p1, p2), abs=1e-9)
    chance = np.random.default_rng(4)
    drawn = chance.binomial(60, [0.35, 0.6], (2000, 2))
    hits = sum(fisher_exact([[a, 60 - a], [b, 60 - b]]).pvalue <= 0.05 for a, b in drawn)
    assert power_of(60, 0.35, 0.6) == pytest.approx(hits / 2000, abs=0.03)


def test_the_sample_size_is_the_least_that_stays_enough() -> None:
    n = n_for(0.35, 0.6)
    assert n is not None
    assert all(power_of(k, 0.35, 0.6) >= 0.8 for k in range(n, n + 11))
    assert power_of(n - 1, 0.35, 0.6) < 0.8
    assert n == n_for(0.6, 0.35)
    assert n_for(0.0, 1.0) == 4  # 3 of 3 against 0 of 3 has p = 0.1
    assert n_for(0.5, 0.5) is n_for(0.5, 0.5001) is None
    for wrong in ({"p1": 35, "p2": 0.6}, {"p1": 0.1, "p2": 0.2, "power": 1.0}):
        with pytest.raises(ValueError, match="expected fractions from 0 to 1"):
            n_for(**wrong)


def some_study() -> tuple[list[dict[str, object]], bytes]:
    """Rows of an unblinded study of two sides, and its CSV; a rater is called like a formula."""
    sides = tuple(Side(m, d * 64, "c" * 64, "hook_post", (0, 1)) for m, d in (("base", "a"), ("solu", "b")))
    design = new_design(title="t", sides=sides, n_neurons=20, n_repeats=1, n_checks=2)
    items = [Item(f"{s}{n:015}", "neuron", s, n % 2, n) for s in (0, 1) for n in range(20)]
    items += [Item("a" * 16, "repeat", 1, 0, 0, repeat_of=items[20].name)]
    items += [Item("b" * 16, "check", expected="interpretable"), Item("c" * 16, "check", expected="not")]
    chance = random.Random(5)
    ratings = []
    for rater, item in product(("=ada", "eve"), items):
        positive = chance.random() < 0.3 + 0.4 * (item.side or 0)
        if rater == "=ada" or chance.random() < 0.5:
            verdict: Verdict = "interpretable" if positive else "not"
            ratings.append(Rating(rater, item.name, verdict, "=1,\n'x", 2, 50.0))
    rows = rating_rows(design, ratings, items)
    return rows, to_csv(rows, blind=False)


def test_results_are_the_same_from_rows_and_from_the_downloaded_file(tmp_path: Path) -> None:
    rows, data = some_study()
    (tmp_path / "ratings.csv").write_bytes(data)
    found = results(rated(rows))
    assert repr(results(read_csv(tmp_path / "ratings.csv"))) == repr(found)
    assert [s.side for s in found.sides] == ["base", "solu"]
    by_hand = Counter(
        (r["rater"], r["model"]) for r in rows if r["kind"] == "neuron" and r["verdict"] != "not"
    )
    for rater in found.raters:
        assert [s.hits for s in rater.shares] == [by_hand[rater.rater, m] for m in ("base", "solu")]
    (comparison,) = found.comparisons
    assert (comparison.first, comparison.second) == ("solu", "base")
    expected = found.sides[1].share.value - found.sides[0].share.value
    assert comparison.difference.value == pytest.approx(expected)
    assert (
        sum(layer.n_neurons for layer in found.layers) == found.sides[0].n_neurons + found.sides[1].n_neurons
    )
    (sentence,) = in_words(found)
    assert "2 raters" in sentence
    assert json.loads(to_json(found))["sides"][1]["share"]["value"] == found.sides[1].share.value
    assert [s.side for s in results(rated(rows), ["solu", "base"]).sides] == ["solu", "base"]
    with pytest.raises(ValueError, match="found some of base"):
        results(rated(rows), ["solu"])


def test_ugly_studies_have_results() -> None:
    nothing = results([], ["a", "b"])
    assert math.isnan(nothing.sides[0].share.value)
    assert in_words(nothing) == ["No neuron was rated before the study was unblinded."]
    assert json.loads(to_json(nothing))["comparisons"][0]["p"] is None
    alone = results([of("x", 1, True)], ["a", "b"])
    assert in_words(alone) == ["No neuron of b was rated, so it is compared with nothing."]
    same = results([of(r, i, True, s) for r in "xy" for s in "ab" for i in range(9 if s == "a" else 5)])
    assert same.comparisons[0].p == 1
    assert math.isnan(same.alpha.value)
    assert math.isnan(same.kappas[0].kappa)
    assert "Chance" in in_words(same)[0]
    three = results([of("x", i, s == "c", s) for s in "abc" for i in range(8)])
    assert len(three.comparisons) == 3
    assert three.comparisons[1].p_holm == pytest.approx(3 * three.comparisons[1].p)
    with pytest.raises(ValueError, match="export the ratings again"):
        rated(csv.DictReader(io.StringIO("rater,item,verdict\nx,y,not\n")))


def test_a_model_twice_is_told_apart_by_its_hook() -> None:
    rows, _ = some_study()
    for row in rows:
        if row["model"] == "solu":
            row |= {"model": "base", "hook": "hook_mid"}
    assert [s.side for s in results(rated(rows)).sides] == ["base hook_mid", "base hook_post"]


def test_the_sample_size_on_the_command_line() -> None:
    said = CliRunner().invoke(cli_study.app, ["power", "0.35", "0.6"])
    assert said.output.startswith("70 neurons per model: power 80.")
    assert "more than 2,000" in CliRunner().invoke(cli_study.app, ["power", "0.5", "0.5"]).output
    assert CliRunner().invoke(cli_study.app, ["power", "35", "60"]).exit_code == 2


def test_the_figure_for_a_paper_takes_any_name_and_no_ratings() -> None:
    hostile = "a $x$ <b>"
    found = results([of(r, i, i % 3 == 0, hostile) for r in "xy" for i in range(9)], [hostile, "b"])
    svg = share_figure_file(found, "t", "p", "svg")
    assert b"a $x$ &lt;b&gt;" in svg
    assert b"<b>" not in svg
    drawn = share_figure(found)
    assert drawn.layout.xaxis.ticktext == ("a $x$ &lt;b&gt;<br>9 neurons",)
    assert drawn.data[0].y[0] == found.sides[0].share.value
    assert share_figure_file(results([], ["a", "b"]), "t", "p", "png").startswith(b"\x89PNG")
