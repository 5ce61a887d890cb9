"""The command `solu evaluate`: a model's loss on text, or its answers to tasks."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from solu_model.commands.options import BosOption, ContextOption, ModelOption, TokenizerOption

TokenOptions = tuple[str | None, str | None, int | None]
"""The options --tokenizer, --bos and --n-ctx."""


def evaluate(
    model: ModelOption,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Text to measure the loss on: a file, a folder or a hub name. Repeatable."
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks to run instead: all, or names separated by commas, such as lambada,arithmetic."
        ),
    ] = None,
    sets: Annotated[
        Path | None, typer.Option(help="Folder with the files of the tasks, for --tasks.")
    ] = None,
    tokenizer_path: TokenizerOption = None,
    bos: BosOption = None,
    n_ctx: ContextOption = None,
    max_documents: Annotated[int | None, typer.Option(help="Stop after this many documents.")] = None,
    items: Annotated[int | None, typer.Option(help="Run this many items of each task.", min=1)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the result as JSON. The dashboard reads tasks from MODEL/tasks.json."),
    ] = None,
) -> None:
    """Measure a model's loss on text, per token and per byte, or run the paper's tasks on it (--tasks)."""
    if (tasks is None) == (data is None):
        raise typer.BadParameter("expected either --data or --tasks", param_hint="--data / --tasks")
    if data is not None:
        _evaluate_text(model, data, (tokenizer_path, bos, n_ctx), max_documents, out)
    elif sets is None:
        raise typer.BadParameter("expected the folder with the files of the tasks", param_hint="--sets")
    else:
        _evaluate_tasks(Path(model), str(tasks), sets, (tokenizer_path, bos, n_ctx), items, out)


def _evaluate_text(
    model: str, data: list[str], tokens: TokenOptions, max_documents: int | None, out: Path | None
) -> None:
    from solu_model.evaluation.held_out_loss import evaluate as run
    from solu_model.files import written_aside
    from solu_model.loading.checkpoints import load_with_tokenizer
    from solu_model.text.documents import read_documents
    from solu_model.text.tokenization import Tokenization

    tokenizer_path, bos, n_ctx = tokens
    network, tokenizer = load_with_tokenizer(model, tokenizer=tokenizer_path)
    tokenization = Tokenization.of(network.config, tokenizer, bos=bos, n_ctx=n_ctx)
    losses = run(network, tokenization, read_documents(data), max_documents=max_documents)
    table = Table("source", "tokens", "nats per token", "bits per byte")
    for source, loss in sorted(losses.items()):
        table.add_row(
            source or "all", f"{loss.n_tokens:,}", f"{loss.nats_per_token:.4f}", f"{loss.bits_per_byte:.4f}"
        )
    Console().print(table)
    if out is not None:
        rows = {
            source or "all": {
                "n_tokens": loss.n_tokens,
                "n_bytes": loss.n_bytes,
                "nats_per_token": loss.nats_per_token,
                "bits_per_byte": loss.bits_per_byte,
            }
            for source, loss in sorted(losses.items())
        }
        with written_aside(out) as aside:
            aside.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _evaluate_tasks(
    model: Path, names: str, sets: Path, tokens: TokenOptions, items: int | None, out: Path | None
) -> None:
    from solu_model.evaluation.tasks import find_tasks, run_tasks

    wanted = [name.strip() for name in names.split(",") if name.strip() not in ("", "all")]
    tokenizer_path, bos, n_ctx = tokens
    outcome = run_tasks(
        model, find_tasks(sets, wanted), tokenizer=tokenizer_path, bos=bos, n_ctx=n_ctx, limit=items
    )
    table = Table("task", "metric", "correct", "chance", "items")
    for result in outcome.results:
        correct = f"{result.value:.1%} ± {1.96 * result.stderr:.1%}"
        chance = f"{result.chance:.1%}" if result.chance else ""
        table.add_row(result.task, result.metric, correct, chance, f"{result.n_items:,}")
    Console().print(table)
    if out is not None:
        outcome.save(out)
