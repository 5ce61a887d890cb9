"""The command `solu data`: the text that a command would read, before hours are spent on it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from solu_model.commands.options import (
    ColumnOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    corpus_options,
)

if TYPE_CHECKING:
    from solu_model.text.corpus.survey import Survey

_MOST_LISTED = 12


def data(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, or data sets of a hub (NAME or NAME:CONFIG), as for --data."),
    ],
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
    count: Annotated[
        bool, typer.Option("--count", help="Read all of the text, so that every number is exact.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the text that --data would read: files, documents, columns, sources, and what is left out.

    It takes some seconds, also for a large corpus, and estimates what it has not read.
    """
    from solu_model.text.corpus.survey import survey_corpus

    options = corpus_options(split, column, separator, revision)
    survey = survey_corpus(paths, options, seconds=None if count else 5.0)
    if as_json:
        typer.echo(json.dumps(asdict(survey), indent=1))
    else:
        _print(survey, column)
    if survey.problems:
        raise typer.Exit(1)


def _print(survey: "Survey", column: str) -> None:
    console = Console()
    table = Table(show_header=False)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in survey.files.items())
    if survey.files:
        table.add_row("files", f"{sum(survey.files.values()):,} ({kinds}), {_size(survey.n_bytes)}")
    about = "at least " if survey.problems else "" if survey.is_exact else "about "
    if survey.n_documents is None:
        table.add_row("documents", "not known before they are read")
    else:
        size = f"{about}{survey.n_documents:,}, {about}{_size(survey.n_text_bytes or 0)} of text"
        table.add_row("documents", size + (" (--count reads all of it)" if about == "about " else ""))
    if survey.n_empty:
        table.add_row("without text", f"{survey.n_empty:,} rows, which are skipped")
    if survey.columns:
        names = [f"{n} ({k})" if k else n for n, k in list(survey.columns.items())[:_MOST_LISTED]]
        table.add_row("columns", Text(_listed(names, len(survey.columns))))
        table.add_row("text is in", Text(column))
    if survey.sources:
        named = [f"{name or 'unnamed'} {n:,}" for name, n in list(survey.sources.items())[:_MOST_LISTED]]
        label = "sources" if survey.is_exact else "sources seen"
        table.add_row(label, Text(_listed(named, len(survey.sources))))
    console.print(table)
    for origin, line in survey.first_lines:
        console.print(Text(f"{origin}: ", style="dim") + Text(line), soft_wrap=True)
    for line in (*survey.notes, *survey.left_out):
        console.print(Text(f"- {line}"), soft_wrap=True)
    for problem in survey.problems:
        Console(stderr=True).print(Text(problem, style="red"), soft_wrap=True)


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes} B"


def _listed(names: list[str], n: int) -> str:
    more = f" and {n - len(names):,} more" if n > len(names) else ""
    return ", ".join(names) + more
