"""Losses beside each other: lines of means, differences by source, and files that are none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.models.loss_charts import curves_figure, difference, smoothed, sources_figure
from dashboard.models.service import loss_curve, source_losses
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.palette import model_styles

ONE, OTHER = "one", "<b>other</b>"
STYLES = model_styles([], missing=[ONE, OTHER])
LOSSES = {ONE: {"all": 2.0, "code": 1.5, "prose": 2.5}, OTHER: {"all": 2.1, "code": 1.4, "law": 3.0}}


def test_a_line_is_of_means_over_stretches_that_no_step_is_left_out_of() -> None:
    tokens = np.arange(1, 500) * 1000
    curve = pd.DataFrame({"tokens": tokens, "loss": np.log(tokens)})
    line = smoothed(curve)
    assert 60 < len(line) <= 9 * 12  # nine octaves; the first steps are further apart than stretches
    assert line["tokens"].is_monotonic_increasing
    assert line["tokens"].iloc[-1] == tokens[-1]
    ends = np.searchsorted(tokens, line["tokens"]) + 1
    expected = [part.mean() for part in np.split(np.log(tokens), ends[:-1])]
    assert line["loss"].tolist() == pytest.approx(expected)


def test_each_model_has_a_line_that_tells_without_its_colour() -> None:
    curve = pd.DataFrame({"tokens": [10, 1000], "loss": [9.0, 4.0]})
    one, other = curves_figure({ONE: curve, OTHER: curve}, STYLES).data
    assert list(one.x) == [10, 1000]
    assert list(one.y) == [9.0, 4.0]
    assert one.line.dash != other.line.dash
    assert other.name == "&lt;b&gt;other&lt;/b&gt;"


def test_differences_along_the_run_are_over_what_both_have_seen() -> None:
    long = pd.DataFrame({"tokens": [10, 100, 1000, 10_000], "loss": [9.0, 7.0, 5.0, 4.0]})
    short = pd.DataFrame({"tokens": [10, 100, 1000], "loss": [9.0, 6.5, 4.0]})
    (line,) = curves_figure({ONE: short, OTHER: long}, STYLES, ONE).data
    assert list(line.x) == [10, 100, 1000]
    assert list(line.y) == pytest.approx([0.0, 0.5, 1.0])


def test_a_run_that_was_cut_short_does_not_differ_from_itself() -> None:
    tokens = np.arange(1, 3000) * 1000
    whole = pd.DataFrame({"tokens": tokens, "loss": np.random.default_rng(0).normal(4, 1, len(tokens))})
    apart = difference(whole.iloc[:1777], whole)
    assert len(apart) > 80
    assert (apart["loss"] == 0).all()


def test_a_few_last_steps_are_no_stretch_of_their_own() -> None:
    tokens = np.arange(1, 1026)
    line = smoothed(pd.DataFrame({"tokens": tokens, "loss": np.where(tokens > 1023, 100.0, 1.0)}))
    assert line["tokens"].iloc[-1] == 1025
    assert line["loss"].iloc[-1] < 10


def test_losses_are_in_rows_with_the_hardest_on_top() -> None:
    figure = sources_figure(LOSSES, STYLES)
    assert list(figure.layout.yaxis.ticktext) == ["code", "prose", "law", "<b>all text</b>"]
    one, other = figure.data
    assert dict(zip(one.y, one.x, strict=True)) == {0: 1.5, 1: 2.5, 3: 2.0}
    assert dict(zip(other.y, other.x, strict=True)) == {0: 1.4, 2: 3.0, 3: 2.1}


def test_differences_are_from_the_baseline_where_both_were_measured() -> None:
    figure = sources_figure(LOSSES, STYLES, ONE)
    (other,) = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["code", "<b>all text</b>"]
    assert list(other.x) == pytest.approx([-0.1, 0.1])
    assert "more than one" in figure.layout.xaxis.title.text


def test_what_is_no_loss_is_left_out(tmp_path: Path) -> None:
    evaluation = {
        "all": {"bits_per_byte": 2},
        "a": {"bits_per_byte": "1"},
        "b": [],
        "c": {"bits_per_byte": float("nan")},
    }
    assert source_losses(ModelFolder("m", tmp_path, {}, evaluation=evaluation)) == {"all": 2.0}
    model = ModelFolder("m", tmp_path, {})
    assert loss_curve(model) is None
    frame = pd.DataFrame({"tokens": [0, 8, 16], "loss": [9.0, np.nan, 8.0]})
    frame.to_parquet(model.curve)
    assert loss_curve(model).to_dict("list") == {"tokens": [16.0], "loss": [8.0]}
    frame.astype(str).assign(loss="<script>").to_parquet(model.curve)
    assert loss_curve(model) is None
    model.curve.write_bytes(b"no table")
    assert loss_curve(model) is None
