"""Build a cache: run a model over a corpus once, document by document.

solu cache build --model models/solu-1l --data PATH --out models/solu-1l/neurons

The state is saved every few minutes as `OUT.state`; the same command resumes from it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from transformers import PreTrainedTokenizerFast

from cache.building.engine import Engine, Options
from cache.building.progress import Progress
from cache.building.workers import DocumentWorkers
from cache.format.schema import CacheError, Manifest
from cache.shards.corpus import Corpus, CorpusPart
from cache.shards.settings import Settings
from cache.shards.shard_file import check_same_shard, load_state, save_state
from cache.shards.state import BuildState
from cache.shards.tokenization import tokenization_from_records
from cache.storage.disk import NotWritten
from cache.storage.targets import check_cache_target, check_shard_target
from cache.writing.cache_folder import write_cache
from solu_model.files import remove
from solu_model.text.documents import check_corpus
from solu_model.text.tokenization import Tokenization


class Stopped(RuntimeError):
    """A build that was stopped by request before its end."""


_MAX_DOCUMENTS_HELD = 50_000
"""Documents whose provenance is held before that of documents without an example is dropped."""


def build_cache(
    model_path: Path,
    data: Sequence[str | Path],
    out: Path,
    options: Options | None = None,
    *,
    tokenizer_path: str | Path | None = None,
    progress: bool = True,
    report: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Run a model over a corpus and write the cache of its neurons.

    Args:
        model_path: a checkpoint folder.
        data: files, folders or hub names of the text.
        out: folder to write; an older cache there is replaced when the new one is complete. An interrupted
            build leaves `OUT.state`, from which the next call resumes.
        options: sizes of the cache, and how to run.
        tokenizer_path: a tokenizer in place of the checkpoint's own.
        progress: draw a progress bar.
        report: a JSON file that tells another program how far the build is (`Progress`).
        stop: called after each document; if it returns True, the state is saved and the build ends.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: there is no text, `OUT.state` belongs to another build, or `out` is not a cache.
        Stopped: `stop` returned True; the same call resumes from `OUT.state`.
        NotWritten: the disk is full. An older cache stays, and so does the state if there is room for it.
    """
    options = options or Options()
    check_cache_target(out)  # first, since the model may take minutes to load
    check_corpus(data, options.text)
    engine = Engine(model_path, options, tokenizer_path=tokenizer_path)
    saved = _state_file(out)
    corpus = Corpus(data, options.sample, options.seed, text=options.text)
    state = read_corpus(engine, corpus, saved, progress=progress, report=report, stop=stop)
    try:
        manifest = write_complete_state(state, engine.tokenizer, out)
    except NotWritten as error:
        with suppress(NotWritten):  # an earlier saved state stays
            save_state(state, saved)
        message = f"{error}: it resumes from {saved}" if saved.exists() else str(error)
        raise NotWritten(message) from error
    remove(saved)
    return manifest


def build_shard(
    model_path: Path,
    data: Sequence[str | Path],
    out: Path,
    part: CorpusPart,
    options: Options | None = None,
    *,
    tokenizer_path: str | Path | None = None,
    progress: bool = True,
) -> BuildState:
    """Run a model over one part of a corpus, and write the state file that `solu cache merge` takes.

    Arguments and errors are those of `build_cache`; `out` may be the same shard of an earlier build.
    """
    options = options or Options()
    check_shard_target(out)
    check_corpus(data, options.text)
    engine = Engine(model_path, options, tokenizer_path=tokenizer_path)
    saved = _state_file(out)
    corpus = Corpus(data, options.sample, options.seed, part, options.text)
    check_same_shard(out, engine.settings, corpus.names, part)
    state = read_corpus(engine, corpus, saved, progress=progress)
    save_state(state, out)
    remove(saved)  # last: a kill between the two costs nothing
    return state


def write_complete_state(state: BuildState, tokenizer: PreTrainedTokenizerFast, out: Path) -> Manifest:
    """Write a cache from the state of a whole corpus.

    Raises:
        CacheError: a part of the corpus is missing, it has no token, or another tokenizer read it.
        NotWritten: the disk is full.
    """
    state.check_complete()
    tokenization = tokenization_from_records(tokenizer, state.settings.model, state.settings.tokenization)
    if not state.n_tokens:
        raise CacheError(
            f"a sample of {state.settings.sample} of {', '.join(sorted(state.names))} holds no token: "
            "take a larger one"
        )
    return write_cache(out, state, tokenization.token_bytes)


def read_corpus(
    engine: Engine,
    corpus: Corpus,
    saved: Path,
    *,
    progress: bool = True,
    report: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BuildState:
    """Read a corpus, or one part of it, resuming from the state in `saved` if there is one.

    Raises:
        Stopped: `stop` returned True; the state is in `saved`.
        CacheError: `saved` has other settings or is of other text.
    """
    check_memory(engine.settings)
    engine.tokenization.token_bytes  # noqa: B018 a vocabulary that cannot be shown fails now, not at the end
    state = _load_or_begin(engine, corpus, saved)
    n_read, digest_read = state.n_documents, state.digest
    n_skipped = digest_skipped = 0
    workers = DocumentWorkers(engine, state)
    last_saved = time.monotonic()
    try:
        with Progress(corpus, state.n_tokens, state.n_bytes, bar=progress, report=report) as shown:
            for document in corpus.documents(engine.tokenization, skip=n_read):
                # What was read before an interruption is read again, without the model: its digest shows that
                # the text is still the same.
                if n_skipped < n_read:
                    n_skipped, digest_skipped = n_skipped + 1, (digest_skipped + document.digest) % 2**256
                    if n_skipped == n_read:
                        _check_digest(digest_skipped, digest_read, saved)
                    continue
                workers.submit(document)
                shown.advance(document.n_bytes, len(document.tokens))
                if len(state.documents) > _MAX_DOCUMENTS_HELD:
                    workers.flush()  # examples of documents in progress are in no list yet
                    state.drop_unused_documents()
                is_stopped = stop()
                if is_stopped or time.monotonic() - last_saved > engine.options.save_every:
                    workers.flush()
                    save_state(state, saved)
                    last_saved = time.monotonic()
                if is_stopped:
                    raise Stopped(f"stopped: the same command resumes from {saved}")
            if n_skipped < n_read:  # the text has become shorter
                _check_digest(digest_skipped, digest_read, saved)
            workers.flush()
    finally:
        workers.close()
    return state


def check_memory(settings: Settings) -> None:
    """Raise CacheError if the statistics do not fit in the free memory, before any text is read."""
    free = psutil.virtual_memory().available
    if settings.memory > free:
        without = settings.model_copy(update={"by_token": False}).memory
        raise CacheError(
            f"the statistics of {len(settings.layers)} layers of {settings.model.d_mlp} neurons take "
            f"{settings.memory / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free: "
            "read fewer layers at a time (--layer), "
            f"or leave out activation by token (--no-by-token: {without / 1e9:.1f} GB)"
        )


def _state_file(out: Path) -> Path:
    """Return the file that an interrupted build resumes from."""
    return out.with_name(out.name + ".state")


def _load_or_begin(engine: Engine, corpus: Corpus, saved: Path) -> BuildState:
    """Return the state in `saved`, or that of no documents where there is no such file."""
    settings = engine.settings
    if not saved.exists():
        state = BuildState.empty(settings)
        state.claim(corpus.names, corpus.part)
        return state
    state = load_state(saved)
    if state.settings.tokenization is None and engine.tokenization == Tokenization.by_tokenizer(
        engine.tokenizer, settings.model.d_vocab, settings.model.n_ctx
    ):
        # A state of an earlier program, which took the tokenizer's BOS and the model's n_ctx.
        state.settings = state.settings.model_copy(update={"tokenization": settings.tokenization})
    if state.settings != settings:
        raise CacheError(
            f"{saved} is an interrupted build with other settings "
            f"({state.settings.difference(settings)}): finish that one, or remove the file"
        )
    return state


def _check_digest(digest: int, expected: int, saved: Path) -> None:
    """Raise CacheError if the documents that were skipped are not those read before the interruption."""
    if digest != expected:
        raise CacheError(
            f"{saved} was saved in the middle of another text: the corpus has changed since. "
            "Remove the file to begin again"
        )
