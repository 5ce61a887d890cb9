"""Synthetic documents with given activations, added to a state without a model."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread

import numpy as np
import numpy.typing as npt
import torch

from cache.device.accumulator import DeviceAccumulator
from cache.format.schema import ModelRecord, Provenance
from cache.shards.corpus import CorpusPart, TokenizedDocument
from cache.shards.settings import Settings
from cache.shards.state import BuildState
from cache.statistics.accumulator import Accumulator, CpuAccumulator, prepare_context
from cache.statistics.example_lists import Window
from cache.statistics.identity import document_digest
from cache.statistics.layer import LayerStatistics

HOOKS = 2
V = 30

Acts = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Made:
    """A document, and tokens `[T]` and activations `[H, T, M]` of each of its contexts, with a BOS."""

    text: TokenizedDocument
    contexts: tuple[tuple[npt.NDArray[np.int64], Acts], ...]


def settings(d_mlp: int, *, n_ctx: int = 8, **changes: object) -> Settings:
    """Return the settings of a build with small lists and windows."""
    model = ModelRecord(
        name="made", sha256="0" * 64, act_fn="solu_ln", n_layers=1, d_model=1, d_mlp=d_mlp, n_ctx=n_ctx,
        d_vocab=V, tokenizer="1" * 64,
    )  # fmt: skip
    values: dict[str, object] = {
        "model": model, "layers": [0], "hooks": ["hook_mid", "hook_post"], "dtype": "float32",
        "device": "cpu", "sample": 1.0, "seed": 0, "top_k": 3, "range_samples": 2, "window": Window(2, 1),
        "sample_window": Window(1, 1), "by_token": True, "token_min_count": 2, "sample_tokens": 20,
        "neurons_per_part": 4, "versions": {},
    }  # fmt: skip
    return Settings.model_validate(values | changes)


def made(name: str, contexts: Items[Acts], *, source: str = "s", licence: str = "", seed: int = 0) -> Made:
    """Return a document with these activations of its contexts, and random tokens."""
    rng = np.random.default_rng(seed)
    found = []
    for acts in contexts:
        tokens = rng.integers(1, V, acts.shape[1])
        tokens[0] = 0
        found.append((tokens, np.ascontiguousarray(acts, dtype=np.float32)))
    digest = document_digest(name.encode(), source, "")
    ids = np.concatenate([tokens[1:] for tokens, _ in found] or [np.empty(0, np.int64)])
    where = Provenance(source, "", licence, "")
    return Made(TokenizedDocument(digest & 0x7FFFFFFFFFFFFFFF, digest, len(name), where, ids), tuple(found))


def state_of(
    documents: Items[Made],
    of: Settings,
    *,
    part: CorpusPart | None = None,
    n_threads: int = 1,
    on_device: bool = False,
    state: BuildState | None = None,
) -> BuildState:
    """Return the state of a build of these documents, of which each thread takes the next one.

    Args:
        documents: the documents.
        of: the settings.
        part: the part of the corpus that they are, all of it where None.
        n_threads: number of threads.
        on_device: use the accumulator for devices, on torch's CPU device.
        state: the state to continue from.
    """
    if state is None:
        state = BuildState.empty(of)
        state.claim(["made"], part or CorpusPart())
    if on_device:
        layer = LayerStatistics(state.layers[0], seed=of.seed, layer=0, options=of.statistics_options)
        accumulator = DeviceAccumulator(layer, V, "cpu")
        for document in documents:
            _read(document, accumulator, state, Lock())
        accumulator.flush()
        return state
    layer = LayerStatistics(
        state.layers[0], seed=of.seed, layer=0, options=of.statistics_options, n_threads=n_threads
    )
    left: SimpleQueue[Made] = SimpleQueue()
    for document in documents:
        left.put(document)
    lock = Lock()

    def work(turn: int) -> None:
        accumulator = CpuAccumulator(layer, V, turn)
        while True:
            try:
                document = left.get_nowait()
            except Empty:
                return
            _read(document, accumulator, state, lock)

    threads = [Thread(target=work, args=(turn,)) for turn in range(1, n_threads)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    layer.flush()
    return state


def _read(document: Made, accumulator: Accumulator, state: BuildState, lock: Lock) -> None:
    text, start = document.text, 0
    with lock:
        state.count(text, len(document.contexts))
        for tokens, _ in document.contexts:
            state.sample.offer(text.id, start, tokens[1:])
            start += len(tokens) - 1
        row = state.source_row(text.provenance.source)
    start = 0
    for tokens, acts in document.contexts:
        rows = torch.from_numpy(acts) if isinstance(accumulator, DeviceAccumulator) else acts
        accumulator.add(prepare_context(text.id, start, tokens), rows, row)
        start += len(tokens) - 1
    accumulator.end_document()


FLAVOURS = 9


def activations(rng: np.random.Generator, n: int, d_mlp: int) -> Acts:
    """Return activations `[H, n, M]`, of which each neuron is difficult in another way."""
    x = rng.standard_normal((HOOKS, n, d_mlp)) * np.exp(rng.standard_normal((HOOKS, n, d_mlp)) * 2)
    for j in range(d_mlp):
        column = x[:, :, j]
        match j % FLAVOURS:
            case 1:  # ties
                x[:, :, j] = np.round(column)
            case 2:  # zeros of either sign
                x[:, :, j] = np.where(column > 0, 0.0, -0.0)
            case 3:  # never positive
                x[:, :, j] = -np.abs(column)
            case 4:  # above the histogram's end
                x[:, :, j] = column * 2.0 ** rng.integers(10, 60)
            case 5:  # below its smallest step
                x[:, :, j] = column * 2.0 ** -rng.integers(20, 140)
            case 6:  # no numbers
                x[:, :, j] = np.where(column > 1, np.nan, np.where(column < -1, np.inf, column))
            case 7:  # a maximum that rises by orders of magnitude
                x[:, :, j] = np.exp(np.clip(column, -60, 60))
            case 8:  # nothing but NaN
                x[:, :, j] = np.nan
    return x.astype(np.float32)


def corpus_of(seed: int, n_documents: int, d_mlp: int = FLAVOURS, n_ctx: int = 8) -> list[Made]:
    """Return documents of none to four contexts of one to n_ctx tokens; some twice, with two licences."""
    rng = np.random.default_rng(seed)
    found: list[Made] = []
    for n in range(n_documents):
        if found and rng.random() < 0.2:
            copied = found[rng.integers(len(found))]
            where = Provenance(copied.text.provenance.source, "", f"licence {n}", "")
            text = TokenizedDocument(
                copied.text.id, copied.text.digest, copied.text.n_bytes, where, copied.text.tokens
            )
            found.append(Made(text, copied.contexts))
            continue
        lengths = rng.integers(2, n_ctx + 1, rng.integers(0, 5))
        contexts = [activations(rng, int(length), d_mlp) for length in lengths]
        # Few seeds of tokens: many documents have the same text, of which lists keep one example.
        found.append(
            made(f"{seed}/{n}", contexts, source=f"source {rng.integers(3)}", seed=int(rng.integers(4)))
        )
    return found
