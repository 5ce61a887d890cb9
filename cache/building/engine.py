"""Run a model over documents: threads take whole ones, and add what its neurons did to one shared state.

The only part of the package that runs the model.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from threading import Lock, Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.device.accumulate import DeviceReader, device_memory
from cache.format.schema import NEURONS_PER_PART, CacheError, Hook, ModelRecord
from cache.shards.corpus import Text
from cache.shards.settings import Settings
from cache.shards.state import BuildState
from cache.statistics.accumulate import MAX_CONTEXT, DocumentReader, Reader, sequence
from cache.statistics.kept import SAMPLE_WINDOW, WINDOW, Window
from cache.statistics.layer import LayerAccumulator
from solu_model.files import weights_hash
from solu_model.loading.adapters import load_neuron_model
from solu_model.loading.checkpoints import CheckpointError
from solu_model.protocols import NeuronModel
from solu_model.text.contexts import Context, document_contexts
from solu_model.text.tokenizer import tokenizer_hash


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
    """Documents read at once; the number of cores where None, always 1 on a GPU. The result does not depend
    on it."""
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

    def read(self, contexts: Sequence[Context], visit: Callable[[int, list[Tensor]], None]) -> None:
        """One forward pass, to the last hook and no further.

        A layer's activations are handed on before the next layer's are made: memory does not grow with the
        number of layers, and what was just written is read while it is near.

        Args:
            contexts: of equal length: without padding, what comes out for one does not depend on the others.
            visit: is given a layer and of each hook `[B, T, M]` float32, on the model's device.
        """
        tokens = torch.from_numpy(np.stack([c.tokens for c in contexts])).to(self.device)
        hooks = self.settings.hooks
        points = {
            f"blocks.{layer}.mlp.{hook}": (layer, hook) for layer in self.settings.layers for hook in hooks
        }
        passed: dict[str, Tensor] = {}

        def take(name: str, acts: Tensor) -> None:
            layer, hook = points[name]
            passed[hook] = acts.float()
            if len(passed) == len(hooks):
                visit(layer, [passed.pop(hook) for hook in hooks])

        with torch.inference_mode():
            self.model.activations(tokens, points, visit=take)


class Pass:
    """Threads that add documents to one state.

    Args:
        engine: the model. state: what to add to; not to be touched between `start` and `pause`.
        on_device: take the statistics where the activations are, in one thread; on a GPU where None.

    Raises:
        CacheError: the GPU has no room for them.
    """

    def __init__(self, engine: Engine, state: BuildState, *, on_device: bool | None = None) -> None:
        self.engine, self.state = engine, state
        on_gpu = engine.device.partition(":")[0] == "cuda"
        self._on_device = on_gpu if on_device is None else on_device
        if self._on_device and on_gpu:
            _check_room(state.settings, torch.cuda.mem_get_info(engine.device)[0])
        n_threads = engine.options.n_threads or ((os.cpu_count() or 1) if engine.device == "cpu" else 1)
        if self._on_device:
            n_threads = 1
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
        readers: dict[int, Reader] | None = None
        while (text := self._queue.get()) is not None:
            try:
                if self._failure is None:
                    if readers is None:
                        readers = {
                            layer: self._reader(accumulator, turn)
                            for layer, accumulator in self._layers.items()
                        }
                    self._read(text, readers)
            except BaseException as error:
                self._failure = error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _reader(self, layer: LayerAccumulator, turn: int) -> Reader:
        d_vocab = self.state.settings.model.d_vocab
        if self._on_device:
            return DeviceReader(layer, d_vocab, self.engine.device)
        return DocumentReader(layer, d_vocab, turn)

    def _read(self, text: Text, readers: dict[int, Reader]) -> None:
        engine = self.engine
        n_ctx = self.state.settings.model.n_ctx
        contexts = list(document_contexts(text.id, text.tokens.tolist(), n_ctx, engine.bos))
        with self._lock:
            self.state.count(text, len(contexts))
            for context in contexts:
                self.state.sample.offer(text.id, context.start, context.tokens)
            source = self.state.source_row(text.provenance.source)
        for batch in _equal_lengths(contexts, engine.batch_size):
            self._read_batch(text, batch, source, readers)
        for reader in readers.values():
            reader.end_document()

    def _read_batch(
        self, text: Text, batch: Sequence[Context], source: int, readers: dict[int, Reader]
    ) -> None:
        ready = [sequence(text.id, context.start, context.tokens) for context in batch]

        def add(layer: int, acts: list[Any]) -> None:
            if not self._on_device:
                acts = [a.cpu().numpy() for a in acts]
            for row, context in enumerate(ready):
                readers[layer].add(context, [at_hook[row] for at_hook in acts], source)

        self.engine.read(batch, add)


def _check_room(settings: Settings, free: int) -> None:
    """Raise CacheError where what is kept on a GPU does not fit in its free memory, in bytes."""
    if (needed := device_memory(settings)) > free:
        without = device_memory(settings.model_copy(update={"by_token": False}))
        raise CacheError(
            f"counting {len(settings.layers)} layers of {settings.model.d_mlp} neurons takes "
            f"{needed / 1e9:.1f} GB of the GPU, {free / 1e9:.1f} are free: read fewer layers at a time "
            f"(--layer), or leave out activation by token (--no-by-token: {without / 1e9:.1f} GB)"
        )


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
