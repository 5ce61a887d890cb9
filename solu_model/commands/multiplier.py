"""The command `solu multiplier`: model sizes compared at equal loss."""

import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from solu_model.evaluation.multiplier import Multiplier


def multiplier(
    baseline: Annotated[
        list[Path],
        typer.Option(
            help="Folder of a baseline, with model.safetensors and evaluation.json (from `solu evaluate`). "
            "Repeat it: at least two sizes."
        ),
    ],
    model: Annotated[list[Path], typer.Option(help="Folder of a model to compare. Repeatable.")],
    noise: Annotated[
        float,
        typer.Option(
            help="Standard deviation of a loss between seeds, in nats per token; 0: no intervals.", min=0
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Also write the multipliers to this JSON file; null: infinite.")
    ] = None,
) -> None:
    """Compare models with baselines: the factor in size by which a baseline reaches the same loss.

    It is undefined, and an error, if the loss of the baselines does not fall with their size.
    """
    from solu_model.evaluation.multiplier import holds_multipliers, multipliers, read_measured_model
    from solu_model.files import written_aside
    from solu_model.targets import check_target

    if out is not None:
        check_target(out, "list of multipliers", holds_multipliers)
    baselines = [read_measured_model(folder) for folder in baseline]
    rows = multipliers(baselines, [read_measured_model(folder) for folder in model], noise)
    table = Table("model", "parameters", "nats per token", "multiplier", "95% interval")
    for row in rows:
        size, loss = f"{row.model.n_parameters:,}", f"{row.model.loss:.4f}"
        mark = " *" if row.is_extrapolated else ""
        interval = "not determined" if row.low == 0 else f"{_factor(row.low)} to {_factor(row.high)}"
        table.add_row(Text(row.model.name), size, loss, _factor(row.value) + mark, interval if noise else "")
    console = Console(highlight=False)
    console.print(table)
    if any(row.is_extrapolated for row in rows):
        sizes = [b.n_parameters for b in baselines]
        console.print(
            f"* extrapolated: the baseline of equal loss is not between {min(sizes):,} and {max(sizes):,} "
            "parameters, where the baselines are",
            soft_wrap=True,
        )
    if out is not None:
        with written_aside(out) as aside:
            text = json.dumps([_record(row) for row in rows], indent=1, allow_nan=False)
            aside.write_text(text + "\n", encoding="utf-8")


def _factor(value: float) -> str:
    if not isfinite(value):
        return "infinite"
    return f"{value:.2f}" if value < 1e6 else f"{value:.1e}"


def _record(row: "Multiplier") -> dict[str, Any]:
    value, low, high = (x if isfinite(x) else None for x in (row.value, row.low, row.high))
    return {
        "model": row.model.name,
        "n_parameters": row.model.n_parameters,
        "nats_per_token": row.model.loss,
        "multiplier": value,
        "low": low,
        "high": high,
        "extrapolated": row.is_extrapolated,
    }
