"""Results of a study from rows and from downloads, their figure, and sample sizes on the command line."""

import json
import random
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.rating import (
    UnblindedRating,
    compute_results,
    ratings_from_rows,
    read_ratings,
    results_to_json,
    summary_sentences,
)
from dashboard.studies import cli as cli_study
from dashboard.studies.charts import share_figure, side_styles
from dashboard.studies.plan.design import Item, Side, Verdict, new_design
from dashboard.studies.result_files import share_figure_file
from dashboard.studies.storage.export import rating_rows, to_csv
from dashboard.studies.storage.ratings import Rating


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
    found = compute_results(ratings_from_rows(rows))
    assert repr(compute_results(read_ratings(tmp_path / "ratings.csv"))) == repr(found)
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
    (sentence,) = summary_sentences(found)
    assert "2 raters" in sentence
    assert json.loads(results_to_json(found))["sides"][1]["share"]["value"] == found.sides[1].share.value
    assert [s.side for s in compute_results(ratings_from_rows(rows), ["solu", "base"]).sides] == [
        "solu",
        "base",
    ]
    with pytest.raises(ValueError, match="found some of base"):
        compute_results(ratings_from_rows(rows), ["solu"])


def test_a_model_twice_is_told_apart_by_its_hook() -> None:
    rows, _ = some_study()
    for row in rows:
        if row["model"] == "solu":
            row |= {"model": "base", "hook": "hook_mid"}
    assert [s.side for s in compute_results(ratings_from_rows(rows)).sides] == [
        "base hook_mid",
        "base hook_post",
    ]


def test_the_sample_size_on_the_command_line() -> None:
    said = CliRunner().invoke(cli_study.app, ["power", "0.35", "0.6"])
    assert said.output.startswith("70 neurons per model: power 80.")
    assert "more than 2,000" in CliRunner().invoke(cli_study.app, ["power", "0.5", "0.5"]).output
    assert CliRunner().invoke(cli_study.app, ["power", "35", "60"]).exit_code == 2


def test_the_figure_for_a_paper_takes_any_name_and_no_ratings() -> None:
    hostile = "a $x$ <b>"
    found = compute_results(
        [
            UnblindedRating(rater, f"{i}", "neuron", i % 3 == 0, 60.0, side=hostile, layer=0, neuron=i)
            for rater in "xy"
            for i in range(9)
        ],
        [hostile, "b"],
    )
    styles = side_styles([hostile, "b"], [])
    svg = share_figure_file(found, styles, "t", "p", "svg")
    assert b"a $x$ &lt;b&gt;" in svg
    assert b"<b>" not in svg
    drawn = share_figure(found, styles)
    assert drawn.layout.xaxis.ticktext == ("a $x$ &lt;b&gt;<br>9 neurons",)
    assert drawn.data[0].y[0] == found.sides[0].share.value
    assert list(drawn.data[0].marker.color) == [styles[0].colour]
    assert share_figure_file(compute_results([], ["a", "b"]), styles, "t", "p", "png").startswith(b"\x89PNG")
