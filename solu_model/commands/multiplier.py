"""The command `solu multiplier`: model sizes compared at equal loss."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def multiplier(
    baseline: Annotated[
        list[Path], typer.Option(help="A baseline's folder, with evaluation.json. Two sizes at least.")
    ],
    model: Annotated[list[Path], typer.Option(help="The folder of a model to compare. Repeatable.")],
    noise: Annotated[
        float, typer.Option(help="Standard deviation of a loss from seed to seed, nats a token.", min=0)
    ],
) -> None:
    """What models are worth in baselines: how much larger one would have to be for the same loss."""
    from solu_model.evaluation.multiplier import measured, multipliers

    table = Table("model", "parameters", "nats a token", "worth", "95% interval")
    for found in multipliers([measured(b) for b in baseline], [measured(m) for m in model], noise):
        size, loss = f"{found.model.n_parameters:,}", f"{found.model.loss:.4f}"
        table.add_row(
            found.model.name, size, loss, f"{found.value:.2f}", f"{found.low:.2f} to {found.high:.2f}"
        )
    Console().print(table)
