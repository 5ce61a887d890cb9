"""Add the activations of contexts to the statistics of a layer, in any order and from any number of threads.

Each thread has one accumulator for each layer. Contexts of a document go to `add`, one after the other;
`end_document` then offers the document's best examples to the lists that all threads share.

Legend: H hooks, T positions of a context, M neurons.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS
from cache.statistics import example_kernels, example_lists, sample_kernels, scan_kernels, token_kernels
from cache.statistics.identity import token_hashes
from cache.statistics.layer import N_STRIPES, LayerStatistics, LockedSlice
from cache.statistics.sample_kernels import BLOCK

MAX_CONTEXT = 2**16 - 1
"""Longest context in tokens: the counters have 16 bits, and a context may put all its tokens in one bin."""
_SUMS_HELD = 4
"""Contexts whose sums are added together: an exact sum is 320 bytes, read and written once for all."""

Activations = tuple[npt.NDArray[np.float32], ...]


class PreparedContext(NamedTuple):
    """One context, with all that the compiled loops need of its tokens.

    numba stores the name of this class in its cache on disk, and fails to load an entry whose class is gone.
    So if this class or `ExampleLists` is renamed or moved, rename the modules of the kernels that take it
    too (`example_kernels`, `sample_kernels`, `cache.device.window_kernels`): numba then starts new entries.
    """

    document: np.int64
    start: np.int64
    """Index in the document of the first token after the BOS."""
    tokens: npt.NDArray[np.int64]
    """`[T]`, the BOS at position 0; without a BOS any token stands there, which is not counted either."""
    hashes: npt.NDArray[np.uint64]
    """`[T]` names of the tokens, see `identity.token_hashes`; 0 at the BOS, which has none."""
    order: npt.NDArray[np.int64]
    """`[T - 1]` positions after the BOS, sorted by stripe of the vocabulary and then by token."""
    stripes: npt.NDArray[np.int64]
    """`[N_STRIPES + 1]` index in `order` at which each stripe begins."""


def prepare_context(document: int, start: int, tokens: npt.NDArray[np.int64]) -> PreparedContext:
    """Hash and sort the tokens of a context.

    Args:
        document: its name.
        start: index in the document of the first token after the BOS.
        tokens: `[T]`, the BOS, or any token in its place, at position 0.
    """
    # Hashed once for all layers and hooks.
    hashes = np.zeros(len(tokens), dtype=np.uint64)
    hashes[1:] = token_hashes(document, np.arange(start, start + len(tokens) - 1))
    by_stripe = (tokens[1:] % N_STRIPES << 32) + tokens[1:]
    order = np.argsort(by_stripe, kind="stable")
    stripes = np.searchsorted(by_stripe[order], np.arange(N_STRIPES + 1) << 32)
    return PreparedContext(np.int64(document), np.int64(start), tokens, hashes, order + 1, stripes)


class Accumulator(ABC):
    """Adds the contexts of one document after another to the statistics of a layer; one thread uses it.

    A document offers one example to each list, so its best example so far is held here until it ends.

    Args:
        layer: the statistics to add to, shared with the accumulators of other threads.
        d_vocab: tokens in the vocabulary.
        turn: number of the thread, so that threads begin at different slices.
    """

    def __init__(self, layer: LayerStatistics, d_vocab: int, turn: int = 0) -> None:
        assert not layer.on_device
        n_hooks = len(layer.hooks)
        self._layer, self._turn = layer, turn
        options = layer.options
        self._top = [
            example_lists.empty(layer.d_mlp, 1, options.window, n_hooks, d_vocab) for _ in range(n_hooks)
        ]
        self._bottom = [
            example_lists.empty(layer.d_mlp, 1, options.sample_window, n_hooks, d_vocab)
            for _ in range(n_hooks)
        ]
        layer.accumulators.append(self)

    @abstractmethod
    def add(self, context: PreparedContext, acts: Iterable[Any], source: int) -> None:
        """Add the document's next context.

        Args:
            context: its tokens.
            acts: for each hook `[T, M]` float32 activations, with those of the BOS at position 0.
            source: row of the document's source of text in `source_mass`, -1 for none.

        Raises:
            ValueError: the activations have another shape.
        """

    @abstractmethod
    def flush(self) -> None:
        """Add what is held of past contexts to the layer's statistics, which are complete only then."""

    def end_document(self) -> None:
        """Offer the document's best examples to the lists of the layer."""
        layer = self._layer
        for span in layer.spans:
            for part in self._rotated(span.slices):
                with part.lock:
                    for hook, limits, top, bottom in zip(
                        layer.hooks, layer.limits, self._top, self._bottom, strict=True
                    ):
                        example_kernels.offer_peaks(part.first, part.last, limits.top, top, hook.top)
                        example_kernels.offer_peaks(part.first, part.last, limits.bottom, bottom, hook.bottom)

    def _rotated(self, slices: list[LockedSlice]) -> Iterable[LockedSlice]:
        """Rotate the slices, differently in each thread and at each call, so that threads seldom wait."""
        self._turn += 1
        begin = self._turn % len(slices)
        return slices[begin:] + slices[:begin]

    def _check_shapes(self, context: PreparedContext, acts: Iterable[Any]) -> None:
        expected = [(len(context.tokens), self._layer.d_mlp)] * len(self._layer.hooks)
        if (shapes := [tuple(a.shape) for a in acts]) != expected:
            raise ValueError(f"expected activations of shapes {expected}, got {shapes}")


class CpuAccumulator(Accumulator):
    """Accumulator for activations in numpy arrays, through the compiled loops.

    It keeps counts and sums to itself until it is flushed, so threads share only lists and token totals.
    """

    def __init__(self, layer: LayerStatistics, d_vocab: int, turn: int = 0) -> None:
        super().__init__(layer, d_vocab, turn)
        n_hooks, m = len(layer.hooks), layer.d_mlp
        shape = (-(-m // BLOCK), N_BINS + 2, BLOCK)  # 160 KB for each block: near the CPU while it is counted
        self._counts = [np.zeros(shape, dtype=np.uint16) for _ in range(n_hooks)]
        self._n_counted = 0
        self._sums = np.zeros((n_hooks, _SUMS_HELD, 5, m))
        self._extremes = np.zeros((n_hooks, _SUMS_HELD, 2, m), dtype=np.float32)
        self._sources: list[int] = []
        self._candidates = np.empty(scan_kernels.ROOM, dtype=np.uint64)

    def add(self, context: PreparedContext, acts: Iterable[npt.NDArray[np.float32]], source: int) -> None:
        """Add the document's next context; arguments and errors as in `Accumulator.add`."""
        by_hook = tuple(np.ascontiguousarray(a) for a in acts)
        self._check_shapes(context, by_hook)
        n_tokens = len(context.tokens)
        if self._n_counted + n_tokens > MAX_CONTEXT:
            self._flush_counts()
        self._n_counted += n_tokens  # no counter can have more than this
        self._layer.note_progress(n_tokens)
        for index in range(len(by_hook)):
            self._add_hook(index, context, by_hook)
        self._sources.append(source)
        if len(self._sources) == _SUMS_HELD:
            self._flush_sums()

    def flush(self) -> None:
        """Add held counts and sums to the layer's statistics, as `Accumulator.flush`."""
        self._flush_counts()
        self._flush_sums()

    def _add_hook(self, index: int, context: PreparedContext, acts: Activations) -> None:
        """Add a context to the statistics of one hook; examples store activations at every hook."""
        layer, options = self._layer, self._layer.options
        hook, limits = layer.hooks[index], layer.limits[index]
        n_held = len(self._sources)
        sums, extremes = self._sums[index, n_held], self._extremes[index, n_held]
        sums.fill(0)
        extremes[0], extremes[1] = np.inf, -np.inf
        # 1. Histograms, sums, extremes; and the few tokens that may enter a sample, which are then offered.
        for span in layer.spans:
            begin = 1  # after the BOS
            while begin < len(context.tokens):
                begin, n_candidates = scan_kernels.scan(
                    acts[index], context.hashes, begin, span.first, span.last, limits.cutoffs,
                    self._counts[index], sums, extremes, self._candidates,
                )  # fmt: skip
                for part in self._rotated(span.slices):
                    with part.lock:
                        sample_kernels.offer_tokens(
                            self._candidates, n_candidates, part.first, part.last, acts, index, context,
                            hook.base, limits.ranges, hook.ranges, layer.keys, *options.sample_window,
                        )  # fmt: skip
        finite = scan_kernels.exclude_nonfinite(acts[index], self._counts[index], sums, extremes)
        # 2. The context's highest and lowest token of each neuron, if it is the document's best so far.
        example_kernels.record_peaks(
            acts, index, context, extremes, 1, limits.top, self._top[index], *options.window
        )
        example_kernels.record_peaks(
            acts, index, context, extremes, -1, limits.bottom, self._bottom[index], *options.sample_window
        )
        # 3. Totals by token.
        if options.by_token:
            for part in self._rotated(layer.stripes):
                order = context.order[context.stripes[part.first] : context.stripes[part.last]]
                with part.lock:
                    token_kernels.add_by_token(
                        acts[index], order, context.tokens, extremes, finite, hook.token_totals
                    )

    def _flush_counts(self) -> None:
        with self._layer.lock:
            for counts, hook in zip(self._counts, self._layer.hooks, strict=True):
                for block, block_counts in enumerate(counts):
                    rows = hook.counts[block * BLOCK : (block + 1) * BLOCK]
                    rows += block_counts[:, : len(rows)].T
                counts.fill(0)
        self._n_counted = 0

    def _flush_sums(self) -> None:
        n = len(self._sources)
        if n:
            with self._layer.lock:
                for index, (sums, extremes) in enumerate(zip(self._sums, self._extremes, strict=True)):
                    self._layer.add_sums(index, sums[:n], extremes[:n], self._sources)
            self._sources.clear()
