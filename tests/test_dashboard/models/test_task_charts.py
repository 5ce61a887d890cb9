"""Figure of the paper's tasks, and damaged files of results."""

from pathlib import Path

import pytest

from dashboard.models.service import task_results
from dashboard.models.task_charts import tasks_figure
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.palette import model_styles
from solu_model.evaluation.tasks.results import TASKS_FILE, TaskResult, TaskResults

ARC = TaskResult("arc_easy", "acc_norm", 0.31, 0.01, 2376, 0.25, "a" * 64)
TRIVIA = TaskResult("triviaqa", "exact_match", 0.002, 0.001, 3000, 0.0, "b" * 64)


def test_every_model_has_a_mark_in_each_row_of_its_own() -> None:
    found = {"solu-1l": [ARC, TRIVIA], "<b>other</b>": [ARC]}
    figure = tasks_figure(found, model_styles([], missing=found))
    one, other = figure.data
    assert list(one.x) == [0.31, 0.002]
    assert list(one.error_x.array) == pytest.approx([0.0196, 0.00196])
    assert list(figure.layout.yaxis.ticktext) == ["ARC, easy", "TriviaQA"]
    arc_row = figure.layout.yaxis.tickvals[0]
    assert one.y[0] > arc_row > other.y[0]
    assert abs(one.y[0] - arc_row) < 0.5
    assert other.name == "&lt;b&gt;other&lt;/b&gt;"
    assert one.marker.symbol != other.marker.symbol
    (guessing,) = figure.layout.shapes
    assert (guessing.x0, guessing.x1) == (0.25, 0.25)
    assert guessing.y0 < arc_row < guessing.y1


def test_results_are_read_where_they_can_be(tmp_path: Path) -> None:
    model = ModelFolder("tiny", tmp_path, {})
    assert task_results(model) == []
    TaskResults("0" * 64, "0.4.13", "2.13.0", [ARC]).save(tmp_path / TASKS_FILE)
    assert task_results(model) == [ARC]
    (tmp_path / TASKS_FILE).write_text('{"results": "<script>"}')
    assert task_results(model) == []
