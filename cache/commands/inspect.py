"""`solu cache verify | info | sources`: inspect a cache without changing it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from solu_model.commands.options import (
    ColumnOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    corpus_options,
)

if TYPE_CHECKING:
    from cache.reader import NotFinite


def verify(
    paths: Annotated[list[Path], typer.Argument(help="A cache folder, or all shard files of one cache.")],
    model: Annotated[
        Path | None, typer.Option(help="The checkpoint folder that it should be built from.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="The text that it should be built from; it is read again. Repeatable."),
    ] = None,
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
) -> None:
    """Check that a cache is undamaged and consistent, and that it matches its model and text."""
    from cache.checking.verify import cache_problems, shard_problems

    console, errors = Console(), Console(stderr=True)
    text = corpus_options(split, column, separator, revision)
    if len(paths) == 1 and not paths[0].is_file():
        name = str(paths[0])
        problems = cache_problems(
            paths[0], model=model, data=data or [], text=text, tokenizer=tokenizer, progress=True
        )
    else:
        name = f"{len(paths)} shard{'s' * (len(paths) > 1)}"
        problems = shard_problems(
            paths, model=model, data=data or [], text=text, tokenizer=tokenizer, progress=True
        )
    n_problems = 0
    for problem in problems:
        n_problems += 1
        errors.print(f"- {problem}", markup=False, highlight=False, soft_wrap=True)
    if n_problems:
        errors.print(
            f"{name}: {n_problems} problem{'s' * (n_problems > 1)} found", markup=False, soft_wrap=True
        )
        raise typer.Exit(1)
    not_compared = [] if model else ["model and tokenizer (--model)"]
    not_compared += [] if data else ["text (--data)"]
    note = f"; not compared with {' and '.join(not_compared)}" if not_compared else ""
    verb = "is" if len(paths) == 1 else "are"
    console.print(f"{name} {verb} complete and undamaged{note}", markup=False, soft_wrap=True)


def info(path: Annotated[Path, typer.Argument(help="A cache folder.")]) -> None:
    """Print the contents of a cache, its model and its text."""
    from cache.reader import NeuronCache

    cache = NeuronCache.open(path)
    manifest = cache.manifest
    table = Table(show_header=False)
    table.add_row(
        "model", f"{manifest.model.name} ({manifest.model.act_fn}), weights {manifest.model.sha256[:12]}"
    )
    table.add_row("neurons", f"{len(cache.layers)} x {cache.d_mlp}")
    table.add_row("hooks", ", ".join(cache.hooks))
    table.add_row("corpus", ", ".join(manifest.corpus.names))
    table.add_row("read", f"{manifest.corpus.n_tokens:,} tokens of {manifest.corpus.n_documents:,} documents")
    table.add_row("in", cache.contexts_read)
    if neurons := cache.not_finite():
        table.add_row("NaN or infinity", list_neurons(neurons))
    table.add_row("format", f"version {manifest.version}")
    table.add_row("on disk", f"{folder_size(path) / 1e6:.1f} MB")
    Console().print(table)


def sources(path: Annotated[Path, typer.Argument(help="A cache folder.")]) -> None:
    """Print the packages and licences of the text in a cache, as Markdown."""
    from collections import Counter

    from cache.reader import NeuronCache

    packages = Counter(
        (d.source, d.origin.partition(":")[0], d.licence) for d in NeuronCache.open(path).documents().values()
    )
    typer.echo("| source | from | licence | documents |\n| --- | --- | --- | --- |")
    for (source, package, licence), n in sorted(packages.items()):
        cells = (
            # Escaped, so that no name ends a cell of the table.
            text.replace("|", "\\|").replace("\n", " ") or "unknown"
            for text in (source, package, licence)
        )
        typer.echo(f"| {' | '.join(cells)} | {n} |")


def folder_size(path: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def list_neurons(neurons: "list[NotFinite]", most: int = 20) -> str:
    """Return the number of neurons, and the names of the first ones, as `L0/5`."""
    names = list(dict.fromkeys(f"L{neuron.layer}/{neuron.neuron}" for neuron in neurons))
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{len(names):,} neuron{'s' * (len(names) > 1)}: {', '.join(names[:most])}{more}"
