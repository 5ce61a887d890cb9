"""`solu cache build | merge | contexts | trim`, and the commands of `cache.cli_look`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cache.cli_look import info, named, size_of, sources, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.format.schema import Kind
    from cache.shards.corpus import Part

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
    out: Annotated[
        str,
        typer.Option(help="Folder to write, or a URL (s3://...); the dashboard looks in MODEL/neurons."),
    ],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
    sample: Annotated[float, typer.Option(help="Share of the documents to read.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of that share and of every sample in the cache.")] = 0,
    layers: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Read this layer alone. Repeatable."),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Strongest and weakest examples a neuron and hook.")] = 20,
    range_samples: Annotated[int, typer.Option(help="Tokens sampled an interval of activation.")] = 5,
    window: Annotated[
        tuple[int, int], typer.Option(help="Tokens kept before and after a strongest example's peak.")
    ] = (95, 32),
    sample_window: Annotated[
        tuple[int, int], typer.Option(help="The same for sampled and weakest examples.")
    ] = (47, 16),
    by_token: Annotated[
        bool, typer.Option(help="Keep tokens by mean activation: 8 bytes of memory a neuron, hook and token.")
    ] = True,
    sample_tokens: Annotated[
        int, typer.Option(help="Tokens in the sample of contexts that activation has no part in.")
    ] = 1_000_000,
    threads: Annotated[int | None, typer.Option(help="Documents read at once; one a core.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Contexts in a forward pass: 1 on a CPU, 32 on a GPU.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU when there is one.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="K/N: read one of N parts and write a shard for `solu cache merge`.")
    ] = None,
    save_every: Annotated[
        float, typer.Option(help="Seconds between saved states, from which a killed build goes on.")
    ] = 180.0,
    progress_file: Annotated[
        Path | None, typer.Option(help="A JSON file that says how far it is, in place of the progress bar.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster (pip install ray).")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster, HOST:6379; without one this machine's workers.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Parts for the cluster's tasks; four a worker.")
    ] = None,
) -> None:
    """Read a corpus once and keep, for every neuron, what it did. The same command goes on after a kill.

    SIGTERM saves what was read before it ends.
    """
    from cache.building.build import build_cache, build_shard
    from cache.building.engine import Options
    from cache.statistics.kept import Window
    from cache.storage.stores import local_path, staged

    if engine == "ray" and shard is not None:
        raise typer.BadParameter("a cluster builds all shards; leave --shard out", param_hint="--shard")
    if progress_file and (engine == "ray" or shard is not None):
        raise typer.BadParameter(
            "one process that builds a whole cache writes it; leave it out", param_hint="--progress-file"
        )
    if engine == "local" and (address, shards) != (None, None):
        raise typer.BadParameter(
            "--address and --shards belong to --engine ray; add it", param_hint="--engine"
        )
    options = Options(
        sample=sample,
        seed=seed,
        layers=tuple(layers) if layers else None,
        top_k=top_k,
        range_samples=range_samples,
        window=Window(*window),
        sample_window=Window(*sample_window),
        by_token=by_token,
        sample_tokens=sample_tokens,
        n_threads=threads,
        batch_size=batch_size,
        device=device,
        save_every=save_every,
    )
    if engine == "ray":
        from cache.building.ray_engine import build_on_ray

        corpus = build_on_ray(
            model, data, out, options, address=address, n_shards=shards, tokenizer_path=tokenizer
        ).corpus
        if (here := local_path(out)) is not None:
            _warn_not_finite(here)
        n_tokens, n_documents = corpus.n_tokens, corpus.n_documents
    elif shard is not None:
        with staged(out) as file:
            state = build_shard(model, data, file, _part(shard), options, tokenizer_path=tokenizer)
        n_tokens, n_documents = state.n_tokens, state.n_documents
    else:
        with staged(out) as folder:
            corpus = build_cache(
                model,
                data,
                folder,
                options,
                tokenizer_path=tokenizer,
                progress=progress_file is None,
                report=progress_file,
                stop=_asked_to_stop(),
            ).corpus
            _warn_not_finite(folder)
        n_tokens, n_documents = corpus.n_tokens, corpus.n_documents
    Console().print(f"cached {n_tokens:,} tokens of {n_documents:,} documents in {out}")


@app.command()
def merge(
    shards: Annotated[
        list[str], typer.Argument(help="Files or URLs that `solu cache build --shard K/N` wrote.")
    ],
    model: Annotated[Path, typer.Option(help="The checkpoint folder that they were built from.")],
    out: Annotated[str, typer.Option(help="Folder or URL to write.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
) -> None:
    """Join the shards of one corpus into a cache: byte for byte what one pass would have written."""
    from cache.building.build import finish
    from cache.shards.shard_file import load_merged
    from cache.storage.stores import staged
    from solu_model.loading.checkpoints import load_tokenizer

    state = load_merged(shards)
    with staged(out) as folder:
        corpus = finish(state, load_tokenizer(tokenizer or model), folder).corpus
        _warn_not_finite(folder)
    Console().print(f"merged {corpus.n_tokens:,} tokens of {corpus.n_documents:,} documents in {out}")


@app.command()
def contexts(
    path: Annotated[Path, typer.Argument(help="A cache folder.")],
    model: Annotated[str, typer.Option(help="The checkpoint it was built from, for its tokenizer.")],
    data: Annotated[list[str], typer.Option("--data", help="The text it was built from. Repeatable.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Of the weakest and the sampled examples too.")
    ] = False,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Of each neuron the first so many; all by default.")
    ] = None,
) -> None:
    """Keep whole contexts of examples beside their windows, read from the text again."""
    from cache.writing.contexts import add_contexts
    from solu_model.loading.checkpoints import load_tokenizer

    found = load_tokenizer(tokenizer or model)
    kinds: tuple[Kind, ...] = ("top", "bottom", "range") if everything else ("top",)
    n = add_contexts(path, data, found, kinds=kinds, n_ranks=ranks)
    Console().print(f"{n:,} contexts kept in {path}")


@app.command()
def trim(
    path: Annotated[Path, typer.Argument(help="A cache folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it may be the same.")],
    top_k: Annotated[
        int | None, typer.Option(help="Strongest and weakest examples a neuron and hook.")
    ] = None,
    range_samples: Annotated[
        int | None, typer.Option(help="Tokens sampled an interval of activation.")
    ] = None,
    window: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Tokens before and after a strongest example's peak."),
    ] = None,
    sample_window: Annotated[
        tuple[int, int] | None, typer.Option(help="The same for sampled and weakest examples.")
    ] = None,
    sample_tokens: Annotated[int | None, typer.Option(help="Tokens in the sample of contexts.")] = None,
) -> None:
    """Write a smaller copy of a cache: fewer examples, shorter windows, every count as it was.

    What is not named stays as it is. Files are read in full first, so that a damaged one is not copied.
    """
    from cache.statistics.kept import Window
    from cache.writing.trim import Sizes
    from cache.writing.trim import trim as write_trimmed

    sizes = Sizes(
        top_k,
        range_samples,
        Window(*window) if window else None,
        Window(*sample_window) if sample_window else None,
        sample_tokens,
    )
    before = size_of(path)
    write_trimmed(path, out, sizes)
    said = f"{out}: {size_of(out) / 1e6:.1f} MB of {before / 1e6:.1f} MB"
    Console().print(said, markup=False, highlight=False, soft_wrap=True)


def _asked_to_stop() -> "Callable[[], bool]":
    """Whether SIGTERM came: from here on it means to save what was read and end."""
    import signal
    from threading import Event

    asked = Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    return asked.is_set


def _warn_not_finite(path: Path) -> None:
    """Say which neurons had activations that are no numbers."""
    from cache.reader import NeuronCache

    if found := NeuronCache.open(path).not_finite():
        Console(stderr=True).print(
            f"warning: NaN or infinite activations, left out of everything but their count: {named(found)}"
        )


def _part(text: str) -> "Part":
    from cache.shards.corpus import Part

    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit()):
        raise typer.BadParameter(f"expected K/N, e.g. 0/4, got {text!r}", param_hint="--shard")
    return Part(int(k), int(n))


for command in (verify, info, sources):
    app.command()(command)
