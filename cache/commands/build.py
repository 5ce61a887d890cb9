"""`solu cache build | merge`: build a cache, or merge the shards of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cache.commands.inspect import list_neurons
from solu_model.commands.options import (
    BosOption,
    ColumnOption,
    ContextOption,
    DataOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    corpus_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.shards.corpus import CorpusPart


def build(
    model: Annotated[Path, typer.Option(help="A checkpoint folder.")],
    data: DataOption,
    out: Annotated[
        str,
        typer.Option(
            help="Folder to write, or a URL (s3://...). The dashboard looks for caches in MODEL/neurons."
        ),
    ],
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
    bos: BosOption = None,
    n_ctx: ContextOption = None,
    sample: Annotated[float, typer.Option(help="Share of the documents to read: above 0, at most 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of that share and of every sample in the cache.")] = 0,
    layers: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Read only this layer. Repeatable."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(help="Number of strongest and of weakest examples for each neuron and hook.")
    ] = 20,
    range_samples: Annotated[
        int, typer.Option(help="Number of tokens sampled from each range of activation.")
    ] = 5,
    window: Annotated[
        tuple[int, int], typer.Option(help="Tokens kept before and after the peak of a strongest example.")
    ] = (95, 32),
    sample_window: Annotated[
        tuple[int, int], typer.Option(help="Tokens kept before and after a sampled or weakest token.")
    ] = (47, 16),
    by_token: Annotated[
        bool,
        typer.Option(
            help="Keep the tokens of highest mean activation; takes 8 bytes of memory for each neuron, hook "
            "and token."
        ),
    ] = True,
    sample_tokens: Annotated[
        int, typer.Option(help="Most tokens in the sample of contexts, which ignores activation.")
    ] = 1_000_000,
    threads: Annotated[
        int | None, typer.Option(help="Documents read at the same time. Default: one for each core.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Most contexts in a forward pass. Default: 1 on a CPU, 32 on a GPU."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or cuda:1, or auto to divide the model between all GPUs. Default: a GPU if there "
            "is one."
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Number format of the model: float32, bfloat16 or float16.")
    ] = "float32",
    shard: Annotated[
        str | None,
        typer.Option(
            help="K/N: read part K (from 0) of N of the text, and write a shard for `solu cache merge`."
        ),
    ] = None,
    save_every: Annotated[
        float, typer.Option(help="Seconds between saved states, from which a killed build resumes.")
    ] = 180.0,
    progress_file: Annotated[
        Path | None, typer.Option(help="Write progress to this JSON file in place of a progress bar.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster (pip install ray).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of the cluster, HOST:6379. Default: workers on this machine."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Number of shards for the cluster. Default: four for each worker."),
    ] = None,
) -> None:
    """Read a text once and collect statistics and examples of every neuron.

    A killed build resumes with the same command. SIGTERM saves the state before the build ends.
    """
    from cache.building.build import build_cache, build_shard
    from cache.building.engine import Options
    from cache.building.progress import check_report_target
    from cache.statistics.example_lists import Window
    from cache.storage.stores import local_path, staged
    from cache.storage.targets import check_cache_target, check_shard_target

    if engine == "ray" and shard is not None:
        raise typer.BadParameter("a cluster builds all shards; leave --shard out", param_hint="--shard")
    if progress_file and (engine == "ray" or shard is not None):
        raise typer.BadParameter(
            "only one process that builds a whole cache writes it; leave it out", param_hint="--progress-file"
        )
    if engine == "local" and (address, shards) != (None, None):
        raise typer.BadParameter(
            "--address and --shards belong to --engine ray; add it", param_hint="--engine"
        )
    (check_cache_target if shard is None else check_shard_target)(out)
    if progress_file is not None:
        check_report_target(progress_file)
    options = Options(
        sample=sample,
        seed=seed,
        bos=bos,
        n_ctx=n_ctx,
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
        dtype=dtype,
        save_every=save_every,
        text=corpus_options(split, column, separator, revision),
    )
    if engine == "ray":
        from cache.building.ray_engine import build_on_ray

        corpus = build_on_ray(
            model, data, out, options, address=address, n_shards=shards, tokenizer_path=tokenizer
        ).corpus
        if (local := local_path(out)) is not None:  # a cache in a store is not read back
            _warn_of_nonfinite(local)
        n_tokens, n_documents = corpus.n_tokens, corpus.n_documents
    elif shard is not None:
        with staged(out) as file:
            state = build_shard(model, data, file, _corpus_part(shard), options, tokenizer_path=tokenizer)
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
                stop=_stop_on_sigterm(),
            ).corpus
            _warn_of_nonfinite(folder)
        n_tokens, n_documents = corpus.n_tokens, corpus.n_documents
    Console().print(f"cached {n_tokens:,} tokens of {n_documents:,} documents in {out}")


def merge(
    shards: Annotated[
        list[str], typer.Argument(help="Files or URLs that `solu cache build --shard K/N` wrote.")
    ],
    model: Annotated[Path, typer.Option(help="The checkpoint folder of their builds.")],
    out: Annotated[str, typer.Option(help="Folder or URL to write.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer in place of the checkpoint's own.")
    ] = None,
) -> None:
    """Merge the shards of a text into a cache: the same bytes that one pass would have written."""
    from cache.building.build import write_complete_state
    from cache.shards.shard_file import load_merged
    from cache.storage.stores import staged
    from cache.storage.targets import check_cache_target
    from solu_model.loading.checkpoints import load_tokenizer

    check_cache_target(out)
    state = load_merged(shards)
    with staged(out) as folder:
        corpus = write_complete_state(state, load_tokenizer(tokenizer or model), folder).corpus
        _warn_of_nonfinite(folder)
    Console().print(f"merged {corpus.n_tokens:,} tokens of {corpus.n_documents:,} documents in {out}")


def _stop_on_sigterm() -> "Callable[[], bool]":
    """Handle SIGTERM, and return a function that returns True once it has come."""
    import signal
    from threading import Event

    # The handler only sets a flag: the state is consistent between two documents, not within one.
    came = Event()
    signal.signal(signal.SIGTERM, lambda *_: came.set())
    return came.is_set


def _warn_of_nonfinite(path: Path) -> None:
    """Print a warning that names the neurons with NaN or infinite activations."""
    from cache.reader import NeuronCache

    if neurons := NeuronCache.open(path).not_finite():
        Console(stderr=True).print(
            "warning: NaN or infinite activations, excluded from everything but their own counts: "
            f"{list_neurons(neurons)}"
        )


def _corpus_part(text: str) -> "CorpusPart":
    from cache.shards.corpus import CorpusPart

    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit()):
        raise typer.BadParameter(f"expected K/N, e.g. 0/4, got {text!r}", param_hint="--shard")
    return CorpusPart(int(k), int(n))
