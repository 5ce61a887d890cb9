"""Threads that read documents: each runs the model on one document at a time and adds its statistics.

Legend: B contexts of a batch, T positions, M neurons.
"""

import os
from collections.abc import Iterator, Sequence
from queue import Queue
from threading import Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cache.building.engine import Engine
from cache.device.accumulator import DeviceAccumulator, device_memory
from cache.format.schema import CacheError
from cache.shards.corpus import TokenizedDocument
from cache.shards.settings import Settings
from cache.shards.state import BuildState
from cache.statistics.accumulator import Accumulator, CpuAccumulator, PreparedContext, prepare_context
from cache.statistics.layer import LayerStatistics
from solu_model.text.contexts import Context


class DocumentWorkers:
    """Threads that add documents to one state.

    Args:
        engine: the model.
        state: the state to add to; do not use it between a `submit` and the next `flush`.
        on_device: compute the statistics on the model's device, in one thread; where None only on a GPU.

    Raises:
        CacheError: the GPU has no room for the statistics.
    """

    def __init__(self, engine: Engine, state: BuildState, *, on_device: bool | None = None) -> None:
        self.engine, self.state = engine, state
        on_gpu = engine.device.partition(":")[0] == "cuda"
        self._on_device = on_gpu if on_device is None else on_device
        if self._on_device and on_gpu:
            _check_device_memory(state.settings, torch.cuda.mem_get_info(engine.device)[0])
        n_threads = engine.options.n_threads or ((os.cpu_count() or 1) if engine.device == "cpu" else 1)
        if self._on_device:
            n_threads = 1  # its tables on the device have no locks
        self._layers = {
            layer: LayerStatistics(
                hooks,
                seed=state.settings.seed,
                layer=layer,
                options=state.settings.statistics_options,
                n_threads=n_threads,
            )
            for layer, hooks in state.layers.items()
        }
        self._lock = Lock()  # of the state's tallies and sample of contexts
        # Bounded, so that tokenized documents do not pile up while the model is slower than the tokenizer.
        self._queue: Queue[TokenizedDocument | None] = Queue(maxsize=2 * n_threads)
        self._failure: BaseException | None = None
        self._threads = [Thread(target=self._work, args=(turn,), daemon=True) for turn in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, document: TokenizedDocument) -> None:
        """Hand a document to the threads; wait while they have enough of them.

        Raises:
            Exception: the error that ended one of the threads.
        """
        self._queue.put(document)
        self._raise_failure()

    def flush(self) -> None:
        """Wait until all submitted documents are in the state, which is then complete.

        Raises:
            Exception: the error that ended one of the threads.
        """
        self._queue.join()
        self._raise_failure()
        for layer in self._layers.values():
            layer.flush()

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self, turn: int) -> None:
        # One torch thread for each forward pass: whole documents run in parallel. On a CPU that is faster
        # than threads that share one matrix product, and last bits do not depend on the number of cores.
        torch.set_num_threads(1)
        accumulators: dict[int, Accumulator] | None = None
        while (document := self._queue.get()) is not None:
            try:
                if self._failure is None:
                    # Made here, in the thread that uses them, and inside the try: they take much memory.
                    accumulators = accumulators or self._make_accumulators(turn)
                    self._read_document(document, accumulators)
            except BaseException as error:  # also MemoryError and KeyboardInterrupt: `submit` raises it
                self._failure = error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _make_accumulators(self, turn: int) -> dict[int, Accumulator]:
        d_vocab = self.state.settings.model.d_vocab
        if self._on_device:
            return {
                layer: DeviceAccumulator(statistics, d_vocab, self.engine.device)
                for layer, statistics in self._layers.items()
            }
        return {
            layer: CpuAccumulator(statistics, d_vocab, turn) for layer, statistics in self._layers.items()
        }

    def _read_document(self, document: TokenizedDocument, accumulators: dict[int, Accumulator]) -> None:
        """Cut a document into contexts, run the model on them and add its activations to the statistics."""
        contexts = list(self.engine.tokenization.contexts(document.id, document.tokens.tolist()))
        # Documents may be counted in any order: nothing in the state depends on it.
        with self._lock:
            self.state.count(document, len(contexts))
            for context in contexts:
                self.state.sample.offer(document.id, context.start, context.text_tokens)
            source = self.state.source_row(document.provenance.source)
        for batch in _batches(contexts, self.engine.batch_size):
            prepared = [prepare_context(document.id, c.start, _with_lead(c)) for c in batch]
            self.engine.run(
                batch, LayerVisitor(self.engine, prepared, source, accumulators, on_device=self._on_device)
            )
        for accumulator in accumulators.values():
            accumulator.end_document()


class LayerVisitor:
    """Adds the activations of one forward pass to the statistics, a layer at a time, while the pass runs.

    The model calls it with each activation (`Engine.run`). The statistics of a layer need all its hooks, so
    those that come first are held until the last one has come.

    Args:
        engine: the model.
        contexts: the contexts of the pass, in its order.
        source: row of their document's source of text.
        accumulators: the thread's, by layer.
        on_device: leave activations on the model's device.
    """

    def __init__(
        self,
        engine: Engine,
        contexts: Sequence[PreparedContext],
        source: int,
        accumulators: dict[int, Accumulator],
        *,
        on_device: bool,
    ) -> None:
        self._points, self._hooks = engine.points, engine.settings.hooks
        self._n_lead = engine.tokenization.n_lead
        self._contexts, self._source = contexts, source
        self._accumulators, self._on_device = accumulators, on_device
        self._held: dict[str, Any] = {}

    def __call__(self, point: str, acts: Tensor) -> None:
        """Take the activations `[B, T, M]` at a point; with the last hook of a layer, add all of them."""
        layer, hook = self._points[point]
        acts = acts.float()
        if not self._n_lead:  # a position in place of the BOS, which is not counted
            acts = F.pad(acts, (0, 0, 1, 0))
        self._held[hook] = acts if self._on_device else acts.cpu().numpy()
        if len(self._held) < len(self._hooks):
            return
        by_hook = [self._held.pop(name) for name in self._hooks]
        for row, context in enumerate(self._contexts):
            self._accumulators[layer].add(context, [batch[row] for batch in by_hook], self._source)


def _with_lead(context: Context) -> npt.NDArray[np.int64]:
    """Return the tokens of a context with a position before its text, which the statistics do not count.

    Without a BOS, any token stands there.
    """
    return context.tokens if context.n_lead else np.concatenate([np.zeros(1, np.int64), context.tokens])


def _check_device_memory(settings: Settings, free: int) -> None:
    """Raise CacheError if the statistics do not fit in the free memory of a GPU, in bytes."""
    if (needed := device_memory(settings)) > free:
        without = device_memory(settings.model_copy(update={"by_token": False}))
        raise CacheError(
            f"the statistics of {len(settings.layers)} layers of {settings.model.d_mlp} neurons take "
            f"{needed / 1e9:.1f} GB of the GPU's memory, but {free / 1e9:.1f} GB are free: read fewer layers "
            f"at a time (--layer), or leave out activation by token (--no-by-token: {without / 1e9:.1f} GB)"
        )


def _batches(contexts: Sequence[Context], batch_size: int) -> Iterator[list[Context]]:
    """Yield runs of at most `batch_size` consecutive contexts of equal length."""
    batch: list[Context] = []
    for context in contexts:
        if batch and (len(batch) == batch_size or len(context.tokens) != len(batch[0].tokens)):
            yield batch
            batch = []
        batch.append(context)
    if batch:
        yield batch
