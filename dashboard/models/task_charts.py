"""What models can do beside each other: the shares of the paper's tasks that they answer rightly."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from dashboard.models.model_marks import Mark
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
_BETWEEN = 0.16  # rows between one model's marks and the next's


def tasks_figure(
    found: Mapping[str, Sequence[TaskResult]], marks: Mapping[str, Mark], row_height: int = 34
) -> go.Figure:
    """Shares with 95% intervals, a row a task; a grey line where guessing would be.

    Args:
        found: by model.
        marks: how each model looks.
    """
    tasks = list(dict.fromkeys(result.task for results in found.values() for result in results))
    rows = {task: len(tasks) - 1 - index for index, task in enumerate(tasks)}
    figure = go.Figure()
    for index, (model, results) in enumerate(found.items()):
        offset = _BETWEEN * ((len(found) - 1) / 2 - index)
        figure.add_scatter(
            x=[result.value for result in results],
            y=[rows[result.task] + offset for result in results],
            error_x={"array": [1.96 * result.stderr for result in results], "thickness": 1.5, "width": 3},
            mode="markers",
            name=escape(model),  # plotly reads tags in names
            marker={"size": 8, "color": marks[model].colour, "symbol": marks[model].symbol},
            customdata=[(result.metric, result.n_items, 1.96 * result.stderr) for result in results],
            hovertemplate="%{x:.1%} ± %{customdata[2]:.1%}<br>%{customdata[0]}, %{customdata[1]:,} items",
        )
    for task, chance in {r.task: r.chance for results in found.values() for r in results if r.chance}.items():
        figure.add_shape(
            type="line", x0=chance, x1=chance, y0=rows[task] - 0.36, y1=rows[task] + 0.36,
            line={"color": "#8a8d95", "width": 2, "dash": "dot"},
        )  # fmt: skip
    figure.update_layout(
        height=70 + row_height * len(tasks), margin={"l": 8, "r": 8, "t": 6, "b": 8}, dragmode=False,
        showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    most = max((r.value + 1.96 * r.stderr for results in found.values() for r in results), default=1.0)
    figure.update_xaxes(tickformat=".0%", range=[-0.01 * most, 1.05 * most], zeroline=False, fixedrange=True)
    figure.update_yaxes(
        tickvals=list(rows.values()), ticktext=[TITLES.get(task, task) for task in rows], fixedrange=True,
        zeroline=False, range=[-0.6, len(tasks) - 0.4],
    )  # fmt: skip
    return figure
