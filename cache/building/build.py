"""Fill a cache: one streaming pass of a model over a corpus.

solu cache build --model models/solu-1l --data PATH --out models/solu-1l/neurons

The state is saved every few minutes beside `out`; the same command goes on from there.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from transformers import PreTrainedTokenizerFast

from cache.building.engine import Engine, Options, Pass
from cache.building.progress import shown_progress
from cache.format.schema import CacheError, Manifest
from cache.shards.corpus import Corpus, Part
from cache.shards.settings import Settings
from cache.shards.shard_file import load_state, save_state
from cache.shards.state import BuildState
from cache.storage.disk import NotWritten, check_place
from cache.writing.store import write_cache
from solu_model.files import remove
from solu_model.text.token_bytes import vocabulary_bytes
from solu_model.text.tokenizer import tokenizer_hash


class Stopped(RuntimeError):
    """A build that was asked to end before its time."""


_REMEMBERED = 50_000  # documents whose provenance is held before those that nothing came from are dropped


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
    """Run a model over a corpus and write what its neurons did.

    Args:
        model_path: a checkpoint folder.
        data: corpus paths.
        out: folder to write; an older cache there is replaced when the new one is whole. An interrupted
            build leaves `OUT.state`, from which the next call goes on.
        options: what to keep.
        tokenizer_path: a tokenizer in place of the checkpoint's own.
        progress: draw a progress bar.
        report: a file that says how far it is, for another program (`progress`).
        stop: asked after each document; where it says so, what was read is saved and the build ends.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: there is no text to read, `OUT.state` is another build's, or `out` is no cache.
        Stopped: `stop` said so; the same call goes on from `OUT.state`.
        NotWritten: the disk is full; an older cache stays, and what was read too where there is room for it.
    """
    options = options or Options()
    check_place(out)
    engine = Engine(model_path, options, tokenizer_path=tokenizer_path)
    saved = out.with_name(out.name + ".state")
    corpus = Corpus(data, options.sample, options.seed)
    state = read_part(engine, corpus, saved, progress=progress, report=report, stop=stop)
    try:
        manifest = finish(state, engine.tokenizer, out)
    except NotWritten as error:
        with suppress(NotWritten):  # what was saved before, if anything, stays
            save_state(state, saved)
        kept = f"{error}: it goes on from {saved}" if saved.exists() else str(error)
        raise NotWritten(kept) from error
    remove(saved)
    return manifest


def build_shard(
    model_path: Path,
    data: Sequence[str | Path],
    out: Path,
    part: Part,
    options: Options | None = None,
    *,
    tokenizer_path: str | Path | None = None,
    progress: bool = True,
) -> BuildState:
    """One part of a cache: the state file that `solu cache merge` takes; arguments as in `build_cache`."""
    options = options or Options()
    engine = Engine(model_path, options, tokenizer_path=tokenizer_path)
    saved = out.with_name(out.name + ".state")
    corpus = Corpus(data, options.sample, options.seed, part)
    state = read_part(engine, corpus, saved, progress=progress)
    save_state(state, out)
    remove(saved)
    return state


def finish(state: BuildState, tokenizer: PreTrainedTokenizerFast, out: Path) -> Manifest:
    """Write a cache from a whole state.

    Raises:
        CacheError: a part of the corpus is missing, it has no token, or the tokenizer is not the one that
            read it.
        NotWritten: the disk is full.
    """
    state.check_complete()
    expected, found = state.settings.model.tokenizer, tokenizer_hash(tokenizer)
    if found != expected:
        raise CacheError(
            f"the text was read with a tokenizer of SHA-256 {expected[:12]}, this one has {found[:12]}: give "
            "the one of the build (--tokenizer PATH)"
        )
    if not state.n_tokens:
        raise CacheError(
            f"a sample of {state.settings.sample} of {', '.join(sorted(state.names))} holds no token: "
            "take a larger one"
        )
    return write_cache(out, state, vocabulary_bytes(tokenizer))


def read_part(
    engine: Engine,
    corpus: Corpus,
    saved: Path,
    *,
    progress: bool = True,
    report: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BuildState:
    """Read a part of a corpus, going on from the state in `saved` if there is one.

    Raises:
        Stopped: `stop` said so; what was read is in `saved`.
        CacheError: `saved` was made with other settings or from other text.
    """
    check_memory(engine.settings)
    if saved.exists():
        state = load_state(saved)
        if state.settings != engine.settings:
            raise CacheError(
                f"{saved} is an interrupted build with other settings "
                f"({state.settings.difference(engine.settings)}): finish that one, or remove the file"
            )
    else:
        state = BuildState.empty(engine.settings)
        state.claim(corpus.names, corpus.part)
    skip, digest, n_skipped = state.n_documents, 0, 0
    running = Pass(engine, state)
    last_saved = time.monotonic()
    try:
        with shown_progress(corpus, state.n_tokens, state.n_bytes, bar=progress, report=report) as advance:
            for text in corpus.texts(engine.tokenizer, skip):
                if n_skipped < skip:
                    digest, n_skipped = (digest + text.digest) % 2**256, n_skipped + 1
                    if n_skipped == skip:
                        _check_same(digest, state, saved)
                    continue
                running.add(text)
                advance(text.n_bytes, len(text.tokens))
                if len(state.documents) > _REMEMBERED:
                    running.pause()
                    state.forget()
                stopped = stop()
                if stopped or time.monotonic() - last_saved > engine.options.save_every:
                    running.pause()
                    save_state(state, saved)
                    last_saved = time.monotonic()
                if stopped:
                    raise Stopped(f"stopped: the same command goes on from {saved}")
            if n_skipped < skip:
                _check_same(digest, state, saved)
            running.pause()
    finally:
        running.close()
    return state


def check_memory(settings: Settings) -> None:
    """Raise CacheError where what is kept of all neurons does not fit in memory, before anything is read."""
    free = psutil.virtual_memory().available
    if settings.memory > free:
        without = settings.model_copy(update={"by_token": False}).memory
        raise CacheError(
            f"what is kept of {len(settings.layers)} layers of {settings.model.d_mlp} neurons takes "
            f"{settings.memory / 1e9:.1f} GB, {free / 1e9:.1f} are free: "
            "read fewer layers at a time (--layer), "
            f"or leave out activation by token (--no-by-token: {without / 1e9:.1f} GB)"
        )


def _check_same(digest: int, state: BuildState, saved: Path) -> None:
    """Raise CacheError where the documents read before an interruption are not those of `digest`."""
    if digest != state.digest:
        raise CacheError(
            f"{saved} goes on in the middle of another text: the corpus has changed since. "
            "Remove the file to begin again"
        )
