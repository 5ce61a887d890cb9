"""Fill a cache: one streaming pass of a model over a corpus. The only part that runs the model.

solu cache build --model models/solu-1l --data PATH --out models/solu-1l/neurons

Threads take whole documents, run them through the model one context at a time, and add what came out to
one shared state. The state is saved every few minutes beside `out`; the same command goes on from there.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from threading import Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from cache.accumulate import MAX_CONTEXT, DocumentReader, LayerAccumulator, sequence
from cache.corpus import Corpus, Part, Text
from cache.disk import NotWritten
from cache.kept import SAMPLE_WINDOW, WINDOW, Window
from cache.schema import NEURONS_PER_PART, CacheError, Hook, Manifest, ModelRecord
from cache.state import BuildState, Settings
from cache.store import write_cache
from solu_model.adapters import load_neuron_model
from solu_model.checkpoints import CheckpointError
from solu_model.contexts import Context, document_contexts
from solu_model.documents import corpus_bytes
from solu_model.files import remove, weights_hash
from solu_model.neuron_model import NeuronModel
from solu_model.token_text import vocabulary_bytes
from solu_model.tokenizer import tokenizer_hash

_REMEMBERED = 50_000  # documents whose provenance is held before those that nothing came from are dropped


@dataclass(frozen=True)
class Options:
    """What a build keeps and how it runs; the defaults are those of `solu cache build`."""

    sample: float = 1.0
    """Share of the documents to read."""
    seed: int = 0
    """Of that share and of every sample."""
    layers: tuple[int, ...] | None = None
    """Layers to read; all of them where None."""
    top_k: int = 20
    """Strongest and weakest examples a neuron and hook."""
    range_samples: int = 5
    """Tokens sampled from each interval of activation."""
    window: Window = WINDOW
    """Tokens kept around a strongest example's peak."""
    sample_window: Window = SAMPLE_WINDOW
    """The same for weakest and sampled examples."""
    by_token: bool = True
    """Keep the tokens with the highest mean activation: takes 8 bytes a neuron, hook and token."""
    token_min_count: int = 10
    """Occurrences from which a token is ranked by its mean activation."""
    sample_tokens: int = 1_000_000
    """Tokens in the sample of contexts that activation has no part in."""
    n_threads: int | None = None
    """Documents read at once; the number of cores where None. The result does not depend on it."""
    batch_size: int | None = None
    """Contexts of equal length in a forward pass; 1 on a CPU, 32 on a GPU where None."""
    device: str | None = None
    """`cpu` or `cuda`; a GPU when there is one where None."""
    save_every: float = 180.0
    """Seconds between saved states."""


class Engine:
    """A model, ready to add documents to states.

    Args:
        model_path: a checkpoint folder: ours, TransformerLens's, or another causal model's.
        tokenizer_path: a tokenizer in place of the checkpoint's own.

    Raises:
        CheckpointError: the model cannot be read, or its tokenizer has no BOS or more tokens than it.
        CacheError: a layer that it does not have, or contexts longer than can be counted.
    """

    def __init__(
        self, model_path: Path, options: Options, *, tokenizer_path: str | Path | None = None
    ) -> None:
        self.options = options
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, self.tokenizer = load_neuron_model(model_path, tokenizer=tokenizer_path)
        self.model: NeuronModel = model.to(self.device) if isinstance(model, torch.nn.Module) else model
        self.bos = _bos(self.tokenizer, model_path)
        config = self.model.config
        if len(self.tokenizer) > config.d_vocab:
            raise CheckpointError(
                f"the tokenizer has {len(self.tokenizer)} tokens and the model {config.d_vocab}: "
                "it is another model's; give the one that it was trained with (--tokenizer PATH)"
            )
        if config.n_ctx > MAX_CONTEXT:
            raise CacheError(f"contexts of at most {MAX_CONTEXT} tokens can be counted, got {config.n_ctx}")
        layers = list(range(config.n_layers)) if options.layers is None else sorted(set(options.layers))
        if not layers or layers[0] < 0 or layers[-1] >= config.n_layers:
            raise CacheError(f"expected layers from 0 to {config.n_layers - 1}, got {layers}")
        hooks: list[Hook] = ["hook_mid", "hook_post"] if config.has_mlp_norm else ["hook_post"]
        self.settings = Settings(
            model=ModelRecord(
                name=model_path.resolve().name,
                sha256=weights_hash(model_path),
                act_fn=config.act_fn,
                n_layers=config.n_layers,
                d_model=config.d_model,
                d_mlp=config.d_mlp,
                n_ctx=config.n_ctx,
                d_vocab=config.d_vocab,
                tokenizer=tokenizer_hash(self.tokenizer),
            ),
            layers=layers,
            hooks=hooks,
            dtype="float32",
            device=self.device.partition(":")[0],
            sample=options.sample,
            seed=options.seed,
            top_k=options.top_k,
            range_samples=options.range_samples,
            window=options.window,
            sample_window=options.sample_window,
            by_token=options.by_token,
            token_min_count=options.token_min_count,
            sample_tokens=options.sample_tokens,
            neurons_per_part=NEURONS_PER_PART,
            versions={name: version(name) for name in ("torch", "numpy", "numba", "tokenizers")},
        )

    @property
    def batch_size(self) -> int:
        """Contexts of equal length in a forward pass."""
        return self.options.batch_size or (1 if self.device == "cpu" else 32)

    def activations(self, contexts: Sequence[Context]) -> dict[int, npt.NDArray[np.float32]]:
        """One forward pass, to the last hook and no further: `[H, B, T, M]` by layer.

        Contexts are of equal length: without padding, what comes out for one does not depend on the others.
        """
        tokens = torch.from_numpy(np.stack([c.tokens for c in contexts])).to(self.device)
        hooks = self.settings.hooks
        names = [f"blocks.{layer}.mlp.{hook}" for layer in self.settings.layers for hook in hooks]
        with torch.inference_mode():
            acts = self.model.activations(tokens, names)
            return {
                layer: torch.stack([acts[f"blocks.{layer}.mlp.{hook}"].float() for hook in hooks])
                .cpu()
                .numpy()
                for layer in self.settings.layers
            }


class Pass:
    """Threads that add documents to one state.

    Args:
        engine: the model. state: what to add to; not to be touched between `start` and `pause`.
    """

    def __init__(self, engine: Engine, state: BuildState) -> None:
        self.engine, self.state = engine, state
        n_threads = engine.options.n_threads or ((os.cpu_count() or 1) if engine.device == "cpu" else 1)
        self._layers = {
            layer: LayerAccumulator(
                hooks, seed=state.settings.seed, layer=layer, keep=state.settings.keep, n_threads=n_threads
            )
            for layer, hooks in state.layers.items()
        }
        self._lock = Lock()
        self._queue: Queue[Text | None] = Queue(maxsize=2 * n_threads)
        self._failure: BaseException | None = None
        self._threads = [Thread(target=self._work, args=(turn,), daemon=True) for turn in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def add(self, text: Text) -> None:
        """Hand a document to the threads.

        Raises:
            Exception: whatever ended one of them.
        """
        self._queue.put(text)
        self._check()

    def pause(self) -> None:
        """Wait until all documents are in the state."""
        self._queue.join()
        self._check()
        for layer in self._layers.values():
            layer.settle()

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self, turn: int) -> None:
        # One thread a forward pass: documents are what is parallel. On a CPU it is faster than threads that
        # share one matrix product, and the last bits do not depend on the number of cores.
        torch.set_num_threads(1)
        readers: dict[int, DocumentReader] | None = None
        while (text := self._queue.get()) is not None:
            try:
                if self._failure is None:
                    if readers is None:
                        d_vocab = self.state.settings.model.d_vocab
                        readers = {
                            layer: DocumentReader(accumulator, d_vocab, turn)
                            for layer, accumulator in self._layers.items()
                        }
                    self._read(text, readers)
            except BaseException as error:
                self._failure = error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _read(self, text: Text, readers: dict[int, DocumentReader]) -> None:
        engine = self.engine
        n_ctx = self.state.settings.model.n_ctx
        contexts = list(document_contexts(text.id, text.tokens.tolist(), n_ctx, engine.bos))
        with self._lock:
            self.state.count(text, len(contexts))
            for context in contexts:
                self.state.sample.offer(text.id, context.start, context.tokens)
            source = self.state.source_row(text.provenance.source)
        for batch in _equal_lengths(contexts, engine.batch_size):
            acts = engine.activations(batch)
            for row, context in enumerate(batch):
                ready = sequence(text.id, context.start, context.tokens)
                for layer, reader in readers.items():
                    reader.add(ready, np.ascontiguousarray(acts[layer][:, row]), source)
        for reader in readers.values():
            reader.end_document()


def build_cache(
    model_path: Path,
    data: Sequence[str | Path],
    out: Path,
    options: Options | None = None,
    *,
    tokenizer_path: str | Path | None = None,
    progress: bool = True,
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

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: there is no text to read, or `OUT.state` is another build's.
        NotWritten: the disk is full; an older cache stays, and what was read too where there is room for it.
    """
    options = options or Options()
    engine = Engine(model_path, options, tokenizer_path=tokenizer_path)
    saved = out.with_name(out.name + ".state")
    state = read_part(engine, Corpus(data, options.sample, options.seed), saved, progress=progress)
    try:
        manifest = finish(state, engine.tokenizer, out)
    except NotWritten as error:
        with suppress(NotWritten):  # what was saved before, if anything, stays
            state.save(saved)
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
    state.save(out)
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


def read_part(engine: Engine, corpus: Corpus, saved: Path, *, progress: bool = True) -> BuildState:
    """Read a part of a corpus, going on from the state in `saved` if there is one.

    Raises:
        CacheError: `saved` was made with other settings or from other text.
    """
    check_memory(engine.settings)
    if saved.exists():
        state = BuildState.load(saved)
        if state.settings != engine.settings:
            raise CacheError(
                f"{saved} is an interrupted build with other settings: finish that one, or remove the file"
            )
    else:
        state = BuildState.empty(engine.settings)
        state.claim(corpus.names, corpus.part)
    skip, digest, n_skipped = state.n_documents, 0, 0
    running = Pass(engine, state)
    last_saved = time.monotonic()
    try:
        with _bar(corpus, state.n_tokens, state.n_bytes, enabled=progress) as advance:
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
                if time.monotonic() - last_saved > engine.options.save_every:
                    running.pause()
                    state.save(saved)
                    last_saved = time.monotonic()
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


@contextmanager
def _bar(
    corpus: Corpus, n_tokens: int, n_bytes: int, *, enabled: bool
) -> Iterator[Callable[[int, int], None]]:
    """A progress bar in bytes of text, with tokens a second and memory beside it."""
    total = corpus_bytes(corpus.paths)
    share = corpus.sample / corpus.part.n
    process, started, first = psutil.Process(), time.monotonic(), n_tokens
    with tqdm(
        total=max(int(total * share), n_bytes) if total else None,
        initial=n_bytes,
        unit="B",
        unit_scale=True,
        desc="caching",
        disable=not enabled,
    ) as bar:

        def advance(more_bytes: int, more_tokens: int) -> None:
            nonlocal n_tokens
            n_tokens += more_tokens
            if enabled:
                rate = (n_tokens - first) / max(time.monotonic() - started, 1e-9)
                memory = process.memory_info().rss / 1e9
                bar.set_postfix_str(f"{n_tokens:,} tokens, {rate:,.0f}/s, {memory:.1f} GB", refresh=False)
                bar.update(more_bytes)

        yield advance


def _equal_lengths(contexts: Sequence[Context], batch_size: int) -> Iterator[list[Context]]:
    """Runs of consecutive contexts of one length, `batch_size` at most."""
    held: list[Context] = []
    for context in contexts:
        if held and (len(held) == batch_size or len(context.tokens) != len(held[0].tokens)):
            yield held
            held = []
        held.append(context)
    if held:
        yield held


def _bos(tokenizer: Any, model_path: Path) -> int:
    if tokenizer.bos_token_id is None:
        raise CheckpointError(
            f"the tokenizer of {model_path} has no BOS, which begins every context: "
            "give one that has (--tokenizer PATH)"
        )
    return int(tokenizer.bos_token_id)
