"""The command `solu multiplier`: model sizes compared at equal loss."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def multiplier(
    baseline: Annotated[
        list[Path], typer.Option(help="Folder of a baseline, with evaluation.json. Give at least two sizes.")
    ],
    model: Annotated[list[Path], typer.Option(help="Folder of a model to compare. Repeatable.")],
    noise: Annotated[
        float, typer.Option(help="Standard deviation of a loss between seeds, in nats per token.", min=0)
    ],
) -> None:
    """Compare models with baselines: the factor in size by which a baseline reaches the same loss."""
    from solu_model.evaluation.multiplier import multipliers, read_measured_model

    baselines = [read_measured_model(folder) for folder in baseline]
    models = [read_measured_model(folder) for folder in model]
    table = Table("model", "parameters", "nats per token", "multiplier", "95% interval")
    for row in multipliers(baselines, models, noise):
        size, loss = f"{row.model.n_parameters:,}", f"{row.model.loss:.4f}"
        table.add_row(row.model.name, size, loss, f"{row.value:.2f}", f"{row.low:.2f} to {row.high:.2f}")
    Console().print(table)
