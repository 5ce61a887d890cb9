"""The command `solu evaluate`: a model's loss on text, or its answers to tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from solu_model.commands.options import (
    BosOption,
    ColumnOption,
    ContextOption,
    ModelOption,
    OptionalDataOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    TokenizerOption,
    corpus_options,
)

if TYPE_CHECKING:
    from solu_model.text.documents import CorpusOptions

TokenOptions = tuple[str | None, str | None, int | None]
"""The options --tokenizer, --bos and --n-ctx."""


def evaluate(
    model: ModelOption,
    data: OptionalDataOption = None,
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
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
    max_documents: Annotated[
        int | None, typer.Option(help="With --data: stop after this many documents.", min=1)
    ] = None,
    items: Annotated[
        int | None, typer.Option(help="With --tasks: run this many items of each task.", min=1)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the result as JSON. The dashboard reads MODEL/evaluation.json and MODEL/tasks.json. "
            "Tasks that are done are kept in OUT.state, from which the same command goes on."
        ),
    ] = None,
) -> None:
    """Measure a model's loss on text, per token and per byte, or run the paper's tasks on it (--tasks)."""
    if (tasks is None) == (data is None):
        raise typer.BadParameter("expected either --data or --tasks", param_hint="--data / --tasks")
    others = {"--sets": sets, "--items": items} if data is not None else {"--max-documents": max_documents}
    if unused := [name for name, value in others.items() if value is not None]:
        kind = "--data" if data is not None else "--tasks"
        raise typer.BadParameter(f"has no effect with {kind}: leave it out", param_hint=unused[0])
    if data is not None:
        text = corpus_options(split, column, separator, revision)
        _evaluate_text(model, data, text, (tokenizer_path, bos, n_ctx), max_documents, out)
    elif sets is None:
        raise typer.BadParameter("expected the folder with the files of the tasks", param_hint="--sets")
    else:
        _evaluate_tasks(model, str(tasks), sets, (tokenizer_path, bos, n_ctx), items, out)


def _evaluate_text(
    model: str,
    data: list[str],
    text: "CorpusOptions",
    tokens: TokenOptions,
    max_documents: int | None,
    out: Path | None,
) -> None:
    from solu_model.evaluation.held_out_loss import evaluate as run
    from solu_model.evaluation.losses import holds_losses
    from solu_model.loading.checkpoints import load_with_tokenizer
    from solu_model.targets import check_target
    from solu_model.text.documents import check_corpus, read_documents
    from solu_model.text.tokenization import Tokenization

    if out is not None:
        check_target(out, "losses of `solu evaluate --data`", holds_losses)
    check_corpus(data, text)
    tokenizer_path, bos, n_ctx = tokens
    network, tokenizer = load_with_tokenizer(model, tokenizer=tokenizer_path)
    tokenization = Tokenization.of(network.config, tokenizer, bos=bos, n_ctx=n_ctx)
    losses = run(network, tokenization, read_documents(data, text), max_documents=max_documents)
    table = Table("source", "tokens", "nats per token", "bits per byte")
    rows = [(_shown(source), loss) for source, loss in sorted(losses.by_source.items())]
    for name, loss in [*rows, (Text("all text", style="bold"), losses.total)]:
        if loss is losses.total:
            table.add_section()
        table.add_row(name, f"{loss.n_tokens:,}", f"{loss.nats_per_token:.4f}", f"{loss.bits_per_byte:.4f}")
    Console().print(table)
    if out is not None:
        losses.save(out)  # after the table, which a full disk does not lose


def _shown(source: str) -> Text:
    """Return the name of a source as it is printed: without markup or control characters."""
    if not source:
        return Text("no source", style="italic")
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in source))


def _evaluate_tasks(
    model: str, names: str, sets: Path, tokens: TokenOptions, items: int | None, out: Path | None
) -> None:
    from solu_model.evaluation.tasks import find_tasks, holds_results, run_tasks
    from solu_model.targets import check_target

    if out is not None:
        check_target(out, "results of `solu evaluate --tasks`", holds_results)
    wanted = [name.strip() for name in names.split(",") if name.strip() not in ("", "all")]
    state = None if out is None else out.with_name(out.name + ".state")
    tokenizer_path, bos, n_ctx = tokens
    outcome = run_tasks(
        model, find_tasks(sets, wanted), tokenizer=tokenizer_path, bos=bos, n_ctx=n_ctx, limit=items,
        state=state,
    )  # fmt: skip
    if out is not None:
        outcome.save(out)
    if state is not None:
        state.unlink(missing_ok=True)  # last: a kill before costs nothing
    table = Table("task", "metric", "correct", "chance", "items")
    for result in outcome.results:
        correct = f"{result.value:.1%} ± {1.96 * result.stderr:.1%}"
        chance = f"{result.chance:.1%}" if result.chance else ""
        table.add_row(Text(result.task), result.metric, correct, chance, f"{result.n_items:,}")
    Console().print(table)
