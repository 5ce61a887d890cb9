"""`solu cache build | info | sources`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Build and inspect neuron caches.")


@app.command()
def build(
    model: Annotated[Path, typer.Option(help="A checkpoint folder.")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", help="Parquet, JSON lines or text: a file, a folder or a hub name. Repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; the dashboard looks in MODEL/neurons.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
    sample: Annotated[float, typer.Option(help="Share of the documents to read.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 0,
    top_k: Annotated[int, typer.Option(help="Examples kept a neuron and hook.")] = 20,
) -> None:
    """Read a corpus once and keep, for every neuron, its strongest examples, a histogram and moments."""
    from cache.build import build_cache

    manifest = build_cache(model, data, out, tokenizer_path=tokenizer, sample=sample, seed=seed, top_k=top_k)
    corpus = manifest.corpus
    Console().print(f"cached {corpus.n_tokens:,} tokens of {corpus.n_documents:,} documents in {out}")


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A cache folder.")]) -> None:
    """What a cache holds and what it was made from."""
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
    table.add_row("on disk", f"{sum(f.stat().st_size for f in path.iterdir()) / 1e6:.1f} MB")
    Console().print(table)


@app.command()
def sources(path: Annotated[Path, typer.Argument(help="A cache folder.")]) -> None:
    """Where the text in a cache comes from: packages and licences, as Markdown."""
    from collections import Counter

    from cache.reader import NeuronCache

    packages = Counter(
        (d.source, d.origin.partition(":")[0], d.licence) for d in NeuronCache.open(path).documents().values()
    )
    typer.echo("| source | from | licence | documents |\n| --- | --- | --- | --- |")
    for (source, package, licence), n in sorted(packages.items()):
        cells = (
            text.replace("|", "\\|").replace("\n", " ") or "unknown" for text in (source, package, licence)
        )
        typer.echo(f"| {' | '.join(cells)} | {n} |")
