"""Figure of the paper's tasks: share of correct answers of several models."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from dashboard.shared.chart_layout import LEGEND, lay_out
from dashboard.shared.palette import REFERENCE, ModelStyle
from solu_model.evaluation.tasks.results import TaskResult

TITLES = {
    "lambada": "LAMBADA",
    "arc_easy": "ARC, easy",
    "arc_challenge": "ARC, challenge",
    "openbook_qa": "OpenBookQA",
    "triviaqa": "TriviaQA",
    "arithmetic": "arithmetic",
    "mmlu": "MMLU",
    "hellaswag": "HellaSwag",
}
_SPACING = 0.16  # between the markers of two models, in rows
_Z_95 = 1.96


def tasks_figure(
    by_model: Mapping[str, Sequence[TaskResult]], styles: Mapping[str, ModelStyle], row_height: int = 34
) -> go.Figure:
    """Draw shares with 95% intervals, one row for each task; a dotted line marks guessing.

    Args:
        by_model: results of each model.
        styles: by model.
        row_height: pixels.
    """
    tasks = list(dict.fromkeys(result.task for results in by_model.values() for result in results))
    rows = {task: len(tasks) - 1 - index for index, task in enumerate(tasks)}
    figure = go.Figure()
    for index, (model, results) in enumerate(by_model.items()):
        offset = _SPACING * ((len(by_model) - 1) / 2 - index)
        figure.add_scatter(
            x=[result.value for result in results],
            y=[rows[result.task] + offset for result in results],
            error_x={"array": [_Z_95 * result.stderr for result in results], "thickness": 1.5, "width": 3},
            mode="markers",
            name=escape(model),  # plotly reads tags in names
            marker={"size": 8, "color": styles[model].colour, "symbol": styles[model].symbol},
            customdata=[(result.metric, result.n_items, _Z_95 * result.stderr) for result in results],
            hovertemplate="%{x:.1%} ± %{customdata[2]:.1%}<br>%{customdata[0]}, %{customdata[1]:,} items",
        )
    for task, chance in {
        r.task: r.chance for results in by_model.values() for r in results if r.chance
    }.items():
        figure.add_shape(
            type="line", x0=chance, x1=chance, y0=rows[task] - 0.36, y1=rows[task] + 0.36,
            line={"color": REFERENCE, "width": 2, "dash": "dot"},
        )  # fmt: skip
    lay_out(figure, 70 + row_height * len(tasks), top=6, showlegend=True, legend=LEGEND)
    most = max((r.value + _Z_95 * r.stderr for results in by_model.values() for r in results), default=1.0)
    figure.update_xaxes(tickformat=".0%", range=[-0.01 * most, 1.05 * most])
    figure.update_yaxes(
        tickvals=list(rows.values()), ticktext=[TITLES.get(task, task) for task in rows],
        range=[-0.6, len(tasks) - 0.4],
    )  # fmt: skip
    return figure
