"""`solu cache contexts | trim`: add whole contexts to a cache, or write a smaller copy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cache.commands.inspect import folder_size
from solu_model.commands.options import (
    ColumnOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    corpus_options,
)

if TYPE_CHECKING:
    from cache.format.schema import Kind


def contexts(
    path: Annotated[Path, typer.Argument(help="A cache folder.")],
    model: Annotated[str, typer.Option(help="The checkpoint it was built from, for its tokenizer.")],
    data: Annotated[list[str], typer.Option("--data", help="The text it was built from. Repeatable.")],
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Add contexts of weakest and sampled examples too.")
    ] = False,
    ranks: Annotated[
        int | None,
        typer.Option(min=1, help="Number of examples of each neuron, hook and kind. Default: all."),
    ] = None,
) -> None:
    """Add whole contexts of examples to a cache, read again from the text."""
    from cache.writing.contexts import add_contexts
    from solu_model.loading.checkpoints import load_tokenizer

    kinds: tuple[Kind, ...] = ("top", "bottom", "range") if everything else ("top",)
    text = corpus_options(split, column, separator, revision)
    n = add_contexts(path, data, load_tokenizer(tokenizer or model), kinds=kinds, n_ranks=ranks, text=text)
    Console().print(f"{n:,} contexts added to {path}")


def trim(
    path: Annotated[Path, typer.Argument(help="A cache folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it may be the same.")],
    top_k: Annotated[int | None, typer.Option(help="Number of strongest and of weakest examples.")] = None,
    range_samples: Annotated[
        int | None, typer.Option(help="Number of tokens sampled from each range of activation.")
    ] = None,
    window: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Tokens kept before and after the peak of a strongest example."),
    ] = None,
    sample_window: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Tokens kept before and after a sampled or weakest token."),
    ] = None,
    sample_tokens: Annotated[int | None, typer.Option(help="Most tokens in the sample of contexts.")] = None,
) -> None:
    """Write a smaller copy of a cache: fewer examples, shorter windows, all counts unchanged.

    Sizes that you leave out stay the same. All files are checked first, so damage is never copied.
    """
    from cache.statistics.example_lists import Window
    from cache.writing.trim import Sizes
    from cache.writing.trim import trim as write_trimmed

    sizes = Sizes(
        top_k,
        range_samples,
        Window(*window) if window else None,
        Window(*sample_window) if sample_window else None,
        sample_tokens,
    )
    before = folder_size(path)
    write_trimmed(path, out, sizes)
    message = f"{out}: {folder_size(out) / 1e6:.1f} MB of {before / 1e6:.1f} MB"
    Console().print(message, markup=False, highlight=False, soft_wrap=True)
